import pytest

from conan_assets.synthesis.language import UNKNOWN_LANGUAGE, identify, may_be


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("How do I make a cat sleep less at night?", "en"),
        ("Return the normalized case of a pathname.", "en"),
        ("cat sleep", "en"),
        ("怎么让猫少睡觉", "zh"),
        ("GPU 怎么用 CUDA 加速？", "zh"),
        ("docker 容器无法启动 报错 exit code 137 怎么办", "zh"),
        ("warum bellen Hunde", "de"),
    ],
)
def test_a_short_query_may_be_in_its_own_language(text, language):
    assert may_be(text, language)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("How do I make a cat sleep less at night?", "zh"),
        ("怎么让猫少睡觉", "en"),
        ("GPU 怎么用 CUDA 加速？", "en"),
        ("warum bellen Hunde", "en"),
        ("perché dormono i gatti", "en"),
    ],
)
def test_a_short_query_in_another_language_is_told_apart(text, language):
    assert not may_be(text, language)


def test_a_text_that_says_too_little_is_not_judged():
    assert identify("GDPR") == UNKNOWN_LANGUAGE
    assert may_be("GDPR", "en")
    assert may_be("GDPR", "zh")


def test_a_language_that_is_not_known_rejects_nothing():
    assert may_be("How do I make a cat sleep less at night?", "xx")
