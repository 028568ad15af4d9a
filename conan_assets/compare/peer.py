"""What people do without this project: sentence-transformers' own miner, loss and trainer on a programme's pairs."""

import json
import time
from dataclasses import replace
from pathlib import Path

import polars as pl

from conan_assets.artifacts import ArtifactStore, fingerprint
from conan_assets.cleaning import TABLE
from conan_assets.data.tables import DOCUMENT_TEXT
from conan_assets.defs.corpus import judged_key
from conan_assets.files import atomic_path
from conan_assets.settings import Settings, SettingsError

CANDIDATES = 50
RELATIVE_MARGIN = 0.05
DONE = "done.json"


def train_sentence_transformers(settings: Settings) -> tuple[Path, float]:
    """Train the base model on a materialized programme's pairs; return the folder of its scores and the seconds."""
    from conan_assets.encoding.encoder import Encoder
    from conan_assets.encoding.store import EmbeddingStore
    from conan_assets.evaluation.run import evaluate_encoder

    home = settings.root
    assets = ArtifactStore(home / "assets")
    tables = [
        assets.require_intact(assets.current(name))
        for name in ("raw_corpus", judged_key(settings).to_user_string(), "training_pairs")
    ]
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

    from conan_assets.compare.st_trainer import build_st_trainer
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
