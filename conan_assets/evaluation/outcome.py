"""What an evaluation has brought so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import mteb
import polars as pl

from conan_assets.evaluation.conventions import benchmark_tables, metric_conventions
from conan_assets.evaluation.finished import FinishedTask
from conan_assets.evaluation.intervals import with_intervals
from conan_assets.evaluation.per_query import SCHEMA
from conan_assets.evaluation.rows import aggregate_rows, score_rows
from conan_assets.evaluation.settings import SuiteSettings
from conan_assets.evaluation.suites import SuiteTask


@dataclass
class Outcome:
    """Rows of the report, scores per query, tasks that did not run, the data of the others and what they took."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    queries: list[pl.DataFrame] = field(default_factory=list)
    not_run: list[dict[str, str]] = field(default_factory=list)
    data: list[dict[str, Any]] = field(default_factory=list)
    encoding_seconds: float = 0.0

    def add(self, part: SuiteTask, finished: FinishedTask) -> None:
        """Take what came out of a task."""
        columns = {"suite": part.suite, "task": part.name, "part_of": part.part_of}
        queries = finished.queries.with_columns(
            **{name: pl.lit(value, pl.String) for name, value in columns.items()}
        ).select(*SCHEMA)
        self.rows.extend(score_rows(part, finished.result, queries))
        self.queries.append(queries)
        self.encoding_seconds += finished.effort.encoding_seconds
        self.data.append(
            {
                "suite": part.suite,
                "task": part.name,
                "dataset": part.task.metadata.dataset["path"],
                "revision": finished.result.dataset_revision,
                "seconds": round(finished.effort.seconds, 2),
                "texts_encoded": finished.effort.texts_encoded,
            }
        )

    def leave_out(self, part: SuiteTask, reason: str) -> None:
        """Note a task that does not run, and why."""
        self.not_run.append({"suite": part.suite, "task": part.name, "reason": reason})

    def report(self, tasks: Sequence[SuiteTask], suites: Mapping[str, SuiteSettings]) -> dict[str, Any]:
        """Return the part of the report that is the same for every kind of model.

        Seconds and texts are those that the tasks took when they ran, in this evaluation or in an earlier one.
        """
        rows = [*self.rows, *aggregate_rows(self.rows, tasks)]
        encoded = sum(data["texts_encoded"] for data in self.data)
        return {
            "rows": list(with_intervals(rows, self.all_queries())),
            **benchmark_tables(rows, suites),
            "metric_conventions": metric_conventions(rows, suites),
            "not_run": self.not_run,
            "data": self.data,
            "mteb_version": mteb.__version__,
            "seconds": round(sum(data["seconds"] for data in self.data), 2),
            "texts_encoded": encoded,
            "texts_per_second": round(encoded / self.encoding_seconds, 1) if encoded else None,
        }

    def all_queries(self) -> pl.DataFrame:
        """Return the scores per query of all tasks."""
        return pl.concat([pl.DataFrame(schema=SCHEMA), *self.queries])
