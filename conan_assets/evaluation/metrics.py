"""Which metrics are reported for a task."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskType

TYPES: "dict[str, TaskType]" = {
    "retrieval": "Retrieval",
    "reranking": "Reranking",
    "sts": "STS",
    "pair_classification": "PairClassification",
    "classification": "Classification",
    "clustering": "Clustering",
}
"""mteb's name of the type of task that a suite's ``task`` asks for."""

METRICS = {
    "Retrieval": ("ndcg_at_10", "map_at_1000", "recall_at_100", "mrr_at_10"),
    "Reranking": ("map_at_1000", "mrr_at_10", "ndcg_at_10"),
    "STS": ("cosine_spearman", "cosine_pearson"),
    "PairClassification": ("max_accuracy", "cosine_ap"),
    "Classification": ("accuracy", "f1"),
    "Clustering": ("v_measure",),
}
"""Metrics reported by type of task, beside the task's main one."""


def reported_metrics(kind: str, main: str) -> list[str]:
    """Return the metrics of a task of mteb's type ``kind``, its main one first."""
    return list(dict.fromkeys([main, *METRICS.get(kind, ())]))


def listed_by_split(measured: Iterable[tuple[str, str]]) -> str:
    """Return pairs of a split and a metric as text: ``dev: mrr_at_10, ndcg_at_10; test: ...``, or ``nothing``."""
    metrics: dict[str, list[str]] = {}
    for split, metric in sorted(set(measured)):
        metrics.setdefault(split, []).append(metric)
    return "; ".join(f"{split}: {', '.join(names)}" for split, names in metrics.items()) or "nothing"
