"""From the settings of suites to the mteb tasks that they are made of."""

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mteb
import polars as pl
from mteb.abstasks import AbsTask, AbsTaskRetrieval

from conan_assets.artifacts import fingerprint
from conan_assets.data.files import locate
from conan_assets.evaluation.conventions import ADDED_TO_CMTEB_31, CMTEB_31, CMTEB_35
from conan_assets.evaluation.folder_tasks import folder_task, search_task
from conan_assets.evaluation.local_tasks import judged_pairs, local_task, written_by
from conan_assets.evaluation.metrics import listed_by_split, reported_metrics
from conan_assets.evaluation.offline import folder_fingerprint, read_from_folder
from conan_assets.evaluation.settings import EvaluationError, FolderSuite, LocalSuite, MtebSuite, SuiteSettings
from conan_assets.progress import logger


@dataclass(frozen=True)
class SuiteTask:
    """A task of a suite: its name in reports, the larger task of which its score is a part, who wrote its questions."""

    suite: str
    name: str
    task: AbsTask
    part_of: str | None = None
    written_by: str | None = None


def suite_tasks(suites: Mapping[str, SuiteSettings], corpus: pl.DataFrame, pairs: pl.DataFrame) -> list[SuiteTask]:
    """Return the tasks of all suites, none loaded yet; raise EvaluationError if a suite names what is not there."""
    tasks: list[SuiteTask] = []
    for name, suite in suites.items():
        if isinstance(suite, LocalSuite):
            task = local_task(name, suite, corpus, pairs)
            tasks.append(SuiteTask(name, suite.dataset, task, written_by=written_by(suite, pairs)))
        elif isinstance(suite, FolderSuite):
            make = search_task if suite.task in ("retrieval", "reranking") else folder_task
            tasks.append(SuiteTask(name, suite.path.name, make(name, suite)))
        else:
            tasks.extend(_benchmark_tasks(name, suite))
    return tasks


def require_measured(suite_name: str, suite: SuiteSettings, split: str, metric: str) -> None:
    """Check that tasks of a benchmark have ``metric`` on ``split``; profiles answer for the suites of other kinds.

    Raises
    ------
    EvaluationError
        None of its tasks has it, or the suite names what is not there.
    """
    if not isinstance(suite, MtebSuite):
        return
    tasks = [part.task for part in _benchmark_tasks(suite_name, suite)]
    measured = [
        (each, name)
        for task in tasks
        for name in reported_metrics(task.metadata.type, task.metadata.main_score)
        for each in task.eval_splits
    ]
    count = measured.count((split, metric))
    if not count:
        raise EvaluationError(
            f"dev_metric: no task of suite {suite_name!r} has {metric} on split {split!r}; choose from "
            f"{listed_by_split(measured)}"
        )
    logger.info("%d of %d tasks of suite %s count in the dev metric", count, len(tasks), suite_name)


def evaluation_queries(suites: Mapping[str, SuiteSettings], pairs: pl.DataFrame) -> list[str]:
    """Return the distinct texts of all evaluation queries, sorted: none of them may be trained on.

    Hub benchmarks are loaded for it; of tasks without queries every text counts.

    Raises
    ------
    EvaluationError
        A suite names what is not there, or the data of a task cannot be loaded: what cannot be read cannot be kept out.
    """
    texts: set[str] = set()
    for name, suite in suites.items():
        if isinstance(suite, LocalSuite):
            texts.update(judged_pairs(name, suite, pairs)["query"])
            continue
        for part in suite_tasks({name: suite}, pl.DataFrame(), pairs):
            texts.update(_loaded_texts(part))
    return sorted(texts)


def suite_files_fingerprint(suites: Mapping[str, SuiteSettings]) -> str:
    """Return 16 hex digits that change with the files that suites read from folders: part of what decides a report.

    Raises
    ------
    EvaluationError
        A suite's folder is not there.
    """
    folders = {name: Path(locate(str(suite.path))) for name, suite in suites.items() if isinstance(suite, FolderSuite)}
    folders |= {name: suite.folder for name, suite in suites.items() if isinstance(suite, MtebSuite) and suite.folder}
    for name, folder in folders.items():
        if not folder.is_dir():
            raise EvaluationError(f"suite {name!r}: there is no folder {folder}; correct its path in the profile")
    return fingerprint({name: folder_fingerprint(folder) for name, folder in folders.items()})


def _benchmark_tasks(suite_name: str, suite: MtebSuite) -> list[SuiteTask]:
    known = _known_tasks(suite_name, suite.benchmark)
    for name in suite.tasks:
        if name not in known:
            raise EvaluationError(
                f"suite {suite_name!r}: {suite.benchmark} has no task {name!r}; its tasks are {', '.join(known)}"
            )
    tasks: list[SuiteTask] = []
    for name in suite.tasks or known:
        parts = getattr(known[name].metadata, "tasks", None)
        tasks.extend(
            SuiteTask(suite_name, task.metadata.name, _own_copy(task, suite.folder), name if parts else None)
            for task in parts or [known[name]]
        )
    return tasks


def _own_copy(task: AbsTask, folder: Path | None) -> AbsTask:
    # mteb hands out the same task objects every time and unloading changes them.
    own = copy.copy(task)
    if folder is not None:
        read_from_folder(own, folder / task.metadata.name)
    return own


def _known_tasks(suite_name: str, benchmark: str) -> dict[str, AbsTask]:
    try:
        tasks = list(mteb.get_benchmark(CMTEB_31 if benchmark == CMTEB_35 else benchmark).tasks)
    except KeyError as error:
        raise EvaluationError(f"suite {suite_name!r}: mteb knows no benchmark {benchmark!r}: {error.args[0]}") from None
    if benchmark == CMTEB_35:
        tasks += [
            mteb.get_task(name, hf_subsets=[part], eval_splits=["test"]) for name, part in ADDED_TO_CMTEB_31.items()
        ]
    return {task.metadata.name: task for task in tasks}


def _loaded_texts(part: SuiteTask) -> Iterator[str]:
    try:
        part.task.load_data()
    except Exception as error:
        raise EvaluationError(
            f"suite {part.suite!r}: the data of {part.name} cannot be loaded ({error}), so its queries cannot be kept "
            "out of the training data; make the data available or leave the task out of the suite"
        ) from error
    logger.info("loaded %s for decontamination", part.name)
    yield from _texts(part.task)
    part.task.unload_data()


def _texts(task: AbsTask) -> Iterator[str]:
    if isinstance(task, AbsTaskRetrieval):
        task.convert_v1_dataset_format_to_v2(num_proc=None)
        for splits in task.dataset.values():
            for data in splits.values():
                yield from (text for text in data["queries"]["text"] if isinstance(text, str))
        return
    for split in task.metadata.eval_splits:
        yield from _strings(task.dataset or {}, split)


def _strings(dataset: Mapping[str, Any], split: str) -> Iterator[str]:
    """Yield all strings of a split, whether the dataset is a mapping of splits or of subsets with splits."""
    tables = [dataset[split]] if split in dataset else [subset[split] for subset in dataset.values() if split in subset]
    for table in tables:
        for name in table.column_names:
            yield from _flatten(table[name])


def _flatten(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Iterable):
        for item in value:
            yield from _flatten(item)
