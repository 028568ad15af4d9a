from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conan_assets.training.columns import TrainingDataError
from conan_assets.training.data import read_dev_samples, read_training_data
from conan_assets.training.settings import Task
from conan_assets_tests.training.samples import write_retrieval, write_sts, write_texts

TASKS: tuple[Task, ...] = ("retrieval", "classification", "sts")
TEXTS = {"a": "first", "b": "second", "c": "first"}


def test_lists_become_rows_and_equal_texts_share_a_class(tmp_path: Path):
    write_texts(tmp_path, TEXTS)
    write_retrieval(tmp_path, [("s1", "query", ["b"], ["c", "a"]), ("s2", "first", ["a", "b"], [])])
    data = read_training_data(tmp_path, TASKS).retrieval
    assert data is not None
    assert [data.positives[i].tolist() for i in range(2)] == [[1], [0, 1]]
    assert [data.candidates[i].tolist() for i in range(2)] == [[2, 0], []]
    assert data.text_class[0] == data.text_class[2] == data.query_class[1]
    assert data.text_class[1] != data.text_class[0]
    assert (data.texts[1], data.queries[0], data.sample_ids[1]) == ("second", "query", "s2")


def test_a_task_without_rows_is_not_there(tmp_path: Path):
    write_texts(tmp_path, TEXTS)
    write_retrieval(tmp_path, [])
    write_sts(tmp_path, [("a", "b", 1.0)])
    data = read_training_data(tmp_path, TASKS)
    assert data.retrieval is None
    assert data.sts is not None
    assert data.sts.scores.tolist() == [1.0]


def test_a_folder_without_rows_is_refused(tmp_path: Path):
    write_sts(tmp_path, [])
    with pytest.raises(TrainingDataError, match="nothing to train on"):
        read_training_data(tmp_path, TASKS)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (
            [("s1", "q", ["a"], []), ("s2", "q", ["a"], ["b", "x"])],
            r"row 2 \(sample_id 's2'\): column candidates names the text 'x'",
        ),
        (
            [("s1", "q", ["a"], []), ("s2", "q", [], ["b"])],
            r"row 2 \(sample_id 's2'\): column positives is an empty list",
        ),
        ([("s1", None, ["a"], [])], "row 1: column query is null"),
    ],
)
def test_a_broken_sample_is_named(tmp_path: Path, samples: list, message: str):
    write_texts(tmp_path, TEXTS)
    write_retrieval(tmp_path, samples)
    with pytest.raises(TrainingDataError, match=message):
        read_training_data(tmp_path, TASKS)


def test_a_text_id_that_occurs_twice_is_refused(tmp_path: Path):
    pq.write_table(pa.table({"text_id": ["a", "a"], "text": ["x", "y"]}), tmp_path / "texts.parquet")
    write_retrieval(tmp_path, [("s1", "q", ["a"], [])])
    with pytest.raises(TrainingDataError, match="ids must be unique"):
        read_training_data(tmp_path, TASKS)


def test_a_missing_column_is_named_with_those_there(tmp_path: Path):
    write_texts(tmp_path, TEXTS)
    pq.write_table(pa.table({"sample_id": ["s"], "question": ["q"]}), tmp_path / "retrieval.parquet")
    with pytest.raises(TrainingDataError, match="lacks the column 'query'; it has sample_id, question"):
        read_training_data(tmp_path, TASKS)


