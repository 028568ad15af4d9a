"""Stage 5c, training: every round's `checkpoint`, and `round_0/checkpoint` where it is pretrained."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl

from conan_assets.artifacts import Artifact
from conan_assets.data.tables import DOCUMENT_TEXT, PAIRS
from conan_assets.data.training_files import TRAINING_FILES_VERSION, judgements_of, write_training_files
from conan_assets.defs.corpus import judged_key
from conan_assets.defs.gpu import on_the_gpu
from conan_assets.defs.launchers import Launcher
from conan_assets.defs.limits import retried
from conan_assets.defs.reuse import Report, code_version, reuse_or_build
from conan_assets.defs.storage import Storage
from conan_assets.defs.teachers import teacher_key
from conan_assets.encoding.models import fingerprint_model
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.evaluation.settings import LocalSuite
from conan_assets.plots import plot_curves
from conan_assets.settings import Settings
from conan_assets.training.architecture import CHARACTER_BERT_VERSION, CharacterBertSettings
from conan_assets.training.settings import TRAINING_VERSION, TrainingSettings

if TYPE_CHECKING:
    from conan_assets.encoding.encoder import Encoder

MODEL = "model"
SCRATCH = "character_bert"
SCRATCH_NOTE = (
    "The base model was made from scratch: its scores show that every step works, and mean little beyond that."
)
DATA = "data"
REPLACEMENT_WINDOW = 10
SEEDS_BETWEEN_ROUNDS = 1_000_000
"""So far apart that no round of one seed is a round of another."""


def round_key(number: int, name: str) -> dg.AssetKey:
    """Return the key of an asset of round ``number``."""
    return dg.AssetKey([f"round_{number}", name])


def checkpoint_encoder(settings: Settings, checkpoint: Artifact) -> "Encoder":
    """Return a checkpoint as an encoder, with the prompts and limits of the base model."""
    from conan_assets.encoding.encoder import Encoder

    return Encoder(replace(settings.base_model, model=str(checkpoint.path / MODEL), revision=None))


def base_model_of(settings: Settings, first_checkpoint: Artifact) -> EncoderSettings:
    """Return the base model: the one that is named, or the one that `round_0/checkpoint` made from scratch."""
    if settings.from_scratch is None:
        return settings.base_model
    return replace(settings.base_model, model=str(first_checkpoint.path / SCRATCH))


def build_pretrained(settings: Settings, pretraining: TrainingSettings) -> dg.AssetsDefinition:
    """Return `round_0/checkpoint` as the base model pretrained on in-batch negatives."""

    @dg.asset(
        key=round_key(0, "checkpoint"),
        ins={"raw_pairs": dg.AssetIn(judged_key(settings))},
        group_name="round_0",
        kinds={"pytorch"},
        code_version=code_version(
            files=TRAINING_FILES_VERSION, training=TRAINING_VERSION, character_bert=CHARACTER_BERT_VERSION
        ),
    )
    @retried
    @on_the_gpu
    def pretrained_checkpoint(
        context: dg.AssetExecutionContext,
        storage: Storage,
        launcher: Launcher,
        raw_corpus: pl.LazyFrame,
        raw_pairs: pl.LazyFrame,
        training_pairs: pl.LazyFrame,
    ) -> dg.MaterializeResult[None]:
        """Train the base model on all training pairs with in-batch negatives (weak supervision)."""

        def build(directory: Path) -> Report:
            pairs, corpus = training_pairs.collect(), raw_corpus.collect()
            dev = _dev_pairs(settings, raw_pairs, (pretraining,))
            weights = _source_weights(settings)
            counts = write_training_files(corpus, pairs, pairs, None, directory / DATA, dev=dev, weights=weights)
            if settings.from_scratch is None:
                model = settings.base_model.model
            else:
                model = _make_base_model(settings.from_scratch, corpus, pairs, directory)
            return counts | _train(context, launcher, settings, (pretraining,), model, directory)

        weights = settings.from_scratch or fingerprint_model(settings.base_model.model, settings.base_model.revision)
        recipe = {**_recipe(settings, (pretraining,)), "weights": weights}
        return reuse_or_build(context, storage, recipe, build)

    return pretrained_checkpoint


def _make_base_model(scratch: CharacterBertSettings, corpus: pl.DataFrame, pairs: pl.DataFrame, directory: Path) -> str:
    """Make a BERT over the characters of the corpus and the training pairs, and return its folder."""
    from conan_assets.training.character_bert import build_character_bert

    texts = pl.concat([corpus.select(text=DOCUMENT_TEXT), pairs.select(text="query"), pairs.select("text")])
    return str(build_character_bert(texts["text"].drop_nulls(), directory / SCRATCH, scratch))


def build_checkpoint(settings: Settings, number: int) -> dg.AssetsDefinition:
    """Return the checkpoint of round ``number`` (from 1)."""
    start = round_key(0 if settings.start_from == "base_model" else number - 1, "checkpoint")
    stages = stages_of(settings, number)
    inputs = {
        "hard_negatives": dg.AssetIn(round_key(number, "hard_negatives")),
        "raw_pairs": dg.AssetIn(judged_key(settings)),
    }
    if settings.distillation_teacher is not None:
        inputs["teacher_scores"] = dg.AssetIn(teacher_key(settings.distillation_teacher))

    @dg.asset(
        key=round_key(number, "checkpoint"),
        ins=inputs,
        deps=[start],
        group_name=f"round_{number}",
        kinds={"pytorch"},
        code_version=code_version(files=TRAINING_FILES_VERSION, training=TRAINING_VERSION),
        description=f"The model trained on round {number}'s hard negatives, from {start.to_user_string()}.",
    )
    @retried
    @on_the_gpu
    def checkpoint(
        context: dg.AssetExecutionContext,
        storage: Storage,
        launcher: Launcher,
        raw_corpus: pl.LazyFrame,
        raw_pairs: pl.LazyFrame,
        training_pairs: pl.LazyFrame,
        hard_negatives: pl.LazyFrame,
        **teacher: pl.LazyFrame,
    ) -> dg.MaterializeResult[None]:
        from conan_assets.mining.judge import relabelled_positives

        def build(directory: Path) -> Report:
            before = storage.current(start).path
            pairs, negatives = training_pairs.collect(), after_the_dropped(hard_negatives.collect(), before)
            counts = write_training_files(
                raw_corpus.collect(),
                pl.concat([pairs, relabelled_positives(negatives, pairs)]),
                judgements_of(training_pairs, raw_pairs).collect(),
                negatives,
                directory / DATA,
                dev=_dev_pairs(settings, raw_pairs, stages),
                teacher_scores=_learnt_scores(settings, negatives, **teacher),
                weights=_source_weights(settings),
            )
            return counts | _train(context, launcher, settings, stages, str(before / MODEL), directory)

        return reuse_or_build(context, storage, _recipe(settings, stages), build)

    return checkpoint


def after_the_dropped(negatives: pl.DataFrame, checkpoint: Path) -> pl.DataFrame:
    """Return the negatives with those last that had become too easy when ``checkpoint`` was trained, if some had.

    A round goes on with dynamic negatives where the one before it stopped, in the pools that were mined in between.
    """
    tables = sorted(checkpoint.glob("dynamic_negatives_*.parquet"))
    if not tables:
        return negatives
    query = pl.col("sample_id").str.replace(r"#\d+$", "")  # a weighted source's samples have copies
    rows = pl.concat([pl.scan_parquet(table).select(query_id=query, doc_id="gave_way") for table in tables])
    dropped = rows.explode("doc_id").drop_nulls().unique().with_columns(is_dropped=True).collect()
    behind = pl.col("order") + pl.when("is_dropped").then(pl.col("order").max()).otherwise(0)
    joined = negatives.join(dropped, on=["query_id", "doc_id"], how="left", maintain_order="left")
    return joined.with_columns(order=behind.cast(negatives.schema["order"])).drop("is_dropped")


def stages_of(settings: Settings, number: int) -> tuple[TrainingSettings, ...]:
    """Return the stages of round ``number``: with seeds of its own, or each round would begin with the same samples."""
    added = (number - 1) * SEEDS_BETWEEN_ROUNDS
    return tuple(replace(stage, seed=stage.seed + added) for stage in settings.training)


def _recipe(settings: Settings, stages: tuple[TrainingSettings, ...]) -> Mapping[str, object]:
    return {
        "training": [stage.deciding for stage in stages],
        "architecture": settings.architecture,
        "encoder": settings.base_model,
        "distillation_teacher": settings.distillation_teacher,
        "source_weights": _source_weights(settings),
        "dev_metric": settings.dev_metric if any(stage.early_stop is not None for stage in stages) else None,
    }


def _source_weights(settings: Settings) -> dict[str, float]:
    return {name: source.weight for name, source in settings.sources.items()}


def _dev_pairs(
    settings: Settings, raw_pairs: pl.LazyFrame, stages: tuple[TrainingSettings, ...]
) -> pl.DataFrame | None:
    """Return the judged pairs that an early stop measures, or None if no stage stops early."""
    return None if all(stage.early_stop is None for stage in stages) else dev_metric_pairs(settings, raw_pairs)


def dev_metric_pairs(settings: Settings, raw_pairs: pl.LazyFrame) -> pl.DataFrame:
    """Return the judged pairs of the dev metric's dataset and split, or all of the dev splits if it is no source's."""
    suite = settings.all_suites[settings.dev_metric.suite]
    pairs = raw_pairs.filter(pl.col("task") == "retrieval").select(*PAIRS.columns)
    if isinstance(suite, LocalSuite):
        pairs = pairs.filter(pl.col("split") == settings.dev_metric.split, pl.col("dataset") == suite.dataset)
    else:
        pairs = pairs.filter(pl.col("split") == "dev")
    return pairs.collect()


def _learnt_scores(
    settings: Settings, negatives: pl.DataFrame, teacher_scores: pl.LazyFrame | None = None
) -> pl.DataFrame | None:
    """Return the distillation teacher's score of every positive and every mined candidate, or None without one."""
    if teacher_scores is None:
        return None
    columns = ("query_id", "doc_id", "score")
    mined = negatives.select("query_id", "doc_id", score=f"{settings.distillation_teacher}_score")
    return pl.concat([teacher_scores.select(columns).collect(), mined]).unique(columns[:2], keep="first")


