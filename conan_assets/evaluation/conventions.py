"""What a benchmark's mean is made of: C-MTEB as it was published, BEIR, and any benchmark as mteb has it today.

mteb no longer computes the published C-MTEB mean. It has 31 of the 35 tasks, scores pair classification by the best
accuracy instead of the average precision of the cosine, and MultilingualSentiment on two splits instead of one. Both
conventions are given, each under its name. Any other benchmark's mean is that of its tasks' main metrics, as mteb's
``Mean (Task)``. A mean is given only when every task that belongs to it has run.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import mteb
from mteb.abstasks import AbsTask

from conan_assets.evaluation import published
from conan_assets.evaluation.report import BenchmarkMean, BenchmarkTask, CountedMetric, ScoreRow
from conan_assets.evaluation.settings import MtebSuite, SuiteSettings

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
    """Which tasks count, by type, by which metric and on which split, and what others published for them.

    ``metrics`` gives a metric by type of task instead of the main one, ``splits`` one split by task instead of all,
    ``lines`` a published model's score by task.
    """

    name: str
    tasks: Mapping[str, Sequence[str]]
    metrics: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    lines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


CMTEB_LINES = {"Conan-v1": published.CONAN_V1, "xiaobu-v2": published.XIAOBU_V2}

AS_MTEB = Convention(
    "mteb, 31 tasks",
    {kind: [task for task in tasks if task not in ADDED_TO_CMTEB_31] for kind, tasks in published.CMTEB_TYPES.items()},
    lines={model: {**line, **published.PAIRS_BY_ACCURACY[model]} for model, line in CMTEB_LINES.items()},
)
AS_PUBLISHED = Convention(
    "published, 35 tasks",
    published.CMTEB_TYPES,
    metrics={"PairClassification": "cosine_ap", "Reranking": "map_at_1000"},
    splits={"MultilingualSentiment": "validation"},
    lines=CMTEB_LINES,
)
AS_BEIR = Convention(
    "BEIR, 15 tasks",
    {"Retrieval": list(published.NV_RETRIEVER_V1)},
    lines={"NV-Retriever-v1": published.NV_RETRIEVER_V1, "NV-Embed-v2": published.NV_EMBED_V2},
)

CONVENTIONS = {BEIR: (AS_BEIR,), CMTEB_31: (AS_MTEB, AS_PUBLISHED), CMTEB_35: (AS_MTEB, AS_PUBLISHED)}


def benchmark_means(rows: Sequence[ScoreRow], suites: Mapping[str, SuiteSettings]) -> list[BenchmarkMean]:
    """Return the means of the suites that are benchmarks, by convention: of each type of task and of all tasks."""
    return [
        mean
        for name, suite in suites.items()
        for convention in conventions_of(suite)
        for mean in _means(name, task_scores(_of_suite(rows, name), convention), convention)
    ]


def beside_published(rows: Sequence[ScoreRow], suites: Mapping[str, SuiteSettings]) -> list[BenchmarkTask]:
    """Return the tasks that the suites ask for beside published scores, of benchmarks for which there are any."""
    return [
        line
        for name, suite in suites.items()
        for convention in conventions_of(suite)
        for line in _beside(name, task_scores(_of_suite(rows, name), convention), convention)
        if not (asked := getattr(suite, "tasks", ())) or line.task in asked
    ]


def _of_suite(rows: Sequence[ScoreRow], name: str) -> list[ScoreRow]:
    return [row for row in rows if row.suite == name]


def metric_conventions(rows: Sequence[ScoreRow], suites: Mapping[str, SuiteSettings]) -> list[CountedMetric]:
    """Return by which metric each type of task counts: the task's main one, and those of benchmarks' conventions."""
    mains = dict.fromkeys((row.suite, row.type, row.metric) for row in rows if row.main)
    return [
        CountedMetric(suite=suite, type=kind, convention=name, metric=metric)
        for suite, kind, main in mains
        for name, metric in {
            "main metric": main,
            **{convention.name: convention.metrics.get(kind, main) for convention in conventions_of(suites[suite])},
        }.items()
    ]


def conventions_of(suite: SuiteSettings) -> Sequence[Convention]:
    """Return the conventions by which a suite's mean is given; only benchmarks have any."""
    if not isinstance(suite, MtebSuite):
        return ()
    if suite.benchmark == CMTEB_35:
        return CONVENTIONS[CMTEB_35]
    benchmark = mteb.get_benchmark(suite.benchmark)
    return CONVENTIONS.get(benchmark.name) or (_mean_over_tasks(benchmark.tasks),)


def _mean_over_tasks(tasks: Sequence[AbsTask]) -> Convention:
    by_type: dict[str, list[str]] = {}
    for task in tasks:
        by_type.setdefault(task.metadata.type, []).append(task.metadata.name)
    return Convention(f"mteb, {len(tasks)} tasks", by_type)


def task_scores(rows: Sequence[ScoreRow], convention: Convention) -> dict[str, float]:
    """Return each task's score in points: the convention's metric, the mean over splits and subsets."""
    counted = {task for tasks in convention.tasks.values() for task in tasks}
    values: dict[str, list[float]] = {}
    for row in rows:
        if row.part_of or row.task not in counted:
            continue
        wanted = convention.metrics.get(row.type)
        split = convention.splits.get(row.task, row.split)
        if (row.metric == wanted if wanted else row.main) and row.split == split:
            values.setdefault(row.task, []).append(100 * row.value)
    return {task: sum(scores) / len(scores) for task, scores in values.items()}


def _means(suite: str, scores: Mapping[str, float], convention: Convention) -> Iterator[BenchmarkMean]:
    every_task = [task for tasks in convention.tasks.values() for task in tasks]
    for kind, tasks in {**convention.tasks, "all": every_task}.items():
        yield BenchmarkMean(
            suite=suite,
            convention=convention.name,
            of=kind,
            tasks=len(tasks),
            not_run=sum(task not in scores for task in tasks),
            ours=_mean(scores, tasks),
            published={model: _mean(line, tasks) for model, line in convention.lines.items()},
        )


def _mean(scores: Mapping[str, float], tasks: Sequence[str]) -> float | None:
    complete = all(task in scores for task in tasks)
    return round(sum(scores[task] for task in tasks) / len(tasks), 2) if complete else None


def _beside(suite: str, scores: Mapping[str, float], convention: Convention) -> Iterator[BenchmarkTask]:
    for kind, tasks in convention.tasks.items() if convention.lines else ():
        for task in tasks:
            yield BenchmarkTask(
                suite=suite,
                convention=convention.name,
                type=kind,
                task=task,
                ours=round(scores[task], 2) if task in scores else None,
                published={model: line[task] for model, line in convention.lines.items()},
            )
