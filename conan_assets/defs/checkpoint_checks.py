"""Checks of every checkpoint before anything is mined or evaluated with it: its loss, the spread of its embeddings."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import polars as pl

from conan_assets.data.tables import DOCUMENT_TEXT
from conan_assets.defs.checkpoints import checkpoint_encoder, round_key
from conan_assets.defs.corpus import CORPUS_KEY
from conan_assets.defs.gpu import on_the_gpu
from conan_assets.defs.limits import retried
from conan_assets.defs.storage import Storage
from conan_assets.settings import Settings

SAMPLED_DOCUMENTS = 512
HIGHEST_MEAN_COSINE = 0.995
LOWEST_EFFECTIVE_RANK = 2.0
FEWEST_STEPS = 20


def build_checkpoint_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """Return the checks of the checkpoints of all rounds."""
    return [_check_checkpoint(settings, number) for number in range(settings.rounds + 1)]


def _check_checkpoint(settings: Settings, number: int) -> dg.AssetChecksDefinition:
    key = round_key(number, "checkpoint")
    is_trained = number > 0 or settings.pretraining is not None
    specs = [
        dg.AssetCheckSpec(
            "embeddings_spread",
            asset=key,
            blocking=True,
            additional_deps=[CORPUS_KEY],
            description=f"Embeddings of {SAMPLED_DOCUMENTS} documents are finite and have not collapsed: mean cosine "
            f"of pairs at most {HIGHEST_MEAN_COSINE}, effective rank at least {LOWEST_EFFECTIVE_RANK}.",
        )
    ]
    if is_trained:
        specs.append(dg.AssetCheckSpec("finite_loss", asset=key, blocking=True, description="Every metric is finite."))
        specs.append(
            dg.AssetCheckSpec(
                "loss_fell",
                asset=key,
                description=f"In every stage of {FEWEST_STEPS} steps or more the last tenth's mean loss is below the "
                "first's; dynamic negatives that get harder may raise it.",
            )
        )

    @dg.multi_asset_check(name=f"round_{number}_checkpoint_checks", specs=specs)
    @retried
    @on_the_gpu
    def checks(storage: Storage) -> Iterator[dg.AssetCheckResult]:
        checkpoint = storage.current(key)
        yield _spread(settings, storage, key)
        if is_trained:
            yield _finite_loss(key, checkpoint.path)
            yield _loss_fell(key, checkpoint.path)

    return checks


def _spread(settings: Settings, storage: Storage, key: dg.AssetKey) -> dg.AssetCheckResult:
    import numpy as np

    from conan_assets.encoding.spread import count_not_finite, effective_rank, mean_cosine

    corpus = storage.table(CORPUS_KEY).select(text=DOCUMENT_TEXT).collect()["text"].unique().sort()
    texts = corpus.sample(min(SAMPLED_DOCUMENTS, len(corpus)), seed=0).to_list()
    embeddings = storage.embeddings.embed(checkpoint_encoder(settings, storage.current(key)), texts, "document")
    rows = embeddings.rows(np.arange(len(texts)))
    if broken := count_not_finite(rows):
        return _not_finite(key, broken, len(texts))
    cosine = mean_cosine(rows) if len(texts) > 1 else 0.0
    rank = effective_rank(rows)
    few = len(texts) <= LOWEST_EFFECTIVE_RANK
    passed = few or (cosine <= HIGHEST_MEAN_COSINE and rank >= LOWEST_EFFECTIVE_RANK)
    metadata = {"mean_cosine": cosine, "effective_rank": rank, "documents": len(texts), "encoded": embeddings.encoded}
    return dg.AssetCheckResult(asset_key=key, check_name="embeddings_spread", passed=bool(passed), metadata=metadata)


def _not_finite(key: dg.AssetKey, broken: int, sampled: int) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=key,
        check_name="embeddings_spread",
        passed=False,
        description=f"{broken} of {sampled} embeddings are not finite: lower the learning rate, or set the dtype of "
        "training and base_model to float32, and train again.",
        metadata={"not_finite": broken, "documents": sampled},
    )


def _finite_loss(key: dg.AssetKey, folder: Path) -> dg.AssetCheckResult:
    from conan_assets.training.metrics import read_metrics

    records = read_metrics(folder)
    broken = [record for record in records if not all(map(math.isfinite, record.values()))]
    metadata: dict[str, int | str] = {"steps": len(records), "steps_not_finite": len(broken)}
    if broken:
        metadata["first"] = str(broken[0])
    return dg.AssetCheckResult(
        asset_key=key, check_name="finite_loss", passed=bool(records) and not broken, metadata=metadata
    )


def _loss_fell(key: dg.AssetKey, folder: Path) -> dg.AssetCheckResult:
    from conan_assets.training.metrics import read_metrics

    losses = pl.DataFrame(
        [(int(record["stage"]), record["loss"]) for record in read_metrics(folder)],
        schema={"stage": pl.Int64, "loss": pl.Float64},
        orient="row",
    )
    stages = [_stage_loss(int(stage), part["loss"]) for (stage,), part in losses.group_by("stage")]
    rose = [stage for stage in stages if stage.steps >= FEWEST_STEPS and not stage.last_loss < stage.first_loss]
    return dg.AssetCheckResult(
        asset_key=key,
        check_name="loss_fell",
        passed=not rose,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"stages": [stage._asdict() for stage in sorted(stages)]},
    )


class _StageLoss(NamedTuple):
    stage: int
    steps: int
    first_loss: float
    last_loss: float


def _stage_loss(stage: int, losses: pl.Series) -> _StageLoss:
    tenth = max(1, len(losses) // 10)
    first, last = losses.head(tenth).to_numpy().mean(), losses.tail(tenth).to_numpy().mean()
    return _StageLoss(stage, len(losses), float(first), float(last))
