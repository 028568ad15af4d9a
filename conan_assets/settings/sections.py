"""Sections of a programme that belong to no room alone: where it trains, what pages show, scores that filter pairs."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from conan_assets.data.curation_settings import CurationSettings
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.schema import Section
from conan_assets.training.config import Tracker

ADDRESS = r"^[^@/\s]+:\d+$"


class _Launch(Section):
    stages_on_gpu: int = Field(
        default=1, ge=1, description="Stages that encode or train at a time on a machine; more for more than one GPU."
    )
    trackers: tuple[Tracker, ...] = Field(
        default=("tensorboard",), description="accelerate's trackers that get the metrics too, if installed."
    )
    shard_weights: bool = Field(
        default=False,
        description="Each process holds its part of weights, gradients and AdamW's moments alone (FSDP2), for models "
        "that do not fit one GPU; not with architecture.lora.",
    )


class LaunchSettings(_Launch):
    """Where training computes and who watches it; none of it changes a checkpoint."""

    kind: Literal["torchrun"] = Field(default="torchrun", description="The run's own process, or torchrun's.")
    processes: int | None = Field(
        default=None, ge=1, description="Processes that torchrun starts on this machine; null trains in the run's own."
    )
    torchrun_options: tuple[str, ...] = Field(
        default=(),
        description="Options of torchrun for more than one machine, whose network must be private: torch's rendezvous "
        "trusts whoever reaches it. Without any, the processes are this machine's and open no port beyond it.",
    )

    @property
    def trainers(self) -> int:
        """How many processes train, as far as is known here."""
        return self.processes or 1

    @model_validator(mode="after")
    def _weights_are_shared_by_processes(self) -> "LaunchSettings":
        if self.shard_weights and self.trainers == 1 and not self.torchrun_options:
            raise ValueError("shard_weights shares weights out among processes, and there is one: set launch.processes")
        return self


class RayLaunch(_Launch):
    """Training on several nodes of a Ray cluster, which all see the storage root; see docs/ray.md."""

    kind: Literal["ray"] = Field(default="ray", description="Nodes of a Ray cluster.")
    address: str | None = Field(default=None, pattern=ADDRESS, description="As compute.address.")
    nodes: int = Field(ge=1, description="Nodes that train together.")
    processes_per_node: int = Field(default=1, ge=1, description="Processes on each of them, each on a GPU of its own.")

    @property
    def trainers(self) -> int:
        """How many processes train."""
        return self.nodes * self.processes_per_node


def _kind_unless_told(kind: str) -> BeforeValidator:
    """Return what adds the kind that a section has where none is said."""
    return BeforeValidator(lambda value: {"kind": kind, **value} if isinstance(value, dict) else value)


Launch = Annotated[Annotated[LaunchSettings | RayLaunch, Field(discriminator="kind")], _kind_unless_told("torchrun")]


class InProcessCompute(Section):
    """The process of the run."""

    kind: Literal["in_process"] = Field(default="in_process", description="The run's own process.")


class DevicesCompute(Section):
    """The processes of this machine."""

    kind: Literal["devices"] = Field(default="devices", description="This machine's GPUs, or its cores.")
    processes: int | None = Field(
        default=None,
        ge=1,
        description="Processes on this machine, each on a GPU of its own, or sharing the cores; null is one for each "
        "GPU where there is enough to do for each, else the run's own. Two or more search a corpus of a "
        "million documents, and hold it in memory where that is half free.",
    )


class RayCompute(Section):
    """The nodes of a Ray cluster that this machine has joined; see docs/ray.md."""

    kind: Literal["ray"] = Field(default="ray", description="A Ray cluster.")
    address: str | None = Field(
        default=None,
        pattern=ADDRESS,
        description="Host and port of the cluster's head, as `ray start --head` prints them; null for $RAY_ADDRESS.",
    )
    cpus_per_worker: int = Field(
        default=4,
        ge=1,
        description="Cores for each worker of a cluster without GPUs; one with GPUs has a worker for each GPU.",
    )


Spread = Annotated[
    Annotated[InProcessCompute | DevicesCompute | RayCompute, Field(discriminator="kind")],
    _kind_unless_told("devices"),
]


class CatalogueSettings(Section):
    """What asset pages in the UI show beside the data."""

    owners: tuple[Annotated[str, Field(pattern=r"^(team:[\w-]+|[^@\s]+@[^@\s]+)$")], ...] = Field(
        default=(), description="Who answers for the assets: e-mail addresses, or teams as team:name."
    )
    repository: str | None = Field(
        default=None,
        pattern=r"^https?://[^@?#\s]+$",
        description="Address of the repository on GitHub or GitLab that asset pages link to; null links to files here.",
    )
    branch: str = Field(default="main", min_length=1, description="Branch or commit of the repository.")


class TeacherScoreSettings(Section):
    """The encoder that scores every retrieval pair, and the cosine below which a pair does not train."""

    encoder: EncoderSettings = Field(description="The encoder that scores.")
    floor: float = Field(
        default=0.4, ge=-1, le=1, description="Least cosine of a pair that trains (Conan-embedding, section 2.1)."
    )


class ProgrammeCuration(CurationSettings):
    """What is filtered out of the training pairs, by rules and by an encoder's score."""

    teacher_score: TeacherScoreSettings | None = Field(
        default=None, description="Removes pairs whose two texts an encoder finds too little alike; null keeps them."
    )
