import pytest

from conan_assets_tests.data.curating import LONG_QUERY, removed, run


def test_a_query_of_the_test_split_never_trains_whatever_its_case_width_and_spaces():
    test = {"query": "who sings at dawn", "doc_id": "wiki:d3", "split": "test"}
    pairs, report = run(test, {"query": "Ｗho  SINGS at dawn", "doc_id": "wiki:d2"})
    assert pairs["pair_id"].to_list() == ["keep"]
    assert removed(report) == {"normalised_evaluation_query": 1}


def test_a_query_of_another_evaluation_set_never_trains():
    pairs, report = run({"query": "who barks", "doc_id": "wiki:d2"}, queries=["who barks"])
    assert pairs["pair_id"].to_list() == ["keep"]
    assert removed(report) == {"evaluation_query": 1}


def test_a_judged_pair_of_the_dev_split_never_trains_with_its_sides_exchanged():
    dev = {"query": "who sings", "doc_id": "wiki:d3", "split": "dev"}
    _, report = run(dev, {"query": "Birds sing at dawn.", "text": "who sings"}, min_document_chars=1)
    assert removed(report) == {"evaluation_pair": 1}


def test_a_query_close_to_one_of_the_test_split_never_trains():
    test = {"query": LONG_QUERY, "doc_id": "wiki:d3", "split": "test"}
    near = {"query": LONG_QUERY.replace("content", "happy"), "doc_id": "wiki:d2"}
    pairs, report = run(test, near)
    assert pairs["pair_id"].to_list() == ["keep"]
    assert removed(report) == {"near_evaluation_query": 1}
    assert run(test, near, near_duplicates=None)[0].height == 2


def test_what_each_evaluation_set_removed_is_counted_by_the_way_it_was_found():
    held_out = {"query": LONG_QUERY, "doc_id": "wiki:d3", "split": "test"}
    rows = [LONG_QUERY, LONG_QUERY.upper(), LONG_QUERY.replace("content", "happy"), "who barks"]
    _, report = run(held_out, *({"query": query, "doc_id": "wiki:d2"} for query in rows), queries=["Who barks"])
    assert report["decontamination"] == [
        {"evaluation_set": "hub", "queries": 1, "exact": 0, "normalised": 1, "near_duplicate": 0},
        {"evaluation_set": "wiki/test", "queries": 1, "exact": 1, "normalised": 0, "near_duplicate": 0},
    ]
    assert (removed(report)["duplicate"], removed(report)["near_duplicate"]) == (1, 1), "they come before"
    apart = [{"query": query, "doc_id": f"wiki:d{number}"} for number, query in enumerate(rows[:3], start=1)]
    _, report = run(held_out, *apart)
    assert report["decontamination"][0] == {
        "evaluation_set": "wiki/test",
        "queries": 1,
        "exact": 1,
        "normalised": 1,
        "near_duplicate": 1,
    }
    assert report["contaminated_share"] == 0.75


def test_the_contaminated_share_is_of_what_earlier_steps_left_in_each_dataset():
    held_out = {"query": "who sings at dawn", "doc_id": "wiki:d3", "split": "test"}
    leaked = {"query": "who sings at dawn", "doc_id": "wiki:d2", "dataset": "faq"}
    irrelevant = {"query": "who barks", "doc_id": "wiki:d2", "dataset": "faq", "score": 0.0}
    _, report = run(held_out, leaked, irrelevant)
    assert report["contaminated_by_dataset"] == [
        {"dataset": "faq", "pairs": 1, "contaminated": 1, "share": 1.0},
        {"dataset": "wiki", "pairs": 1, "contaminated": 0, "share": 0.0},
    ]
    assert report["contaminated_share"] == 0.5


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        (LONG_QUERY, "evaluation_query"),
        (LONG_QUERY.upper(), "normalised_evaluation_query"),
        (LONG_QUERY.replace("content", "happy"), "near_evaluation_query"),
    ],
)
def test_the_second_sentence_of_a_graded_pair_is_compared_with_evaluation_queries(sentence, reason):
    pairs, report = run({"query": "what purrs", "text": sentence, "task": "sts", "score": 1.0}, queries=[LONG_QUERY])
    assert pairs["pair_id"].to_list() == ["keep"]
    assert removed(report) == {reason: 1}


@pytest.mark.parametrize(("one", "other"), [("👍👍👍", "😡😡😡"), ("C#", "C++")])
def test_queries_that_differ_in_symbols_alone_are_not_near(one, other):
    pairs, _ = run({"query": one, "doc_id": "wiki:d2"}, queries=[other], min_query_chars=1)
    assert pairs.height == 2
