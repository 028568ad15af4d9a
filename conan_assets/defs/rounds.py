"""Stage 5, the rounds: `round_k/hard_negatives` mined with the checkpoint before, `round_k/checkpoint` trained on them.

`round_0/checkpoint` is where the rounds start: the base model, or that model pretrained on in-batch negatives.
"""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl

from conan_assets.artifacts import Artifact
from conan_assets.data.training_files import judgements_of, write_training_files
from conan_assets.defs.negatives_checks import check_negatives
from conan_assets.defs.reuse import Report, reuse_or_build, write_table
from conan_assets.defs.storage import Storage
from conan_assets.defs.teachers import teacher_key
from conan_assets.encoding.models import fingerprint_model, locate_model
from conan_assets.plots import plot_curves
from conan_assets.settings import Settings
from conan_assets.synthesis.settings import OpenAIGeneration
from conan_assets.training.settings import TrainingSettings

if TYPE_CHECKING:
    from conan_assets.encoding.encoder import Encoder
    from conan_assets.mining.judge import Ask

MODEL = "model"
DATA = "data"


def round_key(number: int, name: str) -> dg.AssetKey:
    """Return the key of an asset of round ``number``."""
    return dg.AssetKey([f"round_{number}", name])


def checkpoint_encoder(settings: Settings, checkpoint: Artifact) -> "Encoder":
    """Return a checkpoint as an encoder, with the prompts and limits of the base model."""
    from conan_assets.encoding.encoder import Encoder

    return Encoder(replace(settings.base_model, model=str(checkpoint.path / MODEL), revision=None))


def build_base_checkpoint(settings: Settings) -> list[dg.AssetsDefinition]:
    """Return `round_0/checkpoint`."""
    if settings.pretraining is not None:
        return [_build_pretrained(settings, settings.pretraining)]

    @dg.asset(key=round_key(0, "checkpoint"), group_name="round_0", kinds={"pytorch"}, code_version="1")
    def base_checkpoint(context: dg.AssetExecutionContext, storage: Storage) -> dg.MaterializeResult:
        """Take the base model as it is."""
        model = settings.base_model
        weights = fingerprint_model(model.model, model.revision)

        def build(directory: Path) -> Report:
            folder = locate_model(model.model, model.revision)
            if (folder / "modules.json").exists():
                shutil.copytree(folder, directory / MODEL, dirs_exist_ok=True)
            else:
                from sentence_transformers import SentenceTransformer

                plain = SentenceTransformer(str(folder), device="cpu", trust_remote_code=model.trust_remote_code)
                plain.save(str(directory / MODEL))
            return {"base_model": model.model, "weights_fingerprint": weights}

        return reuse_or_build(context, storage, {"base_model": model, "weights": weights}, build)

    return [base_checkpoint]


def build_round(settings: Settings, number: int) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Return the assets of round ``number`` (from 1) and their checks; `reports.py` adds its reports."""
    negatives = _build_hard_negatives(settings, number)
    return [negatives, check_negatives(negatives), _build_checkpoint(settings, number)]


def _build_hard_negatives(settings: Settings, number: int) -> dg.AssetsDefinition:
    student = round_key(number - 1, "checkpoint")
    tables = {f"teacher_{name}": dg.AssetIn(teacher_key(name)) for name in settings.mining.teachers_used}
    if number > 1:
        tables["previous_negatives"] = dg.AssetIn(round_key(number - 1, "hard_negatives"))

    @dg.asset(
        key=round_key(number, "hard_negatives"),
        ins=tables,
        deps=[student],
        group_name=f"round_{number}",
        kinds={"faiss", "polars"},
        code_version="1",
        description=f"Candidates of round {number - 1}'s checkpoint for every training query, with verdicts.",
    )
    def hard_negatives(
        context: dg.AssetExecutionContext,
        storage: Storage,
        raw_corpus: pl.LazyFrame,
        raw_pairs: pl.LazyFrame,
        training_pairs: pl.LazyFrame,
        **tables: pl.LazyFrame,
    ) -> dg.MaterializeResult:
        from conan_assets.mining.hard_negatives import mine_hard_negatives

        def build(directory: Path) -> Report:
            previous = tables.get("previous_negatives")
            negatives, report = mine_hard_negatives(
                settings.mining,
                checkpoint_encoder(settings, storage.current(student)),
                settings.teachers,
                {name: tables[f"teacher_{name}"] for name in settings.mining.teachers_used},
                raw_corpus.collect(),
                judgements_of(training_pairs, raw_pairs).collect(),
                raw_pairs.filter(pl.col("split") != "train").collect(),
                previous.collect() if previous is not None else None,
                storage.embeddings,
                directory,
                _judge(settings, storage),
            )
            write_table(negatives, directory)
            return report

        return reuse_or_build(context, storage, {"mining": settings.mining, "encoder": settings.base_model}, build)

    return hard_negatives


def _judge(settings: Settings, storage: Storage) -> "Ask | None":
    """Return what sends the judge's prompts to the endpoint that writes pairs, if mining has a judge."""
    if settings.mining.judge is None or not isinstance(settings.generation, OpenAIGeneration):
        return None
    from conan_assets.synthesis.asking import asker

    return asker(settings.generation, storage.root / "journal")


