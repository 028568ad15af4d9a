"""Run the suites on a checkpoint or on BM25 and report what came out."""

import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import datasets
import mteb
import polars as pl
from mteb.abstasks import AbsTask, AbsTaskRetrieval

from conan_assets.artifacts import atomic_path, full_disk_error
from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.store import EmbeddingStore
from conan_assets.evaluation.bm25_model import BM25Model
from conan_assets.evaluation.errors import EvaluationError
from conan_assets.evaluation.finished import Effort, FinishedTask, FinishedTasks
from conan_assets.evaluation.intervals import differences
from conan_assets.evaluation.outcome import Outcome
from conan_assets.evaluation.per_query import SCHEMA, query_scores
from conan_assets.evaluation.reasons import NO_EMBEDDINGS
from conan_assets.evaluation.search_model import SearchModel
from conan_assets.evaluation.settings import SuiteSettings
from conan_assets.evaluation.stored_model import StoredModel
from conan_assets.evaluation.suites import SuiteTask, suite_tasks
from conan_assets.evaluation.worst import worst_queries
from conan_assets.progress import Progress, logger

PER_QUERY = "per_query.parquet"
BM25_PER_QUERY = "bm25_per_query.parquet"


def evaluate_encoder(
    encoder: Encoder,
    store: EmbeddingStore,
    suites: Mapping[str, SuiteSettings],
    corpus: pl.DataFrame,
    pairs: pl.DataFrame,
    workdir: Path,
    finished: Path,
    references: Mapping[str, Path] = MappingProxyType({}),
) -> dict[str, Any]:
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

    Returns
    -------
    dict
        ``rows`` (a dict per task, split and metric: ``value`` from 0 to 1, its 95 % interval ``low`` to ``high``),
        ``differences`` to the references, ``worst_queries``, ``not_run`` (tasks whose data did not load, and why),
        ``data`` (each task's revision and cost), and all that changes a score: prompts, length, type, version.

    Raises
    ------
    EvaluationError
        A suite names what is not there, or none of its tasks could be loaded.
    """
    model = StoredModel(encoder, store)
    tasks = suite_tasks(suites, corpus, pairs)
    outcome = _run_all(model, tasks, finished)
    _check_that_every_suite_ran(tasks, outcome)
    queries = _write_queries(outcome, workdir / PER_QUERY)
    compared = {name: pl.read_parquet(folder / PER_QUERY) for name, folder in references.items()}
    report = outcome.report(tasks, suites)
    return {
        **report,
        "differences": differences(report["rows"], queries, compared),
        "worst_queries": worst_queries(queries),
        "model": encoder.settings.model,
        "checkpoint_fingerprint": encoder.weights_fingerprint,
        "query_prompt": encoder.prompt("query"),
        "document_prompt": encoder.prompt("document"),
        "max_tokens": encoder.settings.max_tokens or encoder.model.max_seq_length,
        "dtype": str(encoder.dtype).removeprefix("torch."),
        "stored_dtype": store.dtype.name,
    }


def evaluate_bm25(
    suites: Mapping[str, SuiteSettings], corpus: pl.DataFrame, pairs: pl.DataFrame, workdir: Path, finished: Path
) -> dict[str, Any]:
    """Score BM25 on the retrieval and reranking tasks of all suites, by the same tasks and metrics as a checkpoint.

    Returns
    -------
    dict
        The report of :func:`evaluate_encoder` without what belongs to an encoder. The scores per query are in
        ``bm25_per_query.parquet``. A suite of which nothing could be loaded is in ``not_run`` too.
    """
    model = BM25Model()
    tasks = suite_tasks(suites, corpus, pairs)
    searches = [part for part in tasks if isinstance(part.task, AbsTaskRetrieval)]
    outcome = _run_all(model, searches, finished)
    for part in tasks:
        if part not in searches:
            outcome.leave_out(part, NO_EMBEDDINGS)
    queries = _write_queries(outcome, workdir / BM25_PER_QUERY)
    return {
        **outcome.report(tasks, suites),
        "worst_queries": worst_queries(queries),
        "model": "BM25",
        "checkpoint_fingerprint": model.fingerprint,
    }


def _write_queries(outcome: Outcome, path: Path) -> pl.DataFrame:
    queries = outcome.all_queries()
    with atomic_path(path) as temporary:
        queries.write_parquet(temporary)
    return queries


def _run_all(model: StoredModel | BM25Model, tasks: list[SuiteTask], folder: Path) -> Outcome:
    datasets.disable_progress_bars()
    outcome = Outcome()
    finished_tasks = FinishedTasks(folder, model.fingerprint)
    progress = Progress("evaluating tasks", len(tasks))
    for part in tasks:
        finished = finished_tasks.find(part.task)
        if finished is None and (reason := _cannot_load(part.task)):
            outcome.leave_out(part, reason)
        else:
            outcome.add(part, finished or _run(model, part.task, finished_tasks))
        progress.advance(detail=part.name)
    return outcome


def _check_that_every_suite_ran(tasks: list[SuiteTask], outcome: Outcome) -> None:
    for suite in {part.suite for part in tasks} - {row["suite"] for row in outcome.rows}:
        reasons = "; ".join(f"{row['task']}: {row['reason']}" for row in outcome.not_run if row["suite"] == suite)
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


def _run(model: StoredModel | BM25Model, task: AbsTask, finished_tasks: FinishedTasks) -> FinishedTask:
    started, encoded, encoding_seconds = time.monotonic(), model.encoded, model.encoding_seconds
    model.runs.clear()
    results = mteb.evaluate(model, task, cache=None, co2_tracker=False, raise_error=True, show_progress_bar=False)
    queries = pl.concat([pl.DataFrame(schema=SCHEMA), *_query_scores(model, task)])
    model.runs.clear()
    seconds = time.monotonic() - started
    effort = Effort(seconds, model.encoded - encoded, model.encoding_seconds - encoding_seconds)
    finished = FinishedTask(results.task_results[0], queries, effort)
    task.unload_data()
    finished_tasks.save(task, finished)
    return finished


def _query_scores(model: SearchModel, task: AbsTask) -> list[pl.DataFrame]:
    loaded = task.dataset or {}
    return [
        query_scores(run, loaded[subset][split], task.metadata, {"subset": subset, "split": split})
        for (_, subset, split), run in model.runs.items()
    ]
