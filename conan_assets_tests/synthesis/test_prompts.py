import pytest

from conan_assets.synthesis.prompts import build_correction, build_prompt

PASSAGE = "Cats purr; a fee of $5 is due."
LANGUAGES, TASKS = ("en", "zh"), ("question", "instruction", "sts")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("task", TASKS)
def test_a_prompt_holds_the_passage_the_number_and_the_form_and_no_open_place(task, language):
    (message,) = build_prompt(task, language, PASSAGE, 3, "seed")
    text = message["content"]
    assert PASSAGE in text
    assert "3" in text.replace(PASSAGE, "")
    assert '{"pairs": [{' in text
    assert "$" not in text.replace(PASSAGE, "")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("task", TASKS)
def test_seeds_vary_persona_kind_and_length_and_repeat_themselves(task, language):
    prompts = [build_prompt(task, language, PASSAGE, 2, str(seed))[0]["content"] for seed in range(60)]
    assert len(set(prompts)) > 20
    assert prompts == [build_prompt(task, language, PASSAGE, 2, str(seed))[0]["content"] for seed in range(60)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_correction_shows_the_answer_and_what_was_wrong_with_it(language):
    first = build_prompt("sts", language, PASSAGE, 2, "seed")
    messages = build_correction(first, "{bad", "pairs.0.score: Field required", language)
    assert messages[0] == first[0]
    assert messages[1] == {"role": "assistant", "content": "{bad"}
    assert "pairs.0.score: Field required" in messages[2]["content"]