def test_a_corrupt_file_is_named(tmp_path: Path):
    (tmp_path / "sts.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(TrainingDataError, match=r"sts\.parquet cannot be read as Parquet"):
        read_training_data(tmp_path, TASKS)


def test_a_score_that_is_no_number_is_refused(tmp_path: Path):
    write_sts(tmp_path, [("a", "b", 1.0), ("c", "d", float("nan"))])
    with pytest.raises(TrainingDataError, match="row 2: score is nan"):
        read_training_data(tmp_path, TASKS)


def test_a_stage_reads_its_own_tasks_alone(tmp_path: Path):
    write_texts(tmp_path, TEXTS)
    write_retrieval(tmp_path, [("s1", "q", ["a"], [])])
    write_sts(tmp_path, [("a", "b", 1.0)])
    assert read_training_data(tmp_path, ("retrieval",)).sts is None
    assert read_training_data(tmp_path, ("sts",)).retrieval is None


def test_teacher_scores_are_read_beside_their_lists(tmp_path: Path):
    write_texts(tmp_path, TEXTS)
    columns = {"sample_id": ["s"], "query": ["q"], "positives": [["b"]], "candidates": [["c", "a"]]}
    scores = {"positive_scores": [[0.9]], "candidate_scores": [[0.5, 0.25]]}
    pq.write_table(pa.table(columns | scores), tmp_path / "retrieval.parquet")
    samples = read_training_data(tmp_path, TASKS).retrieval
    assert samples is not None
    assert samples.candidate_scores is not None
    assert samples.candidate_scores.take(np.array([0]), np.array([[1, -1]]), np.nan)[0].tolist() == [
        0.25,
        pytest.approx(np.nan, nan_ok=True),
    ]

    pq.write_table(pa.table(columns | scores | {"candidate_scores": [[0.5]]}), tmp_path / "retrieval.parquet")
    with pytest.raises(
        TrainingDataError, match=r"\(sample_id 's'\): column candidate_scores holds 1 scores for 2 texts"
    ):
        read_training_data(tmp_path, TASKS)


def test_an_infinite_score_is_refused_and_nan_is_none(tmp_path: Path):
    write_texts(tmp_path, TEXTS)
    columns = {"sample_id": ["s"], "query": ["q"], "positives": [["b"]], "candidates": [["c", "a"]]}
    scores = {"positive_scores": [[float("nan")]], "candidate_scores": [[0.5, float("inf")]]}
    pq.write_table(pa.table(columns | scores), tmp_path / "retrieval.parquet")
    with pytest.raises(TrainingDataError, match=r"row 1 \(sample_id 's'\): column candidate_scores holds inf"):
        read_training_data(tmp_path, TASKS)


def test_a_column_that_is_there_twice_is_refused_where_it_is_read(tmp_path: Path):
    write_texts(tmp_path, TEXTS)
    values = [["s"], ["q"], [["b"]], [["c"]], ["x"], ["y"]]
    names = ["sample_id", "query", "positives", "candidates", "unused", "unused"]
    pq.write_table(pa.table(values, names=names), tmp_path / "retrieval.parquet")
    assert len(read_training_data(tmp_path, TASKS).retrieval) == 1
    pq.write_table(pa.table(values, names=[*names[:5], "query"]), tmp_path / "retrieval.parquet")
    with pytest.raises(TrainingDataError, match=r"retrieval\.parquet holds the column 'query' twice"):
        read_training_data(tmp_path, TASKS)


def write_classification(folder: Path, rows: list[tuple[str, str]]) -> None:
    pq.write_table(
        pa.table({"text": [t for t, _ in rows], "label": [label for _, label in rows]}),
        folder / "classification.parquet",
    )


def test_classes_become_positives_and_other_classes_candidates(tmp_path: Path):
    rows = [("good", "+"), ("bad", "-"), ("fine", "+"), ("poor", "-"), ("odd", "alone")]
    write_classification(tmp_path, rows)
    samples = read_training_data(tmp_path, TASKS).retrieval
    assert samples is not None
    assert [samples.queries[i] for i in range(len(samples))] == ["good", "bad", "fine", "poor"]
    for i in range(len(samples)):
        label = dict(rows)[samples.queries[i]]
        assert {samples.texts[row] for row in samples.positives[i]} == {text for text, other in rows if other == label}
        assert {samples.texts[row] for row in samples.candidates[i]} == {text for text, other in rows if other != label}


def test_one_class_alone_is_refused(tmp_path: Path):
    write_classification(tmp_path, [("a", "x"), ("b", "x")])
    with pytest.raises(TrainingDataError, match="one class only"):
        read_training_data(tmp_path, TASKS)


def test_retrieval_and_classification_join(tmp_path: Path):
    write_texts(tmp_path, TEXTS)
    columns = {"sample_id": ["s"], "query": ["q"], "positives": [["b"]], "candidates": [["c"]]}
    scores = {"positive_scores": [[0.9]], "candidate_scores": [[0.5]]}
    pq.write_table(pa.table(columns | scores), tmp_path / "retrieval.parquet")
    write_classification(tmp_path, [("u", "1"), ("v", "1"), ("w", "2")])
    samples = read_training_data(tmp_path, TASKS).retrieval
    assert samples is not None
    assert [samples.sample_ids[i] for i in range(3)] == ["s", "classification.parquet:0", "classification.parquet:1"]
    assert [[samples.texts[row] for row in samples.positives[i]] for i in range(3)] == [
        ["second"],
        ["u", "v"],
        ["u", "v"],
    ]
    assert [samples.texts[row] for row in samples.candidates[1]] == ["w"]
    assert samples.positive_scores is not None
    assert samples.positive_scores[0].tolist() == pytest.approx([0.9])
    assert np.isnan(samples.positive_scores[2]).all()


def test_an_early_stop_needs_dev_samples(tmp_path: Path):
    with pytest.raises(TrainingDataError, match=r"dev\.parquet holds no row"):
        read_dev_samples(tmp_path)


def test_labelled_texts_have_negatives_of_their_own_dataset_alone(tmp_path: Path):
    rows = [
        ("a", "good", "x"),
        ("b", "good", "x"),
        ("c", "bad", "x"),
        ("d", "good", "y"),
        ("e", "good", "y"),
        ("f", "bad", "y"),
    ]
    columns = dict(zip(("text", "label", "dataset"), map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), tmp_path / "classification.parquet")
    samples = read_training_data(tmp_path, TASKS).retrieval
    assert samples is not None
    found = {samples.queries[i]: {samples.texts[row] for row in samples.candidates[i]} for i in range(len(samples))}
    assert found == {"a": {"c"}, "b": {"c"}, "d": {"f"}, "e": {"f"}}
    positives = {samples.queries[i]: {samples.texts[row] for row in samples.positives[i]} for i in range(len(samples))}
    assert positives["a"] == {"a", "b"}
    assert positives["e"] == {"d", "e"}


def test_classes_of_one_text_each_are_nothing_to_train_on(tmp_path: Path):
    write_classification(tmp_path, [("a", "x"), ("b", "y")])
    with pytest.raises(TrainingDataError, match="nothing to train on"):
        read_training_data(tmp_path, TASKS)


LISTS_OF_TEXTS = [
    pa.array([["a"], ["b"]], pa.list_(pa.dictionary(pa.int32(), pa.string()))),
    pa.array([["a"], ["b"]], pa.large_list(pa.large_string())),
    pa.array([["a"], ["b"]], pa.list_(pa.string(), 1)),
]


@pytest.mark.parametrize("lists", LISTS_OF_TEXTS, ids=lambda lists: str(lists.type))
def test_dictionaries_and_all_lists_are_read_as_texts(tmp_path: Path, lists: pa.Array):
    ids = pa.array(["a", "b"]).dictionary_encode()
    pq.write_table(
        pa.table({"text_id": ids, "text": pa.array(["x", "y"]).dictionary_encode()}), tmp_path / "texts.parquet"
    )
    write_samples(tmp_path, positives=lists, candidates=lists, query=pa.array(["q", "r"]).dictionary_encode())
    data = read_training_data(tmp_path, TASKS).retrieval
    assert data is not None
    assert [data.texts[int(data.positives[i][0])] for i in range(2)] == ["x", "y"]
    assert [data.queries[i] for i in range(2)] == ["q", "r"]


def test_ids_that_are_integers_here_and_texts_there_are_one(tmp_path: Path):
    pq.write_table(pa.table({"text_id": [7, 8], "text": ["x", "y"]}), tmp_path / "texts.parquet")
    write_samples(
        tmp_path, positives=pa.array([["8"], ["7"]]), candidates=pa.array([[7], [8]]), sample_id=pa.array([1, 2])
    )
    data = read_training_data(tmp_path, TASKS).retrieval
    assert data is not None
    assert [data.positives[i].tolist() for i in range(2)] == [[1], [0]]
    assert [data.candidates[i].tolist() for i in range(2)] == [[0], [1]]
    assert data.sample_ids[1] == "2"


def write_samples(folder: Path, **columns: pa.Array) -> None:
    """Write two samples of which some columns are of another type."""
    usual = {"sample_id": pa.array(["s", "t"]), "query": pa.array(["q", "r"])}
    lists = {name: pa.array([["a"], ["b"]]) for name in ("positives", "candidates")}
    pq.write_table(pa.table(usual | lists | columns), folder / "retrieval.parquet")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"positives": pa.array(["a", "b"])}, "column positives: it holds string, not lists of names"),
        ({"candidates": pa.array([1, 2])}, "column candidates: it holds int64, not lists of names"),
        ({"query": pa.array([["q"], ["r"]])}, "column query: it holds list<.*>, not texts"),
        ({"query": pa.array([1, 2])}, "column query: it holds int64, not texts"),
        ({"sample_id": pa.array([0.5, 1.5])}, "column sample_id: it holds double, not texts"),
        ({"positives": pa.array([["a"], ["b", None]])}, "column positives: row 2 lists a null"),
        ({"positives": pa.array([["a"], [["b"]]][:1] * 2), "positive_scores": pa.array([["1"], ["2"]])}, "not numbers"),
        ({"positive_scores": pa.array([1.0, 2.0])}, "column positive_scores: it holds double, not lists of numbers"),
        ({"query": pa.array([b"q", b"\xff"]).cast(pa.string(), safe=False)}, "column query: Invalid UTF8"),
    ],
)
def test_a_column_of_another_kind_is_named_with_its_file(tmp_path: Path, columns: dict, message: str):
    write_texts(tmp_path, {"a": "x", "b": "y"})
    write_samples(tmp_path, **columns)
    with pytest.raises(TrainingDataError, match=rf"retrieval\.parquet: .*{message}"):
        read_training_data(tmp_path, TASKS)


def test_labels_and_grades_of_other_types_are_read(tmp_path: Path):
    labelled = {
        "text": ["x", "y", "z", "w"],
        "label": pa.array([1, 2, 1, 2]),
        "dataset": pa.array(["d"] * 4).dictionary_encode(),
    }
    pq.write_table(pa.table(labelled), tmp_path / "classification.parquet")
    graded = {"text_a": ["x", "y"], "text_b": ["y", "x"], "score": pa.array([True, False])}
    pq.write_table(pa.table(graded), tmp_path / "sts.parquet")
    data = read_training_data(tmp_path, TASKS)
    assert data.retrieval is not None
    assert data.sts is not None
    assert len(data.retrieval) == 4
    assert data.sts.scores.tolist() == [1.0, 0.0]
