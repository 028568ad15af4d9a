"""Whoever changes what a reader, curation or the training files give raises the version, and nothing old is reused."""

import json
from pathlib import Path

import polars as pl
import pytest

from conan_assets.artifacts import fingerprint
from conan_assets.data.curation import CURATION_VERSION, curate
from conan_assets.data.curation_settings import CurationSettings
from conan_assets.data.python_docs import tables_of_objects
from conan_assets.data.settings import (
    BeirSource,
    ClassificationSource,
    HubPairsSource,
    PairsSource,
    PythonDocsSource,
    QueryLogSource,
    StsSource,
)
from conan_assets.data.sources import SOURCES_VERSION, load_source
from conan_assets.data.training_files import TRAINING_FILES_VERSION, write_training_files
from conan_assets_tests.data.frames import make_corpus, make_pairs
from conan_assets_tests.data.logs import people_who_look_at_the_top, write_searches

GOLDEN: dict[tuple[str, int], dict[str, str] | str] = {
    ("sources", 3): {
        "beir": "8db0d6d2b9a3f633",
        "pairs": "ac097e6dfb244286",
        "sts": "a6b347124ca6f364",
        "classification": "0638c001339b0424",
        "hub": "3fbb94ca6771baba",
        "query_log": "81442be43d724ffd",
        "python_docs": "665997ed4877d1af",
    },
    ("curation", 5): "76880f791947e722",
    ("training files", 1): "7ab7b31f05e9608d",
}


def digest(*frames: pl.DataFrame) -> str:
    return fingerprint([frame.write_json() for frame in frames])


def write_files(folder: Path) -> None:
    (folder / "qrels").mkdir()
    documents = [{"_id": 1, "title": "Cats", "text": "They purr."}, {"_id": "b", "title": 1984, "text": None}]
    (folder / "corpus.jsonl").write_text("\n\n".join(map(json.dumps, documents)))
    pl.DataFrame({"_id": ["q", "r"], "text": ["what purrs", "which year"]}).write_parquet(folder / "queries.parquet")
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq\t1\t1\nr\tb\t0.5\nr\t1\t0\n\n")
    (folder / "train.csv").write_text('query,positive,negative\nwho purrs,"[""A cat."", ""Cats.""]","A ""dog"", no"\n')
    (folder / "dev.tsv").write_bytes('query\tpositive\nwho barks\t"A ""dog""."\n'.encode("utf-16"))
    (folder / "sts").mkdir()
    (folder / "sts" / "train.csv").write_text('sentence1,sentence2,score\n"A, b",c,4\nd,e, 0.5\n')
    (folder / "labels").mkdir()
    (folder / "labels" / "train.jsonl").write_text('{"text":"good","label":1}\n{"text":"bad","label":false}\n')


