"""Grades count in their ratios, whatever their scale: the metrics take whole numbers."""

import json
from pathlib import Path

import polars as pl
import pytest

from conan_assets.evaluation.local_tasks import whole_grades
from conan_assets.evaluation.run import evaluate_baseline
from conan_assets.evaluation.settings import FolderSuite
from conan_assets_tests.evaluation.conftest import bm25

DOCUMENTS = {
    "d0": "apple apple apple apple pie",
    "d1": "apple pie crust and sugar here",
    "d2": "banana bread recipe one",
    "d3": "pear tart recipe two",
}


@pytest.mark.parametrize("scores", [("0.1", "1.0"), ("1", "10"), ("0.01", "0.1")])
def test_grades_below_one_keep_their_order(tmp_path: Path, scores):
    (tmp_path / "qrels").mkdir()
    lines = [json.dumps({"_id": name, "text": text}) for name, text in DOCUMENTS.items()]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    (tmp_path / "queries.jsonl").write_text('{"_id":"q1","text":"apple"}')
    judged = "".join(f"q1\td{place}\t{score}\n" for place, score in enumerate(scores))
    (tmp_path / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    suite = FolderSuite(kind="folder", path=tmp_path, task="retrieval", splits=("test",))
    report = evaluate_baseline(
        bm25(), {"fruit": suite}, pl.DataFrame(), pl.DataFrame(), tmp_path / "work", tmp_path / "finished"
    )
    (value,) = (row.value for row in report.rows if row.main)
    assert 100 * value == pytest.approx(68.76, abs=0.01)


def test_grades_keep_their_ratios():
    assert whole_grades([0.25, 0.5, 0, -1]) == [25, 50, 0, 0]
    assert whole_grades([1, 2, 3]) == [1, 2, 3]
    assert whole_grades([1 / 3, 0.0001]) == [333, 1]
