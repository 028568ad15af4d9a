"""Stock mteb tasks fed from Parquet files instead of the hub.

The hub's cache cannot be seeded by hand: it is refused, or for reranking silently wrong. Filling the task itself works
for every type of task. A folder holds ``corpus.parquet`` (``_id, title, text``), ``queries.parquet`` (``_id, text``),
``qrels/<split>.parquet`` (``query-id, corpus-id, score``) and, for reranking, ``top_ranked/<split>.parquet``
(``query-id, corpus-ids``); for other tasks ``<split>.parquet`` with the columns of the set on the hub. Of a task that
has more than one subset, such as a language, each has a folder of its own in the task's.
"""

from pathlib import Path
from typing import Any

import polars as pl
from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTask, AbsTaskRetrieval

from conan_assets.artifacts import fingerprint, fingerprint_file

TABLE_SUFFIXES = (".parquet", ".jsonl", ".tsv")


def folder_fingerprint(folder: Path) -> str:
    """Return 16 hex digits that change with the name or the content of any table below ``folder``."""
    files = sorted(file for file in folder.rglob("*") if file.suffix in TABLE_SUFFIXES)
    return fingerprint([(str(file.relative_to(folder)), fingerprint_file(file)) for file in files])


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
        {file.stem: _table(pl.read_parquet(file)) for file in sorted(folder.glob("*.parquet"))}
    )
    for split in task.eval_splits:
        if split not in tables:
            raise FileNotFoundError(f"{folder} lacks {split}.parquet")
    return tables


def _retrieval_split(task: AbsTask, folder: Path, split: str) -> dict[str, Any]:
    corpus = pl.read_parquet(folder / "corpus.parquet").rename({"_id": "id"})
    judged = pl.read_parquet(folder / "qrels" / f"{split}.parquet")
    queries = pl.read_parquet(folder / "queries.parquet").rename({"_id": "id"})
    qrels: dict[str, dict[str, int]] = {}
    for query_id, document_id, score in judged.select("query-id", "corpus-id", "score").iter_rows():
        qrels.setdefault(str(query_id), {})[str(document_id)] = int(score)
    return {
        "corpus": _table(corpus.with_columns(pl.col("id").cast(pl.String))),
        "queries": _table(queries.with_columns(pl.col("id").cast(pl.String)).filter(pl.col("id").is_in(list(qrels)))),
        "relevant_docs": qrels,
        "top_ranked": _top_ranked(folder, split) if task.metadata.type == "Reranking" else None,
    }


def _top_ranked(folder: Path, split: str) -> dict[str, list[str]]:
    listed = pl.read_parquet(folder / "top_ranked" / f"{split}.parquet")
    return dict(
        listed.select(pl.col("query-id").cast(pl.String), pl.col("corpus-ids").cast(pl.List(pl.String))).iter_rows()
    )


def _table(frame: pl.DataFrame) -> Dataset:
    return Dataset.from_dict(frame.to_dict(as_series=False))
