"""From the results of single tasks to a model's report."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import mteb
import polars as pl
from mteb.results import TaskResult

from conan_assets.evaluation.conventions import benchmark_means, beside_published, metric_conventions
from conan_assets.evaluation.finished import FinishedTask
from conan_assets.evaluation.intervals import with_intervals
from conan_assets.evaluation.metrics import reported_metrics
from conan_assets.evaluation.per_query import SCHEMA, worst_queries
from conan_assets.evaluation.report import EvaluationReport, ScoreRow, TaskData, TaskNotRun
from conan_assets.evaluation.settings import SuiteSettings
from conan_assets.evaluation.suites import SuiteTask

DECIMALS = 6
"""As many as mteb keeps in a result file, so that a score read back is the score computed."""


class ReportBuilder:
    """What the tasks of an evaluation have brought so far.

    Attributes
    ----------
    rows, not_run
        The scores of single tasks, and the tasks that do not run.
    """

    def __init__(self) -> None:
        self.rows: list[ScoreRow] = []
        self.not_run: list[TaskNotRun] = []
        self._queries = [pl.DataFrame(schema=SCHEMA)]
        self._data: list[TaskData] = []
        self._encoding_seconds = 0.0

    def add(self, part: SuiteTask, finished: FinishedTask) -> None:
        """Take what came out of a task."""
        columns = {"suite": part.suite, "task": part.name, "part_of": part.part_of}
        queries = finished.queries.with_columns(
            **{name: pl.lit(value, pl.String) for name, value in columns.items()}
        ).select(*SCHEMA)
        self.rows.extend(_score_rows(part, finished.result, queries))
        self._queries.append(queries)
        self._encoding_seconds += finished.cost.encoding_seconds
        self._data.append(
            TaskData(
                suite=part.suite,
                task=part.name,
                dataset=part.task.metadata.dataset["path"],
                revision=finished.result.dataset_revision,
                seconds=round(finished.cost.seconds, 2),
                texts_encoded=finished.cost.texts_encoded,
                written_by=part.written_by,
            )
        )

    def leave_out(self, part: SuiteTask, reason: str) -> None:
        """Note a task that does not run, and why."""
        self.not_run.append(TaskNotRun(suite=part.suite, task=part.name, reason=reason))

    def queries(self) -> pl.DataFrame:
        """Return the scores per query of all tasks."""
        return pl.concat(self._queries)

    def report(
        self, model: str, weights: str, tasks: Sequence[SuiteTask], suites: Mapping[str, SuiteSettings]
    ) -> EvaluationReport:
        """Return all of the report that is there for every kind of model; ``weights`` is their fingerprint."""
        rows = [*self.rows, *_aggregate_rows(self.rows, tasks)]
        encoded = sum(data.texts_encoded for data in self._data)
        queries = self.queries()
        return EvaluationReport(
            model=model,
            checkpoint_fingerprint=weights,
            rows=list(with_intervals(rows, queries)),
            means=benchmark_means(rows, suites),
            beside_published=beside_published(rows, suites),
            metric_conventions=metric_conventions(rows, suites),
            worst_queries=worst_queries(queries),
            not_run=self.not_run,
            data=self._data,
            mteb_version=mteb.__version__,
            seconds=round(sum(data.seconds for data in self._data), 2),
            texts_encoded=encoded,
            texts_per_second=round(encoded / self._encoding_seconds, 1) if encoded else None,
        )


def _score_rows(part: SuiteTask, result: TaskResult, queries: pl.DataFrame) -> Iterator[ScoreRow]:
    """Yield a row per split, subset and metric of one task."""
    metadata = part.task.metadata
    metrics = reported_metrics(metadata.type, metadata.main_score)
    for split, subsets in result.scores.items():
        for scores in subsets:
            subset = scores["hf_subset"]
            for metric in (name for name in metrics if name in scores):
                yield ScoreRow(
                    suite=part.suite,
                    task=part.name,
                    type=metadata.type,
                    part_of=part.part_of,
                    subset=subset,
                    split=split,
                    metric=metric,
                    value=round(float(scores[metric]), DECIMALS),
                    main=metric == metadata.main_score,
                    queries=queries.filter(split=split, subset=subset).height,
                )


def _aggregate_rows(rows: Sequence[ScoreRow], tasks: Sequence[SuiteTask]) -> Iterator[ScoreRow]:
    """Yield the mean of each task that is made of parts, if every part has run; half a mean would say nothing."""
    for suite, name in dict.fromkeys((part.suite, part.part_of) for part in tasks if part.part_of):
        names = {part.name for part in tasks if part.part_of == name and part.suite == suite}
        mains = [row for row in rows if row.main and row.suite == suite and row.task in names]
        if {row.task for row in mains} == names:
            value = sum(row.value for row in mains) / len(mains)
            yield replace(mains[0], task=name, part_of=None, value=value, queries=sum(row.queries for row in mains))