def _train(
    context: dg.AssetExecutionContext,
    launcher: Launcher,
    settings: Settings,
    stages: tuple[TrainingSettings, ...],
    model: str,
    directory: Path,
) -> Report:
    """Train in ``directory``, going on where a killed run stopped, and leave the model, the metrics and the curves."""
    from conan_assets.training.config import TrainingConfig

    base = replace(settings.base_model, model=model)
    launch = settings.launch
    config = TrainingConfig(directory, base, stages, settings.architecture, launch.trackers, launch.shard_weights)
    report = launcher.train(context, config)
    shutil.rmtree(directory / DATA)
    return {**report, **_plot_metrics(directory)}


def _plot_metrics(directory: Path) -> Report:
    """Draw the loss, the mean scores of positives and hard negatives, and how often hard negatives were replaced."""
    from conan_assets.training.metrics import read_metrics

    metrics = read_metrics(directory)
    curves = {"loss.png": ("loss", {"loss": _curve(metrics, "loss")})}
    scores = {f"mean {side}": _curve(metrics, f"mean_{side}_score") for side in ("positive", "negative")}
    curves["scores.png"] = ("cosine to the query", scores)
    if any(record.get("negatives_replaced") for record in metrics):
        steps, replaced = _curve(metrics, "negatives_replaced")
        rates = [100 * mean(replaced[max(0, end - REPLACEMENT_WINDOW) : end]) for end in range(1, len(replaced) + 1)]
        curves["replacements.png"] = ("replaced in 100 steps", {f"mean of {REPLACEMENT_WINDOW} steps": (steps, rates)})
    return {
        f"{name.removesuffix('.png')}_curve": plot_curves(directory / name, lines, "step", label)
        for name, (label, lines) in curves.items()
    }


def _curve(metrics: list[dict[str, float]], name: str) -> tuple[list[int], list[float]]:
    """Return the steps, counted over all stages, that have the metric, and its values."""
    points = [(step, record[name]) for step, record in enumerate(metrics, 1) if name in record]
    return [step for step, _ in points], [value for _, value in points]
