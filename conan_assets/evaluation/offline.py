"""Stock mteb tasks fed from Parquet files instead of the hub.

The hub's cache cannot be seeded by hand: it is refused, or for reranking silently wrong. Filling the task itself works
for every type of task. A folder holds ``corpus.parquet`` (``_id, title, text``), ``queries.parquet`` (``_id, text``),
``qrels/<split>.parquet`` (``query-id, corpus-id, score``) and, for reranking, ``top_ranked/<split>.parquet``
(``query-id, corpus-ids``); for other tasks ``<split>.parquet`` with the columns of the set on the hub. Of a task that
has more than one subset, such as a language, each has a folder of its own in the task's.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTask, AbsTaskRetrieval

from conan_assets.artifacts import fingerprint, fingerprint_file
from conan_assets.data.beir import BEIR_CORPUS, BEIR_JUDGEMENTS, BEIR_QUERIES
from conan_assets.data.columns import TEXTS
from conan_assets.data.readers import read_table
from conan_assets.data.tables import Table, TableError, check_table
from conan_assets.evaluation.local_tasks import whole_grades

READING_VERSION = 2
"""To be raised with what the same files become."""

TOP_RANKED = Table("candidates", {"query-id": pl.String, "corpus-ids": TEXTS}, ("query-id", "corpus-ids"), ())
TABLE_SUFFIXES = (".parquet", ".jsonl", ".tsv")


def folder_fingerprint(folder: Path) -> str:
    """Return 16 hex digits that change with the name or the content of any table below ``folder``."""
    files = sorted(file for file in folder.rglob("*") if file.suffix in TABLE_SUFFIXES)
    return fingerprint(READING_VERSION, [(str(file.relative_to(folder)), fingerprint_file(file)) for file in files])


def read_from_folder(task: AbsTask, folder: Path) -> None:
    """Make ``task.load_data()`` read ``folder``; the revision of its data becomes a hash of the files."""
    source = {**task.metadata.dataset, "revision": folder_fingerprint(folder)}
    vars(task)["metadata"] = task.metadata.model_copy(update={"dataset": source})
    vars(task)["load_data"] = lambda *_, **__: _fill(task, folder)


def _fill(task: AbsTask, folder: Path) -> None:
    tables = {subset: _subset(task, place) for subset, place in _subset_folders(task, folder).items()}
    if isinstance(task, AbsTaskRetrieval):
        task.dataset = tables
    else:
        task.dataset = tables if task.metadata.is_multilingual else tables[task.hf_subsets[0]]
        task.dataset_transform()
    task.data_loaded = True


def _subset_folders(task: AbsTask, folder: Path) -> dict[str, Path]:
    """Return the folder of each subset: the task's own where it has but one."""
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    if len(task.hf_subsets) == 1:
        return {task.hf_subsets[0]: folder}
    for subset in task.hf_subsets:
        if not (folder / subset).is_dir():
            raise FileNotFoundError(f"{folder} lacks the folder {subset}; it needs {', '.join(task.hf_subsets)}")
    return {subset: folder / subset for subset in task.hf_subsets}


def _subset(task: AbsTask, folder: Path) -> dict[str, Any]:
    """Return mteb's form of a subset, by split."""
    if isinstance(task, AbsTaskRetrieval):
        return {split: _retrieval_split(task, folder, split) for split in task.eval_splits}
    tables: dict[str, Any] = DatasetDict(
        {file.stem: _table(_read_whole(file)) for file in sorted(folder.glob("*.parquet"))}
    )
    for split in task.eval_splits:
        if split not in tables:
            raise FileNotFoundError(f"{folder} lacks {split}.parquet")
    return tables


def _retrieval_split(task: AbsTask, folder: Path, split: str) -> dict[str, Any]:
    corpus = read_table(folder / "corpus.parquet", BEIR_CORPUS).rename({"_id": "id"})
    queries = read_table(folder / "queries.parquet", BEIR_QUERIES).rename({"_id": "id"})
    path = folder / "qrels" / f"{split}.parquet"
    judged = check_table(read_table(path, BEIR_JUDGEMENTS), replace(BEIR_JUDGEMENTS, key=()), str(path))
    qrels: dict[str, dict[str, int]] = {}
    grades = whole_grades(judged["score"].to_list())
    for (query_id, document_id), grade in zip(judged.select("query-id", "corpus-id").iter_rows(), grades, strict=True):
        qrels.setdefault(query_id, {})[document_id] = grade
    return {
        "corpus": _table(corpus.with_columns(pl.col("title", "text").fill_null(""))),
        "queries": _table(queries.filter(pl.col("id").is_in(list(qrels)))),
        "relevant_docs": qrels,
        "top_ranked": _top_ranked(folder, split) if task.metadata.type == "Reranking" else None,
    }


def _top_ranked(folder: Path, split: str) -> dict[str, list[str]]:
    return dict(read_table(folder / "top_ranked" / f"{split}.parquet", TOP_RANKED).iter_rows())


def _read_whole(file: Path) -> pl.DataFrame:
    try:
        return pl.DataFrame(pq.read_table(file))
    except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        raise TableError(
            f"{file} is not readable Parquet, it is damaged or cut off: write it again ({error})"
        ) from error


def _table(frame: pl.DataFrame) -> Dataset:
    return Dataset.from_dict(frame.to_dict(as_series=False))
