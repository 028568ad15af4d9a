from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conan_assets.training.batches import Batch, BatchPlan
from conan_assets.training.columns import Lists, StringColumn
from conan_assets.training.data import StsData, TrainingData, read_training_data
from conan_assets.training.negatives import NegativeTable
from conan_assets.training.retrieval_batch import RetrievalBatch
from conan_assets.training.samples import RetrievalSamples
from conan_assets.training.settings import DynamicNegativeSettings, TrainingSettings
from conan_assets.training.texts import DOCUMENT, QUERY
from conan_assets_tests.training.samples import Sample, write_retrieval, write_texts


def plan_for(folder: Path, texts: dict[str, str], samples: list[Sample], settings: TrainingSettings) -> BatchPlan:
    write_texts(folder, texts)
    write_retrieval(folder, samples)
    return plan_over(read_training_data(folder, settings.tasks), settings)


def plan_over(data: TrainingData, settings: TrainingSettings) -> BatchPlan:
    table = None
    if data.retrieval is not None:
        table = NegativeTable(data.retrieval.candidates, settings.negatives_in_loss, DynamicNegativeSettings())
    return BatchPlan(data, settings, table)


def strings(*values: str) -> StringColumn:
    return StringColumn(pa.array(values, pa.large_string()))


def samples_of(
    texts: list[str], queries: list[str], positives: list[list[int]], candidates: list[list[int]]
) -> RetrievalSamples:
    ids = strings(*(f"t{i}" for i in range(len(texts)))), strings(*(f"s{i}" for i in range(len(queries))))
    return RetrievalSamples(strings(*texts), *ids, strings(*queries), as_lists(positives), as_lists(candidates))


def negative_texts(batch: Batch) -> dict[str, dict[str, int]]:
    """Return each query's negatives and how often they count, all as texts."""
    part = batch.retrieval
    assert part is not None
    documents = [batch.texts[row][1] for row in part.documents]
    return {
        batch.texts[query][1]: {documents[i]: int(count) for i, count in enumerate(counts) if count}
        for query, counts in zip(part.queries, part.counts, strict=True)
    }


TEXTS = {"a": "A", "b": "B", "b2": "B", "c": "C", "d": "D"}


def test_hard_negatives_are_the_first_of_the_pool_and_in_batch_documents_join_them(tmp_path: Path):
    samples: list[Sample] = [("s1", "one", ["a"], ["c", "d"]), ("s2", "two", ["b"], ["d", "c"])]
    settings = TrainingSettings(retrieval_batch_size=2, negatives_per_query=1)
    assert negative_texts(plan_for(tmp_path, TEXTS, samples, settings).batch(0)) == {
        "one": {"B": 1, "C": 1, "D": 1},
        "two": {"A": 1, "C": 1, "D": 1},
    }


@pytest.mark.parametrize(
    ("in_batch", "expected"),
    [("none", {"C": 1}), ("positives", {"C": 1, "B": 1}), ("documents", {"B": 1, "C": 1, "D": 1})],
)
def test_what_is_a_negative_besides_the_own_ones_is_a_setting(tmp_path: Path, in_batch: str, expected: dict[str, int]):
    samples: list[Sample] = [("s1", "one", ["a"], ["c"]), ("s2", "two", ["b"], ["d"])]
    settings = TrainingSettings(retrieval_batch_size=2, negatives_per_query=1, in_batch_negatives=in_batch)  # type: ignore[arg-type]
    assert negative_texts(plan_for(tmp_path, TEXTS, samples, settings).batch(0))["one"] == expected


def test_no_positive_by_id_or_text_is_a_negative(tmp_path: Path):
    samples: list[Sample] = [
        ("s1", "one", ["b"], ["c", "d"]),
        ("s2", "two", ["b2"], ["b", "a"]),
        ("s3", "three", ["a", "c"], ["c", "d"]),
    ]
    settings = TrainingSettings(retrieval_batch_size=3, negatives_per_query=2)
    negatives = negative_texts(plan_for(tmp_path, TEXTS, samples, settings).batch(0))
    assert "B" not in negatives["one"]
    assert "B" not in negatives["two"]
    assert not {"A", "C"} & set(negatives["three"])


