"""What an evaluation reports, as types: written into an asset's manifest as JSON, and parsed once when that is read.

The leaf of this room: it imports nothing of it but the settings. Values of metrics, their intervals and differences are
from 0 to 1 here and in every file; a page or a table shows them in points, 0 to 100, as means of benchmarks are.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from conan_assets.evaluation.settings import EvaluationError

EVALUATION_VERSION = 8
"""Raise it when the same model on the same data would get other scores, or a report or a finished task other fields."""
LEADERBOARD_VERSION = 5
RELEASE_VERSION = 5
EXPORTS_VERSION = 1
"""Raise them when the same reports give another leaderboard, the same checkpoint another release, it other exports."""

BM25_MODEL = "BM25"
BASE_MODEL = "base model"

PER_QUERY = "per_query.parquet"
HYBRID_PER_QUERY = "hybrid_per_query.parquet"
"""Files of the scores per query, beside a report; a baseline's is :func:`baseline_per_query`."""

NO_EMBEDDINGS = "it ranks documents and gives no embeddings"
"""The one reason not to run a task that another attempt does not remove."""


def baseline_per_query(name: str) -> str:
    """Return the file of a baseline's scores per query."""
    return f"{name}_per_query.parquet"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What is measured: a metric on a split of a task's data, and of its subset, such as a language."""

    suite: str
    task: str
    subset: str
    split: str
    metric: str

    @property
    def label(self) -> str:
        """The name of the task, with its subset where it has any."""
        return self.task if self.subset == "default" else f"{self.task} ({self.subset})"

    @property
    def measure(self) -> "Measure":
        """The measure alone, to look up what another model has for it."""
        return Measure(**{name: getattr(self, name) for name in Measure.__dataclass_fields__})


@dataclass(frozen=True, kw_only=True)
class ScoreRow(Measure):
    """A score of a task, of mteb's ``type`` and perhaps ``part_of`` a larger one, with its 95 % interval over queries.

    ``main`` tells whether the metric is the one by which the task counts, ``queries`` over how many it is the mean.
    """

    type: str
    part_of: str | None = None
    value: float
    low: float | None = None
    high: float | None = None
    main: bool
    queries: int


@dataclass(frozen=True, kw_only=True)
class LengthScore(ScoreRow):
    """A main score of vectors that were cut to their first ``dim`` components."""

    dim: int


@dataclass(frozen=True, kw_only=True)
class Difference(Measure):
    """The model minus the ``reference``, paired by query; ``beyond_chance``: the 95 % interval leaves out 0."""

    reference: str
    difference: float
    low: float
    high: float
    queries: int
    beyond_chance: bool


@dataclass(frozen=True, kw_only=True)
class BenchmarkTask:
    """Our score of a benchmark's task, None where it did not run, beside published ones by model; in points."""

    suite: str
    convention: str
    type: str
    task: str
    ours: float | None
    published: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class BenchmarkMean:
    """A mean over tasks ``of`` a type or all; ``ours`` is None unless all of them ran; in points."""

    suite: str
    convention: str
    of: str
    tasks: int
    not_run: int
    ours: float | None
    published: dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class CountedMetric:
    """By which metric a type of task counts by a convention."""

    suite: str
    type: str
    convention: str
    metric: str


@dataclass(frozen=True, kw_only=True)
class WorstQuery:
    """A query that a model does badly on: what was expected, at which rank it was found, and what stood above it.

    ``rank`` is that of the first relevant document among the ten best, None if none of them is.
    """

    suite: str
    task: str
    split: str
    query_id: str
    query: str
    rank: int | None
    ndcg_at_10: float
    recall_at_100: float
    expected: str
    instead: str


