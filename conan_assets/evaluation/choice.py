"""Which round is the best, and what it gained over the base model: said in words wherever the outcome is shown."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from conan_assets.evaluation.comparison import Comparison, Scores, compare
from conan_assets.evaluation.metrics import listed_by_split
from conan_assets.evaluation.report import BASE_MODEL, EvaluationReport, LeaderboardEntry
from conan_assets.evaluation.settings import EvaluationError

JOINED = ("rows", "lengths", "means", "beside_published", "differences", "not_run", "data", "seconds", "texts_encoded")
"""What of two reports of one model is put together."""

WHAT_TO_TRY = (
    "What to try: read the negatives that were kept and removed (`round_1/hard_negatives`), and make the veto stricter "
    "where right answers are among the kept ones; a lower learning rate or fewer steps where the loss fell and the "
    "score fell too; more training pairs; more judged queries, where the interval is wider than the gain hoped for."
)


@dataclass(frozen=True)
class Choice:
    """The best checkpoint by the development metric.

    Attributes
    ----------
    best, start, best_trained
        The chosen checkpoint, that from which the rounds started, and the best of the rounds after it, None where there
        are none.
    suite, split, metric
        By what it was chosen.
    scores
        The metric by split of the suite, the mean over its tasks, from 0 to 1.
    gains
        By split, over the base model; none where that is what was chosen.
    missed
        By split, what the best of the rounds has over the start, where none was better.
    """

    best: LeaderboardEntry
    start: LeaderboardEntry
    best_trained: LeaderboardEntry | None
    suite: str
    split: str
    metric: str
    scores: dict[str, float]
    gains: list[Comparison]
    missed: list[Comparison]

    @property
    def is_start(self) -> bool:
        """Whether no round was better than what the rounds started from."""
        return self.best.round == self.start.round

    def figures(self) -> dict[str, float | str]:
        """Return the main figures in points, plain numbers that a page draws over the runs, under names that stay."""
        gains = {gain.split: gain for gain in self.gains}
        outcome = self.outcome().replace("**", "").replace("`", "")
        figures: dict[str, float | str] = {"outcome": outcome, "best_round": self.best.round}
        for split, score in self.scores.items():
            gain = gains.get(split, Comparison(split, 0.0, None, None, 0, worse=False))
            figures[f"{split}_{self.metric}"] = round(100 * score, 2)
            figures[f"{split}_gain_over_base_model"] = round(100 * gain.difference, 2)
            if gain.low is not None and gain.high is not None:
                figures[f"{split}_gain_low"], figures[f"{split}_gain_high"] = _points(gain.low), _points(gain.high)
        return figures

    def outcome(self) -> str:
        """Return in words which round is the best, why, and its gain over the base model with its interval."""
        by = f"{self.metric} on suite {self.suite}, split {self.split}"
        score = f"{100 * self.scores[self.split]:.2f} points"
        gains = f"Gain over the base model: {_listed(self.gains)}." if self.gains else ""
        if not self.is_start:
            return f"**Best: {self.best.model}**, the highest {by}: {score}. {gains}".strip()
        if self.best_trained is None:
            return f"**Best: {self.best.model}**, the only one there is; {by}: {score}. {gains}".strip()
        start = f"the {BASE_MODEL}" if self.start.model == BASE_MODEL else self.start.model
        missed = f"{self.best_trained.model.capitalize()}, the best of the rounds, against it: {_listed(self.missed)}."
        return (
            f"**No round was better than {start}: {start} is released as it is.** Its {by}: {score}. {missed} {gains}"
            f"\n\n{WHAT_TO_TRY}"
        )


def _points(value: float) -> float:
    return round(100 * value, 2)


def _listed(comparisons: Sequence[Comparison]) -> str:
    return "; ".join(
        f"{each.split} {100 * each.difference:+.2f} points"
        + (
            f" (95 %: {100 * each.low:+.2f} to {100 * each.high:+.2f}, {each.queries:,} queries)"
            if each.low is not None and each.high is not None
            else ""
        )
        for each in comparisons
    )


def choose(entries: Sequence[LeaderboardEntry], suite: str, split: str, metric: str) -> Choice:
    """Return the checkpoint with the highest ``metric`` on a suite's split (mean of its tasks), the first of equals.

    Raises
    ------
    EvaluationError
        No checkpoint has the metric, or one was scored on other tasks than the rest.
    """
    merged = merge_entries(entries)
    checkpoints = [entry for entry in merged if not entry.baseline]
    means = _comparable_means(checkpoints, suite, split, metric)
    best, start = checkpoints[means.index(max(means))], checkpoints[0]
    trained = means[1:]
    best_trained = checkpoints[1 + trained.index(max(trained))] if trained else None
    base = next((entry for entry in merged if entry.model == BASE_MODEL), start)
    splits = dict.fromkeys(row.split for row in best.report.rows if (row.suite, row.metric) == (suite, metric))

    def against(entry: LeaderboardEntry, other: LeaderboardEntry) -> list[Comparison]:
        return [] if entry is other else compare(Scores.of(entry), Scores.of(other), suite, metric)

    return Choice(
        best,
        start,
        best_trained,
        suite,
        split,
        metric,
        scores={each: _mean(_values(best, suite, each, metric)) for each in splits},
        gains=against(best, base),
        missed=against(best_trained, start) if best is start and best_trained else [],
    )


def merge_entries(entries: Sequence[LeaderboardEntry]) -> list[LeaderboardEntry]:
    """Return one entry for each round and model; several reports of a model become one."""
    merged: dict[tuple[str, str], LeaderboardEntry] = {}
    for entry in entries:
        known = merged.get((entry.round, entry.model))
        if known is not None:
            report = _merge_reports(known.report, entry.report)
            entry = entry._replace(report=report, per_query=(*known.per_query, *entry.per_query))
        merged[entry.round, entry.model] = entry
    return list(merged.values())


def _merge_reports(first: EvaluationReport, second: EvaluationReport) -> EvaluationReport:
    return replace(first, **{name: getattr(first, name) + getattr(second, name) for name in JOINED})


def _comparable_means(checkpoints: Sequence[LeaderboardEntry], suite: str, split: str, metric: str) -> list[float]:
    """Return the mean of each checkpoint over the suite's tasks, which must be the same for all."""
    values = [_values(entry, suite, split, metric) for entry in checkpoints]
    if not any(values):
        rows = [row for entry in checkpoints for row in entry.report.rows if row.suite == suite]
        raise EvaluationError(
            f"no checkpoint has {metric} on suite {suite!r}, split {split!r}: name a split and a metric that were "
            f"measured there: {listed_by_split((row.split, row.metric) for row in rows)}"
        )
    tasks = next(set(each) for each in values if each)
    for entry, each in zip(checkpoints, values, strict=True):
        if set(each) != tasks:
            raise EvaluationError(
                f"{entry.round} was scored on {sorted(each)}, others on {sorted(tasks)}: their means do not compare; "
                f"evaluate all rounds on the same tasks of suite {suite!r}"
            )
    return [_mean(each) for each in values]


def _values(entry: LeaderboardEntry, suite: str, split: str, metric: str) -> dict[str, float]:
    """Return the values of a suite's tasks; a task made of parts counts once where it has the metric as a whole."""
    rows = [row for row in entry.report.rows if (row.suite, row.split, row.metric) == (suite, split, metric)]
    whole = {row.task for row in rows}
    return {f"{row.task}/{row.subset}": row.value for row in rows if row.part_of not in whole}


def _mean(values: dict[str, float]) -> float:
    return sum(values.values()) / len(values)
