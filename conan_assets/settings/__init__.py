"""One training programme, read from a YAML profile: sources, models, rounds, mining, training, suites, storage.

``python -m conan_assets.settings`` checks one, ``--json-schema`` prints the schema.
"""

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from conan_assets.bucket.address import Home, local_folder
from conan_assets.data.settings import SourceSettings, UnaskedSource
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.evaluation.metrics import METRICS, TYPES
from conan_assets.evaluation.settings import (
    DevMetric,
    LocalSuite,
    MtebSuite,
    ReleaseSettings,
    SuiteSettings,
)
from conan_assets.mining.settings import STUDENT, MiningSettings
from conan_assets.redaction import redacted
from conan_assets.schema import Section, explain
from conan_assets.search.settings import BM25Teacher, TeacherSettings
from conan_assets.settings.sections import (
    CatalogueSettings,
    DevicesCompute,
    Launch,
    LaunchSettings,
    ProgrammeCuration,
    Spread,
)
from conan_assets.settings.shipped import locate_profile
from conan_assets.settings.yaml_files import read_yaml
from conan_assets.synthesis.settings import GenerationSettings, NoGeneration, OpenAIGeneration
from conan_assets.training.architecture import ArchitectureSettings, CharacterBertSettings
from conan_assets.training.settings import DISTILLATION, TrainingSettings

DEFAULT_PROFILE = "demo"
BM25 = "bm25"

