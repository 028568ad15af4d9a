from collections import Counter

import pytest

from conan_assets.llm.journal import Answer
from conan_assets.llm.parsing import AnswerError, enclose
from conan_assets.synthesis.settings import QUESTION_KINDS
from conan_assets.synthesis.tasks import build_correction, build_prompt, question_kind, read_pairs

PASSAGE = "Cats purr; a fee of $5 is due."
LANGUAGES, TASKS = ("en", "zh"), ("question", "instruction", "sts")


def read(task: str, content: str) -> list:
    prompt = build_prompt(task, "en", PASSAGE, 2, "seed")
    return list(read_pairs(Answer(content, "stop", 1, 1), task, prompt))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("task", TASKS)
def test_a_prompt_holds_the_passage_the_number_and_the_form_and_no_open_place(task, language):
    (message,) = build_prompt(task, language, PASSAGE, 3, "seed")
    text = message["content"]
    assert enclose(PASSAGE, "passage") in text
    assert "3" in text.replace(enclose(PASSAGE, "passage"), "")
    assert '{"pairs": [{' in text
    assert "$" not in text.replace(PASSAGE, "")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("task", TASKS)
def test_seeds_vary_persona_kind_and_length_and_repeat_themselves(task, language):
    prompts = [build_prompt(task, language, PASSAGE, 2, str(seed))[0]["content"] for seed in range(60)]
    assert len(set(prompts)) > 20
    assert prompts == [build_prompt(task, language, PASSAGE, 2, str(seed))[0]["content"] for seed in range(60)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_kinds_of_question_come_by_their_shares_and_keywords_are_few(language):
    shares = {"keywords": 3, "misspelt": 1, "factual": 0}
    kinds = Counter(question_kind(str(seed), shares) for seed in range(2_000))
    assert set(kinds) == {"keywords", "misspelt"}
    assert kinds["keywords"] / 2_000 == pytest.approx(0.75, abs=0.03)
    turned = dict(reversed(shares.items()))
    assert [question_kind(str(seed), turned) for seed in range(99)] == [
        question_kind(str(n), shares) for n in range(99)
    ]
    prompts = {
        build_prompt("question", language, PASSAGE, 2, str(n), kinds={"keywords": 1})[0]["content"] for n in range(60)
    }
    assert len(prompts) == 6  # personas
    for kind in QUESTION_KINDS:
        assert build_prompt("question", language, PASSAGE, 2, "s", kinds={kind: 1})


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_correction_shows_the_answer_and_what_was_wrong_with_it(language):
    first = build_prompt("sts", language, PASSAGE, 2, "seed")
    messages = build_correction(first, "{bad", "pairs.0.score: Field required", language)
    assert messages[0] == first[0]
    assert messages[1] == {"role": "assistant", "content": "{bad"}
    assert "pairs.0.score: Field required" in messages[2]["content"]


def test_a_correction_of_an_empty_answer_has_no_empty_message():
    first = build_prompt("sts", "en", PASSAGE, 2, "seed")
    assert [message["role"] for message in build_correction(first, "", "it is empty", "en")] == ["user", "user"]


@pytest.mark.parametrize(
    ("task", "content"),
    [
        ("question", '{"pairs": []}'),
        ("question", '{"pairs": [{"question": "  "}]}'),
        ("question", '{"questions": ["who"]}'),
        ("instruction", '{"pairs": [{"prompt": "say"}]}'),
        ("sts", '{"pairs": [{"sentence1": "a", "sentence2": "b", "score": 7}]}'),
        ("sts", '{"pairs": [{"sentence1": "a", "sentence2": "b", "score": true}]}'),
        ("sts", '{"pairs": [{"sentence1": "a", "sentence2": "b", "score": NaN}]}'),
    ],
)
def test_a_pair_of_another_form_is_refused(task, content):
    with pytest.raises(AnswerError) as error:
        read(task, content)
    assert error.value.reason == "wrong_schema"


def test_texts_are_stripped_and_the_form_shown_in_the_prompt_is_no_answer():
    content = '{"pairs": [{"question": " who purrs "}]}, in the form {"pairs": [{"question": "..."}]}'
    assert [pair.question for pair in read("question", content)] == ["who purrs"]


def test_the_message_tells_the_model_which_field_is_wrong():
    with pytest.raises(AnswerError, match=r"pairs\.0\.score: .*less than or equal to 5"):
        read("sts", '{"pairs": [{"sentence1": "a", "sentence2": "b", "score": 7}]}')


@pytest.mark.parametrize("language", LANGUAGES)
def test_real_queries_stand_in_the_prompt_for_questions_and_without_any_nothing_is_said_of_them(language):
    plain = build_prompt("question", language, PASSAGE, 2, "seed")[0]["content"]
    shown = build_prompt("question", language, PASSAGE, 2, "seed", ["what costs $5", "two\nlines"])[0]["content"]
    assert "\n- what costs $5\n- two lines\n" in shown
    assert len(set(shown.splitlines()) - set(plain.splitlines())) == 3
    assert set(plain.splitlines()) <= set(shown.splitlines())
