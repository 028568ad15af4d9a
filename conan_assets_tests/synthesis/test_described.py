"""Written questions are described beside real ones."""

from conan_assets.synthesis.described import describe_kinds, describe_questions
from conan_assets_tests.data.frames import as_written, make_corpus, make_pairs

CORPUS = make_corpus("Cats purr when they are content.", "猫会打呼噜。")


def test_length_shared_words_and_form_are_told_by_split_beside_real_queries_and_examples():
    written = as_written(
        make_pairs(
            {"query": "Why do cats purr?", "doc_id": "wiki:d1"},
            {"query": "猫会打呼噜", "doc_id": "wiki:d2", "split": "test"},
            {"query": "no passage", "text": "outside"},
        )
    )
    real = make_pairs(
        {"query": "purr content", "doc_id": "wiki:d1"},
        {"query": "judged irrelevant", "doc_id": "wiki:d2", "score": 0.0},
    )
    rows = {row["of"]: tuple(row.values())[1:] for row in describe_questions(written, real, CORPUS, ["cat?"])}
    assert rows == {
        "written, train": (1, 4.0, 0.5, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0),
        "written, test": (1, 5.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
        "real": (1, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
        "examples": (1, 1.0, None, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    }


def test_each_kind_that_was_asked_for_has_its_share_its_looks_and_a_question_to_read():
    asked = [("Why do cats purr?", "procedural"), ("purr content", "keywords"), ("cats content", "keywords")]
    written = as_written(make_pairs(*({"query": query, "doc_id": "wiki:d1", "kind": kind} for query, kind in asked)))
    rows = describe_kinds(written, CORPUS)
    assert [(row["kind"], row["questions"], row["share"], row["example"]) for row in rows] == [
        ("keywords", 2, 0.667, "purr content"),
        ("procedural", 1, 0.333, "Why do cats purr?"),
    ]
    assert rows[0]["words_in_passage"] == 1.0


def test_nothing_is_described_where_nothing_is_asked():
    assert describe_questions(as_written(make_pairs()), make_pairs(), CORPUS) == []