def test_samples_that_ask_the_same_query_share_their_positives(tmp_path: Path):
    samples: list[Sample] = [("s1", "same", ["a"], ["c"]), ("s2", "same", ["b"], ["a"])]
    settings = TrainingSettings(retrieval_batch_size=2, negatives_per_query=1)
    assert negative_texts(plan_for(tmp_path, TEXTS, samples, settings).batch(0)) == {"same": {"C": 1}}


def test_a_document_that_is_the_query_itself_is_no_negative(tmp_path: Path):
    samples: list[Sample] = [("s1", "A", ["b"], ["a", "c"])]
    plan = plan_for(tmp_path, TEXTS, samples, TrainingSettings(retrieval_batch_size=1, negatives_per_query=2))
    assert negative_texts(plan.batch(0)) == {"A": {"C": 1}}


def test_a_candidate_that_stands_twice_in_the_pool_counts_twice(tmp_path: Path):
    samples: list[Sample] = [("s1", "one", ["a"], ["c", "c", "d"]), ("s2", "two", ["b"], [])]
    settings = TrainingSettings(retrieval_batch_size=2, negatives_per_query=3)
    assert negative_texts(plan_for(tmp_path, TEXTS, samples, settings).batch(0))["one"] == {"B": 1, "C": 2, "D": 1}


def test_every_sample_is_drawn_once_per_epoch(tmp_path: Path):
    samples: list[Sample] = [(f"s{i}", f"query {i}", ["a"], []) for i in range(10)]
    settings = TrainingSettings(epochs=2, retrieval_batch_size=4)
    plan = plan_for(tmp_path, TEXTS, samples, settings)
    assert plan.steps == 5
    drawn = np.concatenate(
        [part.samples for step in range(5) if isinstance(part := plan.batch(step).retrieval, RetrievalBatch)]
    )
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert drawn[:10].tolist() != drawn[10:].tolist()


def test_max_steps_caps_the_epochs(tmp_path: Path):
    samples: list[Sample] = [(f"s{i}", f"query {i}", ["a"], []) for i in range(10)]
    assert plan_for(tmp_path, TEXTS, samples, TrainingSettings(retrieval_batch_size=2, max_steps=3)).steps == 3


def test_all_positives_get_their_turn(tmp_path: Path):
    settings = TrainingSettings(epochs=30, retrieval_batch_size=1)
    plan = plan_for(tmp_path, TEXTS, [("s1", "one", ["a", "b", "c"], ["d"])], settings)
    drawn = set()
    for step in range(30):
        batch = plan.batch(step)
        assert batch.retrieval is not None
        drawn.add(batch.texts[batch.retrieval.documents[batch.retrieval.positive[0]]][1])
    assert drawn == {"A", "B", "C"}


def test_sts_pairs_are_encoded_as_documents_as_reports_encode_them():
    retrieval = samples_of(["doc"], ["same"], [[0]], [[]])
    sts = StsData(strings("same"), strings("doc"), np.array([0.5], np.float32))
    batch = plan_over(TrainingData(retrieval, sts), TrainingSettings()).batch(0)
    assert batch.texts == [(QUERY, "same"), (DOCUMENT, "doc"), (DOCUMENT, "same")]
    assert batch.sts_from == 2
    assert batch.samples == 2


def two_tasks(queries: int, pairs: int) -> TrainingData:
    names = [f"q{i}" for i in range(queries)]
    retrieval = samples_of(["doc", "other"], names, [[0]] * queries, [[1]] * queries)
    left, right = [f"a{i}" for i in range(pairs)], [f"b{i}" for i in range(pairs)]
    return TrainingData(retrieval, StsData(strings(*left), strings(*right), np.arange(pairs, dtype=np.float32)))


def test_every_balanced_step_holds_both_tasks():
    plan = plan_over(two_tasks(8, 6), TrainingSettings(retrieval_batch_size=2, sts_batch_size=3, balance="cbb"))
    assert plan.steps == 4
    assert all(plan.batch(step).retrieval is not None and plan.batch(step).sts is not None for step in range(4))


