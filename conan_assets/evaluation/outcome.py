"""What an evaluation has brought so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mteb
import polars as pl
from mteb.results import TaskResult

from conan_assets.artifacts import atomic_path
from conan_assets.evaluation.conventions import benchmark_tables
from conan_assets.evaluation.intervals import with_intervals
from conan_assets.evaluation.per_query import SCHEMA
from conan_assets.evaluation.rows import aggregate_rows, score_rows
from conan_assets.evaluation.settings import SuiteSettings
from conan_assets.evaluation.suites import SuiteTask


@dataclass
class Outcome:
    """Rows of the report, scores per query, tasks that did not run, and the revisions of the data."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    queries: list[pl.DataFrame] = field(default_factory=list)
    not_run: list[dict[str, str]] = field(default_factory=list)
    data: list[dict[str, str]] = field(default_factory=list)

    def add(self, part: SuiteTask, result: TaskResult, queries: pl.DataFrame) -> None:
        """Take the result of a task and its scores per query."""
        queries = queries.with_columns(suite=pl.lit(part.suite), task=pl.lit(part.name))
        self.rows.extend(with_intervals(list(score_rows(part, result, queries)), queries))
        self.queries.append(queries)
        self.data.append({"suite": part.suite, "task": part.name, "revision": result.dataset_revision})

    def leave_out(self, part: SuiteTask, reason: str) -> None:
        """Note a task that does not run, and why."""
        self.not_run.append({"suite": part.suite, "task": part.name, "reason": reason})

    def finish(self, tasks: Sequence[SuiteTask]) -> None:
        """Add the means of tasks that are made of parts."""
        self.rows.extend(list(aggregate_rows(self.rows, tasks)))

    def report(self, suites: Mapping[str, SuiteSettings]) -> dict[str, Any]:
        """Return the part of the report that is the same for every kind of model."""
        return {
            "rows": self.rows,
            **benchmark_tables(self.rows, suites),
            "not_run": self.not_run,
            "data": self.data,
            "mteb_version": mteb.__version__,
        }

    def write_queries(self, path: Path) -> pl.DataFrame:
        """Write the scores per query of all tasks to a Parquet file and return them."""
        queries = pl.concat([pl.DataFrame(schema=SCHEMA), *self.queries])
        with atomic_path(path) as temporary:
            queries.write_parquet(temporary)
        return queries
