"""mteb tasks over folders: STS, pair classification, classification, clustering, and retrieval in BEIR layout."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from datasets import Dataset, DatasetDict
from mteb.abstasks import (
    AbsTask,
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskPairClassification,
    AbsTaskSTS,
)
from mteb.abstasks.task_metadata import TaskMetadata

from conan_assets.data.beir import read_beir_folder
from conan_assets.data.examples import GRADED_ROWS, LABELLED_ROWS, SUFFIXES
from conan_assets.data.files import find_table, locate
from conan_assets.data.readers import read_table
from conan_assets.data.settings import BeirSource
from conan_assets.data.tables import Table, TableError, check_table
from conan_assets.evaluation.local_tasks import content_hash, local_task
from conan_assets.evaluation.metrics import TYPES
from conan_assets.evaluation.mteb_privates import registered_task
from conan_assets.evaluation.settings import EvaluationError, FolderSuite, LocalSuite


@dataclass(frozen=True)
class TaskForm:
    """mteb's class for a kind of task, our table, mteb's main metric, our columns and what they are called there."""

    base: type[AbsTask]
    table: Table
    main_score: str
    columns: dict[str, str]
    other_splits: tuple[str, ...] = ()
    attributes: Mapping[str, object] = field(default_factory=dict)


SENTENCES = {"sentence1": "sentence1", "sentence2": "sentence2"}

FORMS = {
    "sts": TaskForm(AbsTaskSTS, GRADED_ROWS, "cosine_spearman", {**SENTENCES, "score": "score"}),
    "pair_classification": TaskForm(
        AbsTaskPairClassification, GRADED_ROWS, "cosine_ap", {**SENTENCES, "score": "labels"}
    ),
    "classification": TaskForm(
        AbsTaskClassification, LABELLED_ROWS, "accuracy", {"text": "text", "label": "label"}, ("train",)
    ),
    "clustering": TaskForm(
        AbsTaskClustering,
        LABELLED_ROWS,
        "v_measure",
        {"text": "sentences", "label": "labels"},
        attributes={"max_fraction_of_documents_to_embed": None},
    ),
}


def folder_task(suite_name: str, suite: FolderSuite) -> AbsTask:
    """Return the mteb task of a folder; the revision of its data is a hash of all its texts and labels.

    Raises
    ------
    EvaluationError
        A split's file is missing or unreadable, lacks a column, holds an empty value or one of a wrong type, or has
        nothing to tell apart: one score or one label alone.
    """
    form = FORMS[suite.task]
    splits = dict.fromkeys((*form.other_splits, *suite.splits))
    frames = {split: _read_split(suite_name, suite, split, form) for split in splits}
    if suite.task == "classification":
        frames = _numbered_labels(frames)
    metadata = TaskMetadata(
        name=f"folder-{suite.path.name}-{suite.task}",
        dataset={"path": suite.path.name, "revision": content_hash(list(frames.values()))},
        description=f"{suite.task} on the folder {suite.path.name}",
        type=TYPES[suite.task],
        eval_splits=list(suite.splits),
        eval_langs=["eng-Latn"],
        main_score=form.main_score,
        category="t2t",
    )
    tables = {split: Dataset.from_dict(frame.to_dict(as_series=False)) for split, frame in frames.items()}

    def load_data(task: AbsTask, *_: object, **__: object) -> None:
        task.dataset, task.data_loaded = DatasetDict(tables), True

    return registered_task(form.base, metadata, load_data=load_data, **form.attributes)


def search_task(suite_name: str, suite: FolderSuite) -> AbsTask:
    """Return the mteb task of a folder in BEIR layout: retrieval, or reranking of BM25's best documents.

    Raises
    ------
    EvaluationError
        The folder breaks the layout, or a split has no query with a relevant document.
    """
    name = suite.path.name
    settings = LocalSuite.model_validate(
        {"dataset": name, "task": suite.task, "candidates": suite.candidates, "splits": suite.splits}
    )
    try:
        source = BeirSource(kind="beir", path=str(suite.path), train="train" in suite.splits)
        corpus, pairs = read_beir_folder(name, source)
    except TableError as error:
        raise EvaluationError(f"suite {suite_name!r}: {error}") from error
    return local_task(suite_name, settings, corpus, pairs)


def _read_split(suite_name: str, suite: FolderSuite, split: str, form: TaskForm) -> pl.DataFrame:
    folder = Path(locate(str(suite.path))).expanduser()
    try:
        if not folder.is_dir():
            raise TableError(f"there is no folder {folder.absolute()}; correct the suite's path")
        path = find_table(folder, split, SUFFIXES)
        if path is None:
            raise TableError(f"{folder} holds no file {split} ({', '.join(SUFFIXES)}); a {suite.task} suite needs it")
        frame = check_table(read_table(path, form.table), form.table, str(path))
        if frame.is_empty():
            raise TableError(f"{path} has no rows")
        judged = frame["score" if "score" in frame.columns else "label"]
        if judged.n_unique() < 2:
            raise TableError(f"{path}: column {judged.name} holds the same everywhere; nothing can be told apart by it")
        if suite.task == "pair_classification" and not judged.is_in([0.0, 1.0]).all():
            raise TableError(f"{path}: column score must hold 0 and 1 for pair classification")
    except TableError as error:
        raise EvaluationError(f"suite {suite_name!r}: {error}") from error
    return frame.select(pl.col(ours).alias(theirs) for ours, theirs in form.columns.items())


def _numbered_labels(frames: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Return the frames with labels as numbers from 0, the same for a label in every split."""
    labels = sorted({label for frame in frames.values() for label in frame["label"].unique()})
    number = {label: index for index, label in enumerate(labels)}
    return {
        split: frame.with_columns(label=pl.Series([number[label] for label in frame["label"]]))
        for split, frame in frames.items()
    }