def test_single_task_steps_take_turns_and_see_every_sample():
    plan = plan_over(two_tasks(8, 6), TrainingSettings(retrieval_batch_size=2, sts_batch_size=3, balance="single_task"))
    batches = [plan.batch(step) for step in range(plan.steps)]
    assert plan.steps == 6
    assert [batch.sts is not None for batch in batches].count(True) == 2
    assert all((batch.sts is None) != (batch.retrieval is None) for batch in batches)
    assert sorted(s for batch in batches if batch.retrieval for s in batch.retrieval.samples) == list(range(8))
    assert sorted(label for batch in batches if batch.sts for label in batch.sts.labels) == list(range(6))


def test_an_even_batch_of_sentence_pairs_sees_each_as_often_as_a_query():
    settings = TrainingSettings(retrieval_batch_size=2, sts_batch_size="even")
    plan = plan_over(two_tasks(8, 12), settings)
    assert (plan.steps, plan.sts_size) == (4, 3)
    drawn = [label for step in range(4) if (batch := plan.batch(step)).sts for label in batch.sts.labels]
    assert sorted(drawn) == list(range(12))
    assert plan_over(two_tasks(8, 3), settings).sts_size == 2, "a pair alone teaches nothing"
    assert plan_over(TrainingData(None, two_tasks(1, 12).sts), settings).sts_size == 2


def test_a_positive_that_is_the_query_itself_is_drawn_only_when_it_is_the_only_one():
    samples = samples_of(["same", "other"], ["same", "same"], [[0, 1], [0]], [[], []])
    plan = plan_over(TrainingData(samples, None), TrainingSettings(epochs=20))
    drawn = set()
    for step in range(plan.steps):
        batch = plan.batch(step)
        assert batch.retrieval is not None
        documents = [batch.texts[row][1] for row in batch.retrieval.documents]
        drawn |= {
            (int(s), documents[p]) for s, p in zip(batch.retrieval.samples, batch.retrieval.positive, strict=True)
        }
    assert drawn == {(0, "other"), (1, "same")}


@st.composite
def random_retrieval(draw: st.DrawFn) -> RetrievalSamples:
    texts = draw(st.lists(st.sampled_from("ABCDEFGH"), min_size=4, max_size=12))
    rows = st.integers(0, len(texts) - 1)
    count = draw(st.integers(1, 6))
    positives = [draw(st.lists(rows, min_size=1, max_size=3)) for _ in range(count)]
    candidates = [draw(st.lists(rows, max_size=5)) for _ in range(count)]
    queries = [draw(st.sampled_from("abcA")) for _ in range(count)]
    return samples_of(texts, queries, positives, candidates)


def as_lists(rows: list[list[int]]) -> Lists:
    return Lists.of(np.array([len(row) for row in rows]), np.array([item for row in rows for item in row], np.int32))


@given(random_retrieval(), st.sampled_from(["none", "positives", "documents"]), st.integers(0, 3))
def test_a_batch_agrees_with_a_naive_reading_of_its_rules(data: RetrievalSamples, in_batch: str, seed: int):
    settings = TrainingSettings(negatives_per_query=3, in_batch_negatives=in_batch, seed=seed)  # type: ignore[arg-type]
    batch = plan_over(TrainingData(data, None), settings).batch(0)
    part = batch.retrieval
    assert part is not None
    documents = [batch.texts[row] for row in part.documents]
    assert len(set(documents)) == len(documents)
    for row, sample in enumerate(part.samples):
        twins = [other for other in part.samples if data.queries[other] == data.queries[sample]]
        positives = {data.texts[text] for twin in twins for text in data.positives[twin]} | {data.queries[sample]}
        own = [data.texts[text] for text in data.candidates[sample][:3]]
        assert documents[part.positive[row]][1] in {data.texts[text] for text in data.positives[sample]}
        in_batch_columns = {"none": set(), "positives": set(part.positive), "documents": set(range(len(documents)))}[
            in_batch
        ]
        for column, (role, text) in enumerate(documents):
            assert role == DOCUMENT
            expected = max(own.count(text), int(column in in_batch_columns)) if text not in positives else 0
            assert part.counts[row, column] == expected
        assert [documents[column][1] for column in part.negatives[row] if column >= 0] == [
            t for t in own if t not in positives
        ]