@dataclass(frozen=True, kw_only=True)
class TaskNotRun:
    """A task that did not run, and why."""

    suite: str
    task: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """Which data a task was scored on, and what it took when it ran: seconds, texts that had to be encoded.

    ``written_by`` names what wrote its questions: such figures are no human judgements.
    """

    suite: str
    task: str
    dataset: str
    revision: str
    seconds: float
    texts_encoded: int
    written_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """What came out for one model.

    ``seconds`` and ``texts_encoded`` are those that the tasks took when they ran, in this evaluation or in an earlier
    one; ``texts_per_second`` is None where all texts were stored before. From ``query_prompt`` on: what an encoder's
    scores depend on beside its weights; BM25 has none of it.
    """

    model: str
    checkpoint_fingerprint: str
    rows: list[ScoreRow]
    lengths: list[LengthScore] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    means: list[BenchmarkMean] = field(default_factory=list)
    beside_published: list[BenchmarkTask] = field(default_factory=list)
    metric_conventions: list[CountedMetric] = field(default_factory=list)
    worst_queries: list[WorstQuery] = field(default_factory=list)
    not_run: list[TaskNotRun] = field(default_factory=list)
    data: list[TaskData] = field(default_factory=list)
    mteb_version: str
    seconds: float
    texts_encoded: int
    texts_per_second: float | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    max_tokens: int | None = None
    dtype: str | None = None
    stored_dtype: str | None = None


@dataclass(frozen=True, kw_only=True)
class RoundReport(EvaluationReport):
    """The report of a round's checkpoint, with those of what was scored beside it.

    ``baselines``: those of round 0 by the name of the teacher. ``hybrid`` is the checkpoint and BM25 in one score.
    """

    note: str | None = None
    baselines: dict[str, EvaluationReport] = field(default_factory=dict)
    hybrid: EvaluationReport | None = None
    base_model: EvaluationReport | None = None

    def tasks_not_run(self) -> list[dict[str, str]]:
        """Return the tasks whose data could not be loaded: the next materialization tries them again.

        They are the checkpoint's own and those of the baselines, with the reason. What a baseline cannot do does not
        count.
        """
        reports = {"checkpoint": self, **self.baselines, "hybrid": self.hybrid, "base_model": self.base_model}
        return [
            {"model": name, **asdict(task)}
            for name, report in reports.items()
            for task in (report.not_run if report else ())
            if task.reason != NO_EMBEDDINGS
        ]


@dataclass(frozen=True, kw_only=True)
class ReleaseReport:
    """What was released: the name of the model, which round's checkpoint, and the data that it was scored on.

    ``model_card`` and ``serving`` are pages of it, ``refused_for_servers`` is why no server gives its vectors, if so.
    """

    model: str
    round: str
    checkpoint: str
    weights_fingerprint: str
    model_card: str
    serving: str = ""
    refused_for_servers: str | None = None
    evaluated_on: list[TaskData]


class LeaderboardEntry(NamedTuple):
    """The report of one model under the label shown for it, and where its scores per query lie.

    ``baseline``: it is there to compare with and is never released: BM25, or the base model of pretrained rounds.
    """

    round: str
    model: str
    report: EvaluationReport
    per_query: tuple[Path, ...] = ()
    baseline: bool = False


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """What any stage may report of its costs: seconds, texts encoded, tokens of the LLM."""

    seconds: float | None = None
    encoded: int | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


class StageCost(NamedTuple):
    """What a stage of a round took beside its evaluation; None where a stage does not say."""

    round: str
    stage: str
    seconds: float | None
    texts_encoded: int | None
    llm_tokens: int | None


FRACTIONS = ("value", "low", "high", "difference", "ndcg_at_10", "recall_at_100")

T = TypeVar("T")


def in_points(row: object) -> dict[str, Any]:
    """Return the fields of a row of a report as a page shows them: in points, published models as columns."""
    fields = dict(vars(row))
    points = {name: round(100 * fields[name], 2) for name in FRACTIONS if fields.get(name) is not None}
    published = fields.pop("published", {})
    return {**fields, **points, **published}


def as_json(report: EvaluationReport | ReleaseReport) -> dict[str, Any]:
    """Return a report as plain JSON values, without what it does not have."""
    return {name: value for name, value in asdict(report).items() if value is not None}


def parse(kind: type[T], values: object, name: str) -> T:
    """Return what :func:`as_json` made of a report.

    Raises
    ------
    EvaluationError
        The values are not those of such a report; ``name`` says whose they are.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise EvaluationError(
            f"the report of {name} is not one that this version writes ({place}: {error.errors()[0]['msg']}); "
            f"materialize {name} again"
        ) from error