ReportName = Literal["beir", "cmteb"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
TeacherName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


class SettingsError(ValueError):
    """A profile is missing or wrong; the message names the profile, the key and what is accepted."""

    def __init__(self, message: str) -> None:
        super().__init__(redacted(message))


def _as_stages(value: object) -> object:
    """Return the settings of a single stage as a list of one."""
    return [value] if isinstance(value, dict | TrainingSettings) else value


class Settings(Section):
    """A training programme."""

    name: str = Field(description="Name of the programme, shown on the leaderboard and the model card.")
    sources: dict[Name, SourceSettings] = Field(min_length=1, description="Where corpora and pairs come from, by name.")
    base_model: EncoderSettings = Field(description="The model that round 0 starts from, with its prompts.")
    from_scratch: CharacterBertSettings | None = Field(
        default=None,
        description="Make the base model from the corpus and call it `base_model.model`; it needs `pretraining`.",
    )
    teachers: dict[TeacherName, TeacherSettings] = Field(
        default_factory=dict, description="Models whose scores veto false negatives, by name."
    )
    baselines: tuple[TeacherName, ...] = Field(
        default=(BM25,),
        description="Teachers that are scored beside the base model in every retrieval report; bm25 is one without "
        "being named above.",
    )
    generation: GenerationSettings = Field(
        default=NoGeneration(kind="none"), description="How prompt-response pairs are written; by default none are."
    )
    curation: ProgrammeCuration = Field(
        default=ProgrammeCuration(), description="What is filtered out of the training pairs."
    )
    pretraining: TrainingSettings | None = Field(
        default=None,
        description="Round 0, weakly supervised with in-batch negatives; null takes the base model as it is.",
    )
    rounds: int = Field(strict=True, ge=1, le=20, description="Rounds of mining and training.")
    start_from: Literal["previous_round", "base_model", "released_model"] = Field(
        default="previous_round",
        description="The weights each round's training starts from; released_model goes from round to round too, but "
        "begins with the model released before the data changed.",
    )
    mining: MiningSettings = Field(default=MiningSettings(), description="How each round's negatives are mined.")
    training: Annotated[tuple[TrainingSettings, ...], BeforeValidator(_as_stages)] = Field(
        default=(TrainingSettings(),),
        min_length=1,
        description="How each round's checkpoint is trained: the settings of one stage, or a list for several.",
    )
    distillation_teacher: TeacherName | None = Field(
        default=None, description="Teacher whose scores kl_distillation and margin_mse learn; one that mining names."
    )
    architecture: ArchitectureSettings = Field(
        default=ArchitectureSettings(), description="What training changes in the base model."
    )
    launch: Launch = Field(default=LaunchSettings(), description="Where training computes and who watches it.")
    compute: Spread = Field(
        default=DevicesCompute(), description="Who encodes, scores pairs, searches and compares texts."
    )
    suites: dict[ReportName, dict[Name, SuiteSettings]] = Field(description="Evaluation suites by report, by name.")
    dev_metric: DevMetric = Field(description="The figure by which the best checkpoint is chosen.")
    release: ReleaseSettings = Field(
        default=ReleaseSettings(), description="Where a release goes beside the storage root: to the Hub, if asked."
    )
    catalogue: CatalogueSettings = Field(
        default=CatalogueSettings(), description="Owners of the assets, and links to their code."
    )
    home: Home = Field(
        default=Path("conan_home"),
        description="Storage root: a folder, or s3://, gs:// or az://bucket/prefix; $CONAN_HOME overrides it.",
    )
    keep_versions: int = Field(default=3, strict=True, ge=1, description="Finished versions of an asset kept on disk.")
    keep_releases: int = Field(default=10, strict=True, ge=1, description="Releases kept, besides the current one.")
    keep_embeddings_days: int = Field(
        default=30, strict=True, ge=1, description="Embeddings that were not read for longer are deleted."
    )

    @model_validator(mode="after")
    def _names_exist(self) -> "Settings":
        if STUDENT in self.teachers:
            raise ValueError(f"a teacher is called {STUDENT!r}, which names the checkpoint in training; rename it")
        for name in self.mining.teachers_used:
            _require_known("mining names the teacher", name, "teachers", self.teachers)
        if self.mining.judge is not None and not isinstance(self.generation, OpenAIGeneration):
            raise ValueError("mining.judge asks an LLM: set generation.kind to 'openai' and name its endpoint there")
        names = [name for suites in self.suites.values() for name in suites]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two suites are called {name!r}; give every suite a name of its own")
        for name, suite in self.all_suites.items():
            if isinstance(suite, LocalSuite):
                _require_known(f"suite {name!r} evaluates the dataset", suite.dataset, "sources", self.sources)
        return self

    @model_validator(mode="after")
    def _baselines_are_teachers(self) -> "Settings":
        for name in self.baselines:
            _require_known("baselines names", name, "teachers", {BM25, *self.teachers})
        return self

    @model_validator(mode="after")
    def _candidates_were_scored(self) -> "Settings":
        for name in self.mining.candidates:
            if name in self.teachers and self.teachers[name].depth < self.mining.depth:
                raise ValueError(
                    f"mining takes {self.mining.depth} candidates of {name!r}, which scores "
                    f"{self.teachers[name].depth} per query: raise teachers.{name}.depth or lower mining.depth"
                )
        for stage in self.training:
            if stage.negatives_in_loss > self.mining.pool_depth:
                raise ValueError(
                    f"training asks for {stage.negatives_in_loss} negatives per query and mining keeps "
                    f"{self.mining.pool_depth}: raise mining.pool_depth or lower training.negatives_per_query"
                )
        return self

    @model_validator(mode="after")
    def _processes_share_the_tasks(self) -> "Settings":
        processes = self.launch.trainers
        for stage in self.all_stages:
            if stage.sts_processes is not None and 1 < processes <= stage.sts_processes:
                raise ValueError(
                    f"sts_processes is {stage.sts_processes} and launch.processes {processes}: give fewer, so that "
                    "some hold the retrieval task, or null"
                )
        return self

    @model_validator(mode="after")
    def _texts_fit_the_model(self) -> "Settings":
        most = self.base_model.max_tokens
        asked = {"base_model.max_query_tokens": self.base_model.max_query_tokens}
        asked |= {"training's max_tokens": max((stage.max_tokens or 0 for stage in self.all_stages), default=0)}
        for name, tokens in asked.items():
            if most is not None and tokens is not None and tokens > most:
                raise ValueError(f"{name} is {tokens}, above base_model.max_tokens, {most}")
        return self

    @model_validator(mode="after")
    def _embeddings_are_long_enough(self) -> "Settings":
        made = self.from_scratch.hidden_size if self.from_scratch is not None else None
        length = self.architecture.head_dim or made
        longest = max((dim for stage in self.all_stages for dim in stage.matryoshka_dims), default=0)
        if length is not None and longest > length:
            raise ValueError(
                f"matryoshka_dims names {longest}, and the model's embeddings have {length} components: name lengths "
                "up to that, or raise architecture.head_dim"
            )
        return self

    @model_validator(mode="after")
    def _gate_teacher_searches(self) -> "Settings":
        if not isinstance(self.generation, OpenAIGeneration) or self.generation.gates.teacher is None:
            return self
        _require_known("generation.gates.teacher is", self.generation.gates.teacher, "teachers", self.teachers)
        return self

    @model_validator(mode="after")
    def _documents_are_asked_about(self) -> "Settings":
        for name in self.documents if isinstance(self.generation, NoGeneration) else ():
            raise ValueError(
                f"source {name!r} has documents and no queries: say in `generation` what writes them; kind 'openai' "
                "asks a model, kind 'extractive' needs none"
            )
        return self

    @model_validator(mode="after")
    def _starts_once(self) -> "Settings":
        if self.pretraining is not None and self.start_from == "released_model":
            raise ValueError("start_from released_model takes the place of pretraining: set pretraining to null")
        return self

    @model_validator(mode="after")
    def _scratch_is_pretrained(self) -> "Settings":
        if self.from_scratch is not None and self.pretraining is None:
            raise ValueError("from_scratch makes a model of random weights, which finds nothing: set pretraining")
        return self

    @model_validator(mode="after")
    def _distillation_has_a_teacher(self) -> "Settings":
        distilled = {name for stage in self.training for name in stage.losses} & DISTILLATION
        if distilled and self.distillation_teacher is None:
            raise ValueError(f"training uses the loss {min(distilled)}: name its distillation_teacher")
        if self.distillation_teacher is not None:
            named = self.mining.teachers_used
            _require_known("distillation_teacher is", self.distillation_teacher, "teachers that mining names", named)
        if self.pretraining is not None and DISTILLATION & set(self.pretraining.losses):
            raise ValueError("pretraining has no scored negatives: use kl_distillation and margin_mse in training")
        return self

    @model_validator(mode="after")
    def _adapters_see_one_base(self) -> "Settings":
        self.architecture.require_one_dtype(self.training, self.launch.shard_weights)
        return self

    @model_validator(mode="after")
    def _dev_metric_is_measured(self) -> "Settings":
        _require_known("dev_metric.suite is", self.dev_metric.suite, "suites", self.all_suites)
        suite = self.all_suites[self.dev_metric.suite]
        if not isinstance(suite, MtebSuite):
            _require_known("dev_metric.split is", self.dev_metric.split, "suite's splits", suite.splits)
            _require_known(
                "dev_metric.metric is", self.dev_metric.metric, "suite's metrics", METRICS[TYPES[suite.task]]
            )
        return self

    @property
    def root(self) -> Path:
        """The storage root on this machine: the home, or the working copy of its bucket."""
        return local_folder(self.home)

    @property
    def all_stages(self) -> tuple[TrainingSettings, ...]:
        """Every stage of training, that of round 0 first."""
        return (*([self.pretraining] if self.pretraining is not None else []), *self.training)

    @property
    def starts_from_base_model(self) -> bool:
        """Whether round 0 is the base model as it is."""
        return self.pretraining is None and self.start_from != "released_model"

    @property
    def baseline_teachers(self) -> dict[str, TeacherSettings]:
        """The teachers that are scored beside the base model, by name."""
        return {name: self.teachers.get(name, BM25Teacher()) for name in self.baselines}

    @property
    def has_bm25_baseline(self) -> bool:
        """Whether reports score BM25, alone and together with each round's checkpoint."""
        return any(isinstance(teacher, BM25Teacher) for teacher in self.baseline_teachers.values())

    @property
    def documents(self) -> dict[str, UnaskedSource]:
        """The sources without queries of their own, by name."""
        return {name: source for name, source in self.sources.items() if isinstance(source, UnaskedSource)}

    @property
    def judged_table(self) -> str:
        """The asset of all pairs to judge by and to mine with: `judged_pairs` where a model writes some of them."""
        writes = isinstance(self.generation, OpenAIGeneration) and self.generation.hard_negatives_per_question
        return "judged_pairs" if self.documents or writes else "raw_pairs"

    @property
    def all_suites(self) -> dict[str, SuiteSettings]:
        """Every suite of every report by name."""
        return {name: suite for suites in self.suites.values() for name, suite in suites.items()}


def _require_known(what: str, name: str, kind: str, known: Collection[str]) -> None:
    if name not in known:
        raise ValueError(f"{what} {name!r}; the {kind} are {', '.join(sorted(known)) or 'none'}")


def load_settings(
    profile: str | None = None,
    environment: Mapping[str, str] = os.environ,
    change: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> Settings:
    """Return the programme of ``profile``, a shipped name or a path to a YAML file; by default ``$CONAN_PROFILE``.

    ``change`` may put other values into what was read, before it is checked.

    Raises
    ------
    SettingsError
        The file is missing, is not YAML, or has an unknown key or a value of a wrong type.
    """
    profile = profile or environment.get("CONAN_PROFILE") or DEFAULT_PROFILE
    try:
        path = locate_profile(profile)
    except FileNotFoundError as error:
        raise SettingsError(str(error)) from None
    try:
        values = read_yaml(path)
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"profile {profile!r} ({path}) cannot be read as YAML: {error}") from error
    if home := environment.get("CONAN_HOME"):
        values["home"] = home
    values = change(values)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        problems = explain(error, Settings.model_json_schema(), values)
        raise SettingsError("\n  ".join([f"profile {profile!r} ({path}) is wrong:", *problems])) from None
