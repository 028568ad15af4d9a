from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conan_assets.training.data import TrainingDataError, read_training_data
from conan_assets_tests.training.samples import write_retrieval, write_sts, write_texts

TEXTS = {"a": "first", "b": "second", "c": "first"}


def test_lists_become_rows_and_equal_texts_share_a_class(tmp_path: Path):
    write_texts(tmp_path, TEXTS)
    write_retrieval(tmp_path, [("s1", "query", ["b"], ["c", "a"]), ("s2", "first", ["a", "b"], [])])
    data = read_training_data(tmp_path).retrieval
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
    data = read_training_data(tmp_path)
    assert data.retrieval is None
    assert data.sts is not None
    assert data.sts.scores.tolist() == [1.0]


def test_a_folder_without_rows_is_refused(tmp_path: Path):
    write_sts(tmp_path, [])
    with pytest.raises(TrainingDataError, match="nothing to train on"):
        read_training_data(tmp_path)


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
        read_training_data(tmp_path)


def test_a_text_id_that_occurs_twice_is_refused(tmp_path: Path):
    pq.write_table(pa.table({"text_id": ["a", "a"], "text": ["x", "y"]}), tmp_path / "texts.parquet")
    write_retrieval(tmp_path, [("s1", "q", ["a"], [])])
    with pytest.raises(TrainingDataError, match="ids must be unique"):
        read_training_data(tmp_path)


def test_a_missing_column_is_named_with_those_there(tmp_path: Path):
    write_texts(tmp_path, TEXTS)
    pq.write_table(pa.table({"sample_id": ["s"], "question": ["q"]}), tmp_path / "retrieval.parquet")
    with pytest.raises(TrainingDataError, match="lacks the column 'query'; it has sample_id, question"):
        read_training_data(tmp_path)


def test_a_corrupt_file_is_named(tmp_path: Path):
    (tmp_path / "sts.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(TrainingDataError, match=r"sts\.parquet cannot be read as Parquet"):
        read_training_data(tmp_path)


def test_a_score_that_is_no_number_is_refused(tmp_path: Path):
    write_sts(tmp_path, [("a", "b", 1.0), ("c", "d", float("nan"))])
    with pytest.raises(TrainingDataError, match="row 2: score is nan"):
        read_training_data(tmp_path)
