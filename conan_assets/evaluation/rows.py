"""Rows of a report: a task's scores, metric by metric."""

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
from mteb.results import TaskResult

from conan_assets.evaluation.metrics import reported_metrics
from conan_assets.evaluation.suites import SuiteTask

DECIMALS = 6
"""As many as mteb keeps in a result file, so that a score read back is the score computed."""


def score_rows(part: SuiteTask, result: TaskResult, queries: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield a row per split, subset and metric of one task; values from 0 to 1."""
    metadata = part.task.metadata
    metrics = reported_metrics(metadata.type, metadata.main_score)
    for split, subsets in result.scores.items():
        for scores in subsets:
            subset = scores["hf_subset"]
            for metric in (name for name in metrics if name in scores):
                yield {
                    "suite": part.suite,
                    "task": part.name,
                    "type": metadata.type,
                    "part_of": part.part_of,
                    "subset": subset,
                    "split": split,
                    "metric": metric,
                    "value": round(float(scores[metric]), DECIMALS),
                    "main": metric == metadata.main_score,
                    "queries": queries.filter(split=split, subset=subset).height,
                }


def aggregate_rows(rows: Sequence[dict[str, Any]], tasks: Sequence[SuiteTask]) -> Iterator[dict[str, Any]]:
    """Yield the mean of each task that is made of parts, if every part has run; half a mean would say nothing."""
    for suite, name in dict.fromkeys((part.suite, part.part_of) for part in tasks if part.part_of):
        names = {part.name for part in tasks if part.part_of == name and part.suite == suite}
        mains = [row for row in rows if row["main"] and row["suite"] == suite and row["task"] in names]
        if {row["task"] for row in mains} == names:
            value = sum(row["value"] for row in mains) / len(mains)
            queries = sum(row["queries"] for row in mains)
            yield {
                **mains[0],
                "task": name,
                "part_of": None,
                "value": value,
                "queries": queries,
            }
