"""Run the suites on a checkpoint or on a baseline such as BM25 and report what came out."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import datasets
import mteb
import polars as pl
from mteb.abstasks import AbsTask, AbsTaskRetrieval

from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.store import EmbeddingStore
from conan_assets.evaluation.finished import FinishedTask, FinishedTasks, TaskCost
from conan_assets.evaluation.intervals import differences
from conan_assets.evaluation.models import CutStore, EncoderModel, SearchModel
from conan_assets.evaluation.per_query import SCHEMA, query_scores
from conan_assets.evaluation.report import NO_EMBEDDINGS, PER_QUERY, EvaluationReport, LengthScore
from conan_assets.evaluation.report_builder import ReportBuilder
from conan_assets.evaluation.settings import EvaluationError, SuiteSettings
from conan_assets.evaluation.suites import SuiteTask, suite_tasks
from conan_assets.files import atomic_path, full_disk_error
from conan_assets.progress import Progress, logger


def evaluate_encoder(
    encoder: Encoder,
    store: EmbeddingStore,
    suites: Mapping[str, SuiteSettings],
    corpus: pl.DataFrame,
    pairs: pl.DataFrame,
    workdir: Path,
    finished: Path,
    references: Mapping[str, Path] = MappingProxyType({}),
    dims: Sequence[int] = (),
) -> EvaluationReport:
    """Score an encoder on all suites and return the report.

    Parameters
    ----------
    encoder, store
        The checkpoint, and the store that its embeddings are read from and written to.
    suites
        What to score it on, by name.
    corpus, pairs
        All sources' documents and judged pairs, for the local suites.
    workdir
        Directory for ``per_query.parquet``.
    finished
        Directory that keeps the results of single tasks: any evaluation of the same weights goes on from these.
    references
        Directories that earlier evaluations wrote to, by the name to show (``"previous round"``, ``"base model"``).
    dims
        Lengths to which the vectors are cut and scored by each task's main metric; whole ones are scored anyway.

    Raises
    ------
    EvaluationError
        A suite names what is not there, or none of its tasks could be loaded.
    """
    model = EncoderModel(encoder, store)
    tasks = suite_tasks(suites, corpus, pairs)
    built = _run_all(model, tasks, finished)
    _check_that_every_suite_ran(tasks, built)
    queries = _write_queries(built, workdir / model.per_query)
    compared = {name: pl.read_parquet(folder / PER_QUERY) for name, folder in references.items()}
    lengths: list[LengthScore] = []
    for dim in (dim for dim in dims if dim < encoder.dim):
        lengths += _scores_at(dim, encoder, store, suites, suite_tasks(suites, corpus, pairs), finished)
    report = built.report(model.label, encoder.weights_fingerprint, tasks, suites)
    return replace(
        report,
        lengths=lengths,
        differences=differences(report.rows, queries, compared),
        query_prompt=encoder.prompt("query"),
        document_prompt=encoder.prompt("document"),
        max_tokens=encoder.settings.max_tokens or encoder.model.max_seq_length,
        dtype=str(encoder.dtype).removeprefix("torch."),
        stored_dtype=store.dtype.name,
    )


def _scores_at(
    dim: int,
    encoder: Encoder,
    store: EmbeddingStore,
    suites: Mapping[str, SuiteSettings],
    tasks: list[SuiteTask],
    finished: Path,
) -> list[LengthScore]:
    model = EncoderModel(encoder, CutStore(store, dim))
    report = _run_all(model, tasks, finished).report(model.label, model.fingerprint, tasks, suites)
    return [LengthScore(**vars(row), dim=dim) for row in report.rows if row.main and not row.part_of]


def evaluate_baseline(
    model: SearchModel,
    suites: Mapping[str, SuiteSettings],
    corpus: pl.DataFrame,
    pairs: pl.DataFrame,
    workdir: Path,
    finished: Path,
) -> EvaluationReport:
    """Score what only ranks, such as BM25, on the retrieval and reranking tasks of all suites.

    The tasks and metrics are those of a checkpoint. The scores per query go to a file in ``workdir``. A suite of which
    nothing could be loaded is in ``not_run``, and so are tasks that need embeddings.
    """
    tasks = suite_tasks(suites, corpus, pairs)
    built = _run_all(model, [part for part in tasks if isinstance(part.task, AbsTaskRetrieval)], finished)
    _write_queries(built, workdir / model.per_query)
    for part in tasks:
        if not isinstance(part.task, AbsTaskRetrieval):
            built.leave_out(part, NO_EMBEDDINGS)
    return built.report(model.label, model.fingerprint, tasks, suites)


def _write_queries(built: ReportBuilder, path: Path) -> pl.DataFrame:
    queries = built.queries()
    with atomic_path(path) as temporary:
        queries.write_parquet(temporary)
    return queries


def _run_all(model: SearchModel, tasks: list[SuiteTask], folder: Path) -> ReportBuilder:
    datasets.disable_progress_bars()
    built = ReportBuilder()
    finished_tasks = FinishedTasks(folder, model.fingerprint)
    progress = Progress("evaluating tasks", len(tasks))
    for part in tasks:
        finished = finished_tasks.find(part.task)
        if finished is None and (reason := _cannot_load(part.task)):
            built.leave_out(part, reason)
        else:
            built.add(part, finished or _run(model, part.task, finished_tasks))
        progress.advance(detail=part.name)
    return built


def _check_that_every_suite_ran(tasks: list[SuiteTask], built: ReportBuilder) -> None:
    for suite in {part.suite for part in tasks} - {row.suite for row in built.rows}:
        reasons = "; ".join(f"{left.task}: {left.reason}" for left in built.not_run if left.suite == suite)
        raise EvaluationError(f"suite {suite!r}: the data of none of its tasks could be loaded: {reasons}")


def _cannot_load(task: AbsTask) -> str:
    """Load the task's data; return why that failed, or an empty string. A full disk is no reason but an error."""
    try:
        task.load_data()
    except Exception as error:
        if full_disk_error(error):
            raise
        logger.warning("%s does not run, its data cannot be loaded: %s", task.metadata.name, error)
        return f"its data cannot be loaded: {type(error).__name__}: {str(error)[:200]}"
    return ""


def _run(model: SearchModel, task: AbsTask, finished_tasks: FinishedTasks) -> FinishedTask:
    started, before = time.monotonic(), model.effort
    model.runs.clear()
    results = mteb.evaluate(model, task, cache=None, co2_tracker=False, raise_error=True, show_progress_bar=False)
    queries = pl.concat([pl.DataFrame(schema=SCHEMA), *_query_scores(model, task)])
    model.runs.clear()
    seconds = time.monotonic() - started
    after = model.effort
    cost = TaskCost(seconds, after.encoded - before.encoded, after.seconds - before.seconds)
    finished = FinishedTask(results.task_results[0], queries, cost)
    task.unload_data()
    finished_tasks.save(task, finished)
    return finished


def _query_scores(model: SearchModel, task: AbsTask) -> list[pl.DataFrame]:
    loaded = task.dataset or {}
    return [
        query_scores(run, loaded[subset][split], task.metadata, {"subset": subset, "split": split})
        for (_, subset, split), run in model.runs.items()
    ]
