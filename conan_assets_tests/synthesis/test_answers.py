import pytest

from conan_assets.synthesis.answers import AnswerError, parse_answer
from conan_assets.synthesis.journal import Answer


def answer(content: str, **changes) -> Answer:
    return Answer(
        **({"content": content, "finish_reason": "stop", "prompt_tokens": 1, "completion_tokens": 1} | changes)
    )


@pytest.mark.parametrize(
    "content",
    [
        '{"pairs": [{"question": " who purrs "}]}',
        '```json\n{"pairs": [{"question": "who purrs"}]}\n```',
        'Here you are: {"pairs": [{"question": "who purrs", "note": "x"}]} Good luck!',
    ],
)
def test_an_object_is_found_between_other_words(content):
    assert [pair.question for pair in parse_answer(answer(content), "question")] == ["who purrs"]


@pytest.mark.parametrize(
    ("task", "content", "changes", "reason"),
    [
        ("question", "", {}, "refused"),
        ("question", "", {"refusal": "I cannot help with that"}, "refused"),
        ("question", "{}", {"finish_reason": "content_filter"}, "refused"),
        ("question", '{"pairs": [{"question": "who', {"finish_reason": "length"}, "cut_off"),
        ("question", "I would rather talk about the weather", {}, "invalid_json"),
        ("question", '{"pairs": [{"question": }]}', {}, "invalid_json"),
        ("question", '{"pairs": []}', {}, "wrong_schema"),
        ("question", '{"pairs": [{"question": "  "}]}', {}, "wrong_schema"),
        ("question", '{"questions": ["who"]}', {}, "wrong_schema"),
        ("instruction", '{"pairs": [{"prompt": "say"}]}', {}, "wrong_schema"),
        ("sts", '{"pairs": [{"sentence1": "a", "sentence2": "b", "score": 7}]}', {}, "wrong_schema"),
    ],
)
def test_an_unusable_answer_is_named_by_its_reason(task, content, changes, reason):
    with pytest.raises(AnswerError) as error:
        parse_answer(answer(content, **changes), task)
    assert error.value.reason == reason


def test_the_message_tells_the_model_which_field_is_wrong():
    with pytest.raises(AnswerError, match=r"pairs\.0\.score: .*less than or equal to 5"):
        parse_answer(answer('{"pairs": [{"sentence1": "a", "sentence2": "b", "score": 7}]}'), "sts")
