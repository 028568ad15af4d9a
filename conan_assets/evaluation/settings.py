"""Settings of evaluation suites: what a checkpoint is scored on."""

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, ValidationInfo, field_validator, model_validator

from conan_assets.data.settings import Split
from conan_assets.schema import Section


class EvaluationError(ValueError):
    """A suite cannot be evaluated; the message names the suite, what was found and what to do."""


def refuse_url(value: object) -> object:
    """Refuse a URL, which a path would take for the name of a folder."""
    if "://" in str(value):
        raise ValueError("is a URL; give a folder of this machine, such as one where the store is mounted")
    return value


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path}: {error}") from error


Folder = Annotated[Path, BeforeValidator(refuse_url), AfterValidator(_expanded)]

CANDIDATES = Field(
    default=100,
    ge=1,
    description="How many of BM25's documents are reranked for a query; 100 as in BEIR (arXiv 2104.08663).",
)


class LocalSuite(Section):
    """The judged pairs of one of the programme's sources."""

    kind: Literal["local"] = Field(default="local", description="A suite of the programme's own judgements.")
    dataset: str = Field(min_length=1, description="Name of the source whose corpus and judgements are used.")
    task: Literal["retrieval", "reranking"] = Field(
        default="retrieval",
        description="Search the whole corpus, or put BM25's candidates and the relevant documents in order.",
    )
    candidates: int = CANDIDATES
    splits: tuple[Split, ...] = Field(
        default=("test",), min_length=1, description="Splits that are scored, each on its own; at least one."
    )


class FolderSuite(Section):
    """A folder that is used for evaluation alone.

    Labelled texts are a Parquet or JSONL file per split: ``sentence1, sentence2, score`` (sts; pair_classification with
    scores 0 and 1), ``text, label`` (classification, which also needs the split ``train``; clustering). Retrieval and
    reranking read BEIR layout: ``corpus``, ``queries`` and ``qrels/<split>``.
    """

    kind: Literal["folder"] = Field(description="A suite of a folder that is used for evaluation alone.")
    path: Folder = Field(description="The folder; sample:NAME is one that the package brings.")
    task: Literal["sts", "pair_classification", "classification", "clustering", "retrieval", "reranking"] = Field(
        description="What is scored: one of the six types of task of C-MTEB (arXiv 2309.07597)."
    )
    candidates: int = CANDIDATES
    splits: tuple[str, ...] = Field(
        default=("test",), min_length=1, description="Splits that are scored, each on its own; at least one."
    )

    @field_validator("splits")
    @classmethod
    def _are_of_the_layout(cls, splits: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if info.data.get("task") in ("retrieval", "reranking") and not set(splits) <= set(get_args(Split)):
            raise ValueError(f"{info.data['task']} reads BEIR layout, whose splits are {', '.join(get_args(Split))}")
        return splits


class MtebSuite(Section):
    """A benchmark that mteb knows by name, or C-MTEB for the 35 tasks as published."""

    kind: Literal["mteb"] = Field(description="A suite of a benchmark that mteb knows.")
    benchmark: str = Field(min_length=1, description="Name in mteb, such as BEIR, NanoBEIR or MTEB(cmn, v1).")
    tasks: tuple[str, ...] = Field(default=(), description="Names of the tasks to run; empty runs all of them.")
    folder: Folder | None = Field(
        default=None,
        description="A copy of the tasks' data read instead of the hub: a folder per task and Parquet files in it.",
    )


SuiteSettings = Annotated[LocalSuite | FolderSuite | MtebSuite, Field(discriminator="kind")]


class DevMetric(Section):
    """The figure by which the best checkpoint is chosen; higher is better."""

    suite: str = Field(description="One of `suites`; of a benchmark of several tasks the mean counts.")
    split: str = Field(default="dev", description="One of the suite's splits.")
    metric: str = Field(
        default="ndcg_at_10", description="One of the metrics of the suite's task, from 0 to 1: docs/evaluation.md."
    )


ModelExport = Literal["float16", "onnx", "openvino_int8", "static"]
"""Other forms of a model's file."""
VectorKind = Literal["int8", "binary"]
"""Other forms of its vectors."""


class ServerSettings(Section):
    """A server of embeddings that is to answer as the released model does: one that runs, or one to start."""

    base_url: str = Field(
        default="http://127.0.0.1:{port}/v1",
        pattern=r"^https?://",
        description="Where it answers, with the /v1 of OpenAI's protocol; {port} is the port that `command` gets.",
    )
    command: str | None = Field(
        default=None,
        description="Command that starts it for the comparison and is ended after it: {model} is the release's folder, "
        "{port} a free port. Null asks a server that runs.",
    )
    protocol: Literal["openai", "tei"] = Field(
        default="openai",
        description="openai posts texts after their prompt to /embeddings; tei posts them to /embed of "
        "text-embeddings-inference with the prompt's name.",
    )
    model: str | None = Field(
        default=None, description="Name of the model at the server; null takes the only one that it lists."
    )
    request: dict[str, JsonValue] = Field(
        default={},
        description="More fields of every request, such as truncate_prompt_tokens: -1, without which vLLM refuses "
        "texts above the limit of tokens.",
    )
    queries: int = Field(default=200, ge=1, description="Most queries of the dev metric's split that are sent.")
    documents: int = Field(default=500, ge=1, description="Documents that are sent: the relevant ones and a sample.")
    batch_size: int = Field(default=32, ge=1, description="Texts in a request.")
    timeout_seconds: float = Field(default=60.0, gt=0, description="Seconds that a request may take.")
    start_seconds: float = Field(default=300.0, gt=0, description="Seconds that `command` may take to answer.")
    lowest_cosine: float = Field(
        default=0.999, gt=0, le=1, description="Least cosine of a served vector to the one that the release gives."
    )
    largest_drop: float = Field(
        default=0.005, ge=0, le=1, description="Most that nDCG@10 may fall with served vectors, from 0 to 1."
    )

    @model_validator(mode="after")
    def _has_an_address(self) -> "ServerSettings":
        if self.command is None and "{port}" in self.base_url:
            raise ValueError("name the base_url of a server that runs, or a command that starts one")
        if self.command is not None and ("{port}" in self.command) != ("{port}" in self.base_url):
            raise ValueError("put {port} into the command and the base_url, or into neither")
        return self


class ReleaseSettings(Section):
    """What is made of a release: where it goes beside the storage root, and the server that is to answer like it."""

    push_to: str | None = Field(
        default=None,
        pattern=r"^[\w.-]+/[\w.-]+$",
        description="Repository on the Hugging Face Hub, organisation/name; null pushes nothing. Needs $HF_TOKEN.",
    )
    private: bool = Field(default=True, description="Whether the repository is private where it has to be created.")
    register_as: str | None = Field(
        default=None,
        pattern=r"^[\w. -]+$",
        description="Name in the model registry of MLflow at $MLFLOW_TRACKING_URI, where every release is a version; "
        "null registers nothing. Needs the extra mlflow.",
    )
    server: ServerSettings | None = Field(
        default=None, description="Server that is compared with the release in the asset served_model; null has none."
    )
    corpus_embeddings: bool = Field(
        default=False,
        description="Whether the released model's vectors of the whole corpus are written as Parquet, for an index.",
    )
    exports: tuple[ModelExport, ...] = Field(
        default=(),
        description="Forms that the model is written in too, each scored and timed beside the release in the asset "
        "exports: float16, ONNX, int8 for CPUs with OpenVINO, and static, a vector a token. Needs the extra exports.",
    )
