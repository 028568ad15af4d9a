"""What people do without this project: sentence-transformers' own miner, loss and trainer on a programme's pairs."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from conan_assets.artifacts import ArtifactStore, fingerprint
from conan_assets.cleaning import TABLE
from conan_assets.data.tables import DOCUMENT_TEXT
from conan_assets.defs.corpus import judged_key
from conan_assets.files import atomic_path
from conan_assets.settings import Settings, SettingsError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from transformers import TrainerCallback

CANDIDATES = 50
RELATIVE_MARGIN = 0.05
MINI_BATCH = 32
DONE = "done.json"


def train_sentence_transformers(settings: Settings) -> tuple[Path, float]:
    """Train the base model on a materialized programme's pairs; return the folder of its scores and the seconds."""
    from conan_assets.encoding.encoder import Encoder
    from conan_assets.encoding.store import EmbeddingStore
    from conan_assets.evaluation.run import evaluate_encoder

    home = settings.home.expanduser().absolute()
    assets = ArtifactStore(home / "assets")
    tables = [assets.current(name) for name in ("raw_corpus", judged_key(settings).to_user_string(), "training_pairs")]
    corpus, raw_pairs, pairs = (pl.read_parquet(table.path / TABLE) for table in tables)
    recipe = (settings.base_model, settings.training, settings.suites, *(table.content for table in tables))
    folder = home / "sentence_transformers" / fingerprint(*recipe)
    if not (folder / DONE).exists():
        seconds = _train(settings, corpus, pairs, folder)
        encoder = Encoder(replace(settings.base_model, model=str(folder / "model"), revision=None))
        name = settings.dev_metric.suite
        store, suites = EmbeddingStore(home / "embeddings"), {name: settings.all_suites[name]}
        evaluate_encoder(encoder, store, suites, corpus, raw_pairs, folder, home / "evaluations")
        with atomic_path(folder / DONE) as path:
            path.write_text(json.dumps({"seconds": seconds}))
    return folder, json.loads((folder / DONE).read_text())["seconds"]


def _train(settings: Settings, corpus: pl.DataFrame, pairs: pl.DataFrame, folder: Path) -> float:
    """Mine and train; leave the model in the folder and return the seconds."""
    import torch
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    from conan_assets.encoding.models import locate_model
    from conan_assets.encoding.precision import choose_dtype

    started = time.monotonic()
    (stage,) = settings.training
    device = "cuda" if torch.cuda.is_available() else "cpu"
    texts = corpus.select("doc_id", positive=DOCUMENT_TEXT)
    trained = pairs.filter(pl.col("task") == "retrieval").join(texts, on="doc_id", how="left", maintain_order="left")
    trained = trained.with_columns(positive=pl.coalesce("positive", "text"))
    weights = locate_model(settings.base_model.model, settings.base_model.revision)
    model = SentenceTransformer(str(weights), device=device)
    model.max_seq_length = stage.max_tokens or settings.base_model.max_tokens or model.max_seq_length
    mined = mine_hard_negatives(
        Dataset.from_dict({"anchor": trained["query"].to_list(), "positive": trained["positive"].to_list()}),
        model,
        corpus=texts["positive"].to_list(),
        range_max=CANDIDATES,
        relative_margin=RELATIVE_MARGIN,
        num_negatives=stage.negatives_per_query,
        output_format="n-tuple",
        verbose=False,
    )
    if not len(mined):
        raise SettingsError(
            f"sentence-transformers' miner leaves none of {len(trained)} pairs {stage.negatives_per_query} negatives "
            f"that are {RELATIVE_MARGIN:.0%} below the lowest positive: take the way 'sentence_transformers' out"
        )
    trainer = build_st_trainer(
        model,
        mined.to_dict(),
        folder / "trainer",
        steps=stage.max_steps or 0,
        batch_size=stage.retrieval_batch_size,
        learning_rate=stage.learning_rate,
        temperature=stage.temperature,
        cached=True,
        bfloat16=choose_dtype(stage.dtype, device, weights) is torch.bfloat16,
        seed=stage.seed,
    )
    trainer.train()
    seconds = time.monotonic() - started
    model.save(str(folder / "model"))
    return seconds


def build_st_trainer(
    model: "SentenceTransformer",
    columns: Mapping[str, Sequence[str]],
    folder: Path,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    temperature: float,
    cached: bool,
    bfloat16: bool,
    seed: int = 0,
    callbacks: Sequence["TrainerCallback"] = (),
) -> "SentenceTransformerTrainer":
    """Return a trainer of MultipleNegativesRankingLoss, cached or plain, on the columns anchor, positive, negatives."""
    import torch
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.losses import CachedMultipleNegativesRankingLoss, MultipleNegativesRankingLoss

    scale = 1 / temperature
    loss = (
        CachedMultipleNegativesRankingLoss(model, mini_batch_size=MINI_BATCH, scale=scale)
        if cached
        else MultipleNegativesRankingLoss(model, scale=scale)
    )
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=batch_size,
        max_steps=steps,
        learning_rate=learning_rate,
        warmup_ratio=0.05,
        weight_decay=0.001,
        bf16=bfloat16,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=seed,
    )
    return SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(dict(columns)),
        loss=loss,
        callbacks=list(callbacks),
    )
