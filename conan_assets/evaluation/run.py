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
from mteb.results import TaskResult

from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.store import EmbeddingStore
from conan_assets.evaluation.bm25_model import BM25Model
from conan_assets.evaluation.errors import EvaluationError
from conan_assets.evaluation.finished import FinishedTasks
from conan_assets.evaluation.intervals import differences
from conan_assets.evaluation.outcome import Outcome
from conan_assets.evaluation.per_query import SCHEMA, query_scores
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
        Directory for ``per_query.parquet`` and the results of single tasks; a killed evaluation goes on from these.
    references
        Directories that earlier evaluations were handed, by the name to show (``"previous round"``, ``"base model"``).

    Returns
    -------
    dict
        ``rows`` (a dict per task, split and metric: ``value`` from 0 to 1, its 95 % interval ``low`` to ``high``),
        ``differences`` to the references, ``worst_queries``, ``not_run`` (tasks whose data did not load, and why),
        ``data`` (each task's revision), and all that changes a score: prompts, length, type, version.

    Raises
    ------
    EvaluationError
        A suite names what is not there, or none of its tasks could be loaded.
    """
    started = time.monotonic()
    model = StoredModel(encoder, store)
    outcome = _run_all(model, suite_tasks(suites, corpus, pairs), workdir)
    queries = outcome.write_queries(workdir / PER_QUERY)
    compared = {name: pl.read_parquet(folder / PER_QUERY) for name, folder in references.items()}
    return {
        **outcome.report(suites),
        "differences": differences(outcome.rows, queries, compared),
        "worst_queries": worst_queries(queries, corpus, pairs),
        "model": encoder.settings.model,
        "checkpoint_fingerprint": encoder.weights_fingerprint,
        "query_prompt": encoder.settings.query_prompt,
        "document_prompt": encoder.settings.document_prompt,
        "max_tokens": encoder.settings.max_tokens or "the model's own limit",
        "dtype": str(encoder.dtype).removeprefix("torch."),
        "stored_dtype": store.dtype.name,
        "seconds": round(time.monotonic() - started, 2),
        "texts_encoded": model.encoded,
        "texts_per_second": round(model.encoded / model.encoding_seconds, 1) if model.encoded else 0.0,
    }


def evaluate_bm25(
    suites: Mapping[str, SuiteSettings], corpus: pl.DataFrame, pairs: pl.DataFrame, workdir: Path
) -> dict[str, Any]:
    """Score BM25 on the retrieval and reranking tasks of all suites, by the same tasks and metrics as a checkpoint.

    Returns
    -------
    dict
        The report of :func:`evaluate_encoder` without what belongs to an encoder. The scores per query are in
        ``bm25_per_query.parquet``.
    """
    started = time.monotonic()
    model = BM25Model()
    tasks = suite_tasks(suites, corpus, pairs)
    searches = [part for part in tasks if isinstance(part.task, AbsTaskRetrieval)]
    outcome = _run_all(model, searches, workdir)
    for part in tasks:
        if part not in searches:
            outcome.leave_out(part, "BM25 ranks documents and gives no embeddings")
    queries = outcome.write_queries(workdir / BM25_PER_QUERY)
    return {
        **outcome.report(suites),
        "worst_queries": worst_queries(queries, corpus, pairs),
        "model": "BM25",
        "checkpoint_fingerprint": model.fingerprint,
        "seconds": round(time.monotonic() - started, 2),
    }


def _run_all(model: StoredModel | BM25Model, tasks: list[SuiteTask], workdir: Path) -> Outcome:
    datasets.disable_progress_bars()
    outcome = Outcome()
    finished = FinishedTasks(workdir / "results", model.fingerprint)
    progress = Progress("evaluating tasks", len(tasks))
    for part in tasks:
        found = finished.find(part.task)
        if found is None and (reason := _cannot_load(part.task)):
            outcome.leave_out(part, reason)
        else:
            outcome.add(part, *(found or _run(model, part.task, finished)))
        progress.advance(detail=part.name)
    for suite in {part.suite for part in tasks} - {row["suite"] for row in outcome.rows}:
        reasons = "; ".join(f"{row['task']}: {row['reason']}" for row in outcome.not_run if row["suite"] == suite)
        raise EvaluationError(f"suite {suite!r}: the data of none of its tasks could be loaded: {reasons}")
    outcome.finish(tasks)
    return outcome


def _cannot_load(task: AbsTask) -> str:
    """Load the task's data; return why that failed, or an empty string."""
    try:
        task.load_data()
    except Exception as error:
        logger.warning("%s does not run, its data cannot be loaded: %s", task.metadata.name, error)
        return f"its data cannot be loaded: {type(error).__name__}: {str(error)[:200]}"
    return ""


def _run(model: StoredModel | BM25Model, task: AbsTask, finished: FinishedTasks) -> tuple[TaskResult, pl.DataFrame]:
    model.runs.clear()
    results = mteb.evaluate(model, task, cache=None, co2_tracker=False, raise_error=True, show_progress_bar=False)
    queries = [
        query_scores(run, (task.dataset or {})[subset][split]["relevant_docs"], {"subset": subset, "split": split})
        for (_, subset, split), run in model.runs.items()
    ]
    model.runs.clear()
    outcome = results.task_results[0], pl.concat([pl.DataFrame(schema=SCHEMA), *queries])
    task.unload_data()
    finished.save(task, *outcome)
    return outcome
