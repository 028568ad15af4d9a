"""What a benchmark's mean is made of: BEIR, C-MTEB as mteb scores it today, and C-MTEB as it was published.

mteb no longer computes the published C-MTEB mean. It has 31 of the 35 tasks, scores pair classification by the best
accuracy instead of the average precision of the cosine, and MultilingualSentiment on two splits instead of one. Both
conventions are given, each under its name. A benchmark with a missing task has no mean.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from conan_assets.evaluation import published
from conan_assets.evaluation.settings import MtebSuite, SuiteSettings

Row = dict[str, Any]

BEIR = "BEIR"
CMTEB_31 = "MTEB(cmn, v1)"
CMTEB_35 = "C-MTEB"
"""Our name of a benchmark that mteb does not have: the published 35 tasks."""

ADDED_TO_CMTEB_31 = {
    "AmazonReviewsClassification": "zh",
    "MassiveIntentClassification": "zh-CN",
    "MassiveScenarioClassification": "zh-CN",
    "STS22": "zh",
}
"""Tasks of the published C-MTEB that mteb's benchmark leaves out, with the subset that belongs to it."""


@dataclass(frozen=True)
class Convention:
    """Which tasks count, by which metric and on which split.

    ``metrics`` gives a metric by type of task instead of the main one, ``splits`` one split by task instead of all.
    """

    name: str
    tasks: int
    metrics: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()
    task_scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    means: Mapping[str, float] = field(default_factory=dict)


AS_MTEB = Convention("mteb, 31 tasks", 31, left_out=frozenset(ADDED_TO_CMTEB_31))
AS_PUBLISHED = Convention(
    "published, 35 tasks",
    35,
    metrics={"PairClassification": "cosine_ap", "Reranking": "map_at_1000"},
    splits={"MultilingualSentiment": "validation"},
    task_scores=published.CMTEB_TASKS,
    means=published.CMTEB_MEANS,
)
AS_BEIR = Convention("BEIR, 15 tasks", 15, task_scores=published.BEIR_TASKS, means=published.BEIR_MEANS)

CONVENTIONS = {BEIR: (AS_BEIR,), CMTEB_31: (AS_MTEB, AS_PUBLISHED), CMTEB_35: (AS_MTEB, AS_PUBLISHED)}


def benchmark_tables(rows: Sequence[Row], suites: Mapping[str, SuiteSettings]) -> dict[str, list[Row]]:
    """Return the tables ``means`` and ``beside_published`` of the suites that are benchmarks, in points.

    ``means`` has a row per type of task and one for the benchmark; the latter's value is None unless every task ran.
    """
    tables: dict[str, list[Row]] = {"means": [], "beside_published": []}
    for name, suite in suites.items():
        for convention in CONVENTIONS.get(suite.benchmark, ()) if isinstance(suite, MtebSuite) else ():
            scores = task_scores([row for row in rows if row["suite"] == name], convention)
            label = {"suite": name, "convention": convention.name}
            tables["means"].extend({**label, **row} for row in _means(scores, convention))
            tables["beside_published"].extend({**label, **row} for row in _beside(scores, convention))
    return tables


def task_scores(rows: Sequence[Row], convention: Convention) -> dict[tuple[str, str], float]:
    """Return each task's score by (type, task) in points: the convention's metric, the mean over splits and subsets."""
    values: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row["part_of"] or row["task"] in convention.left_out:
            continue
        wanted = convention.metrics.get(row["type"])
        split = convention.splits.get(row["task"], row["split"])
        if (row["metric"] == wanted if wanted else row["main"]) and row["split"] == split:
            values.setdefault((row["type"], row["task"]), []).append(100 * row["value"])
    return {key: sum(scores) / len(scores) for key, scores in values.items()}


def _means(scores: Mapping[tuple[str, str], float], convention: Convention) -> Iterator[Row]:
    for kind in sorted({kind for kind, _ in scores}):
        values = [score for (type_of_task, _), score in scores.items() if type_of_task == kind]
        yield {"of": f"{kind}, tasks that ran", "tasks": len(values), "mean": round(sum(values) / len(values), 2)}
    complete = len(scores) == convention.tasks
    mean = round(sum(scores.values()) / len(scores), 2) if complete else None
    yield {"of": f"all {convention.tasks} tasks", "tasks": len(scores), "mean": mean, **convention.means}


def _beside(scores: Mapping[tuple[str, str], float], convention: Convention) -> Iterator[Row]:
    if not convention.task_scores:
        return
    for (kind, task), score in scores.items():
        theirs = {model: line.get(task) for model, line in convention.task_scores.items()}
        yield {"type": kind, "task": task, "ours": round(score, 2), **theirs}
