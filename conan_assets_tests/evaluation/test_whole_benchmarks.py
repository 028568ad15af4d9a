"""Every task of C-MTEB, BEIR and NanoBEIR, from folders of tiny sets: the whole way from the data to the means."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from mteb.benchmarks.benchmark import BenchmarkAggregation
from mteb.results import TaskResult

from conan_assets.evaluation.run import evaluate_encoder
from conan_assets.evaluation.settings import MtebSuite
from conan_assets.evaluation.suites import SuiteTask, suite_tasks

pytestmark = pytest.mark.slow

WORDS = ["apple pie", "blue sky", "cold water", "dark night", "east wind", "fair trade", "green tea", "high noon"]
NOTHING = pl.DataFrame()


def write_search(folder: Path, splits: list[str]) -> None:
    documents = {"_id": [f"d{i}" for i in range(8)], "title": "", "text": WORDS}
    queries = {"_id": ["q0", "q1", "q2"], "text": ["an apple", "the sky", "tea at noon"]}
    judged = {"query-id": queries["_id"], "corpus-id": ["d0", "d1", "d6"], "score": [1, 1, 1]}
    listed = {"query-id": queries["_id"], "corpus-ids": [["d0", "d3"], ["d2", "d1"], ["d6", "d7", "d5"]]}
    pl.DataFrame(documents).write_parquet(folder / "corpus.parquet")
    pl.DataFrame(queries).write_parquet(folder / "queries.parquet")
    for part, rows in (("qrels", judged), ("top_ranked", listed)):
        (folder / part).mkdir()
        for split in splits:
            pl.DataFrame(rows).write_parquet(folder / part / f"{split}.parquet")


def write_tables(rows: dict) -> Callable[[Path, list[str]], None]:
    def write(folder: Path, splits: list[str]) -> None:
        for split in (*splits, "train"):
            pl.DataFrame(rows).write_parquet(folder / f"{split}.parquet")

    return write


MANY = [f"{word} {number}" for word in WORDS for number in range(5)]
PAIRED = {"sentence1": WORDS, "sentence2": WORDS[1:] + WORDS[:1]}
WRITERS = {
    "Retrieval": write_search,
    "Reranking": write_search,
    "STS": write_tables({**PAIRED, "score": [float(number) for number in range(8)]}),
    "PairClassification": write_tables(
        {"sent1": WORDS, "sent2": PAIRED["sentence2"], "labels": [number % 2 for number in range(8)]}
    ),
    "Classification": write_tables({"text": MANY, "label": [number % 2 for number in range(40)]}),
    "Clustering": write_tables({"sentences": [MANY], "labels": [[str(number // 20) for number in range(40)]]}),
}


def write_benchmark(parts: list[SuiteTask], folder: Path) -> Path:
    for part in parts:
        (folder / part.name).mkdir(parents=True)
        WRITERS[part.task.metadata.type](folder / part.name, list(part.task.eval_splits))
    return folder


@pytest.mark.parametrize(("benchmark", "tasks"), [("C-MTEB", 35), ("BEIR", 15), ("NanoBEIR", 13)])
def test_every_task_of_a_benchmark_runs_from_a_folder_and_gives_its_means(benchmark, tasks, encoder, store, tmp_path):
    parts = suite_tasks({"all": MtebSuite(kind="mteb", benchmark=benchmark)}, NOTHING, NOTHING)
    folder = write_benchmark(parts, tmp_path / "hub")
    suites = {"all": MtebSuite(kind="mteb", benchmark=benchmark, folder=folder)}
    report = evaluate_encoder(encoder, store, suites, NOTHING, NOTHING, tmp_path, tmp_path / "finished")
    assert report.not_run == []
    for line in report.means:
        assert line.not_run == 0
        assert line.ours is not None
    scored = {row.task for row in report.rows if row.main and not row.part_of}
    assert len(scored) == tasks == max(line.tasks for line in report.means)
    ours = {line.convention: line.ours for line in report.means if line.of == "all"}
    mains = [row for row in report.rows if row.main and not row.part_of]
    mean = 100 * sum(row.value for row in mains) / len(mains)
    if benchmark == "BEIR":
        assert ours["BEIR, 15 tasks"] == pytest.approx(mean, abs=0.01)
        (whole,) = [row for row in mains if row.task == "CQADupstackRetrieval"]
        assert whole.low <= whole.value <= whole.high
    elif benchmark == "NanoBEIR":
        assert ours == {"mteb, 13 tasks": pytest.approx(mean_by_mteb(tmp_path / "finished"), abs=0.01)}
    else:
        assert ours["mteb, 31 tasks"] != ours["published, 35 tasks"]


def mean_by_mteb(finished: Path) -> float:
    kept = [json.loads(path.read_text()) for path in finished.rglob("*.json")]
    results = [TaskResult.model_validate(each["result"]) for each in kept]
    return 100 * BenchmarkAggregation.MEAN_TASK.aggregate(results)["Mean(Task)"]