def _build_checkpoint(settings: Settings, number: int) -> dg.AssetsDefinition:
    start = round_key(number - 1 if settings.start_from == "previous_round" else 0, "checkpoint")

    @dg.asset(
        key=round_key(number, "checkpoint"),
        ins={"hard_negatives": dg.AssetIn(round_key(number, "hard_negatives"))},
        deps=[start],
        group_name=f"round_{number}",
        kinds={"pytorch"},
        code_version="1",
        description=f"The model trained on round {number}'s hard negatives, from {start.to_user_string()}.",
    )
    def checkpoint(
        context: dg.AssetExecutionContext,
        storage: Storage,
        raw_corpus: pl.LazyFrame,
        raw_pairs: pl.LazyFrame,
        training_pairs: pl.LazyFrame,
        hard_negatives: pl.LazyFrame,
    ) -> dg.MaterializeResult:
        from conan_assets.mining.judge import relabelled_positives

        def build(directory: Path) -> Report:
            pairs, negatives = training_pairs.collect(), hard_negatives.collect()
            judgements = judgements_of(training_pairs, raw_pairs).collect()
            pairs = pl.concat([pairs, relabelled_positives(negatives, pairs)])
            data = write_training_files(raw_corpus.collect(), pairs, judgements, negatives, directory / DATA)
            model = storage.current(start).path / MODEL
            return data | _train(settings, settings.training, str(model), directory)

        recipe = {"training": settings.training, "encoder": settings.base_model}
        return reuse_or_build(context, storage, recipe, build)

    return checkpoint


def _build_pretrained(settings: Settings, pretraining: TrainingSettings) -> dg.AssetsDefinition:
    @dg.asset(key=round_key(0, "checkpoint"), group_name="round_0", kinds={"pytorch"}, code_version="1")
    def pretrained_checkpoint(
        context: dg.AssetExecutionContext, storage: Storage, raw_corpus: pl.LazyFrame, training_pairs: pl.LazyFrame
    ) -> dg.MaterializeResult:
        """Train the base model on all training pairs with in-batch negatives (weak supervision)."""

        def build(directory: Path) -> Report:
            pairs = training_pairs.collect()
            data = write_training_files(raw_corpus.collect(), pairs, pairs, None, directory / DATA)
            return data | _train(settings, pretraining, settings.base_model.model, directory)

        weights = fingerprint_model(settings.base_model.model, settings.base_model.revision)
        recipe = {"training": pretraining, "encoder": settings.base_model, "weights": weights}
        return reuse_or_build(context, storage, recipe, build)

    return pretrained_checkpoint


def _train(settings: Settings, stage: TrainingSettings, model: str, directory: Path) -> Report:
    """Train in ``directory``, going on where a killed run stopped, and leave the model, the metrics and the curve."""
    from conan_assets.training.config import TrainingConfig
    from conan_assets.training.metrics import read_metrics
    from conan_assets.training.run import train

    report = train(TrainingConfig(directory, replace(settings.base_model, model=model), (stage,)))
    shutil.rmtree(directory / DATA)
    metrics = read_metrics(directory)
    losses = [record["loss"] for record in metrics]
    curve = plot_curves(directory / "loss.png", {"loss": (range(1, len(losses) + 1), losses)}, "step", "loss")
    return {**report, "loss_curve": curve}