def read_hub(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    table = {"data_files": "train.csv", "split": "train"}
    return load_source("h", HubPairsSource(kind="hub_pairs", path=str(folder), tables={"train": table}))


def read_log(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    searches, _ = people_who_look_at_the_top(queries=5, times=20)
    settings = QueryLogSource(kind="query_log", path=str(folder / "log"), min_clicks=1, dev_percent=0, test_percent=40)
    write_searches(folder / "log", [row | {"query": row["query"] + row["time"][:9]} for row in searches])
    return load_source("l", settings)


def read_python_docs(_: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    modules = [f"{name}.part" for name in ("ast", "bisect", "calendar", "dis", "email", "fnmatch", "gzip", "heapq")]
    rows = [
        {
            "module": module,
            "name": f"f{number}",
            "first_line": f"Do the thing number {number} of {module}.",
            "rest": f"f{number}(a)\n\n{'Something else is said here, at some length. ' * 3}{module} {number}",
        }
        for module in modules
        for number in range(3)
    ]
    settings = PythonDocsSource(kind="python_docs", sts_pairs=6)
    return tables_of_objects("p", pl.DataFrame(rows), settings)


READERS = {
    "beir": lambda folder: load_source("b", BeirSource(kind="beir", path=folder, max_train_queries=1)),
    "pairs": lambda folder: load_source("p", PairsSource(kind="pairs", path=folder)),
    "sts": lambda folder: load_source("s", StsSource(kind="sts", path=folder / "sts", max_score=5)),
    "classification": lambda folder: load_source(
        "c", ClassificationSource(kind="classification", path=folder / "labels")
    ),
    "hub": read_hub,
    "query_log": read_log,
    "python_docs": read_python_docs,
}


@pytest.mark.parametrize("kind", READERS)
def test_another_corpus_or_other_pairs_need_another_version(tmp_path, kind):
    write_files(tmp_path)
    found = digest(*READERS[kind](tmp_path))
    assert found == dict(GOLDEN.get(("sources", SOURCES_VERSION), {})).get(kind), (
        f"the numbers changed: raise SOURCES_VERSION, or undo the change; they are {found}"
    )


def to_curate() -> tuple[pl.DataFrame, pl.DataFrame, dict[str, list[str]], CurationSettings]:
    line = "a cat that sleeps in the sun all day long and dreams of mice and birds and of a warm place by the fire"
    corpus = make_corpus(line, line.replace("fire", "door"), "Dogs bark at strangers in C++ and in C#.", "!!" * 20)
    asked = "where does the old cat sleep all day"
    rows = [
        {"query": asked, "doc_id": "wiki:d1"},
        {"query": f"{asked}?", "doc_id": "wiki:d2"},
        {"query": "who barks in C++ at night", "doc_id": "wiki:d3"},
        {"query": "who barks in C# at night", "doc_id": "wiki:d3"},
        {"query": "Who  BARKS at NIGHT", "doc_id": "wiki:d3"},
        {"query": "write to me@example.org now", "doc_id": "wiki:d3"},
        {"query": "what is\fthis", "doc_id": "wiki:d4"},
        {"query": "the page\fbreak glues", "doc_id": "wiki:d3"},
        {"query": "what is known of tests nearly", "doc_id": "wiki:d3"},
        {"query": "who barks at night", "doc_id": "wiki:d1", "split": "test"},
    ]
    settings = CurationSettings(personal_data=("email",))
    return corpus, make_pairs(*rows), {"hub": ["what is known of tests, nearly!"]}, settings


def test_other_training_pairs_need_another_version(tmp_path):
    corpus, pairs, queries, settings = to_curate()
    report = curate(pairs.lazy(), pairs.clear().lazy(), corpus.lazy(), queries, settings, tmp_path / "kept.parquet")
    removed = {row["reason"]: row["removed"] for row in report["removed_by_reason"] if row["removed"]}
    found = fingerprint(removed, pl.read_parquet(tmp_path / "kept.parquet").write_json())
    assert found == GOLDEN.get(("curation", CURATION_VERSION)), (
        f"the numbers changed: raise CURATION_VERSION, or undo the change; they are {found}, removed {removed}"
    )


def test_other_training_files_need_another_version(tmp_path):
    corpus, pairs, _, _ = to_curate()
    mined = {"query_id": ["wiki:q1"] * 2, "doc_id": ["wiki:d3", "wiki:d4"], "order": [2, 1], "copies": [1, 2]}
    negatives = pl.DataFrame(
        {**mined, "verdict": ["kept"] * 2, "reason": [None, None]}, schema_overrides={"reason": pl.String}
    )
    train, dev = pairs.filter(split="train"), pairs.filter(split="test")
    write_training_files(corpus, train, train, negatives, tmp_path, dev=dev, weights={"wiki": 1.5})
    found = digest(*(pl.read_parquet(path) for path in sorted(tmp_path.glob("*.parquet"))))
    assert found == GOLDEN.get(("training files", TRAINING_FILES_VERSION)), (
        f"the numbers changed: raise TRAINING_FILES_VERSION, or undo the change; they are {found}"
    )
