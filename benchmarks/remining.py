"""What a second mining encodes: ``python -m benchmarks.remining [FOLDER] [--documents 40000] [--queries 1000]``.

FOLDER is a collection in BEIR layout; by default one is made up. First, on 2,000 documents: the share of all texts
that is encoded when nothing, 1 % of the texts, or one weight of the model has changed. Then, on all of them, re-mining
among stored pools (``refresh: pool``) of several depths, for all queries and for fractions of them: the share of
documents encoded against the overlap with the negatives that a full re-mine chooses for the same queries. Twice: with
a checkpoint really fine-tuned on the collection's pairs and the base model's pools (``pool_curve``), and with one that
was trained as long again and the first one's pools (``pool_curve_later_round``). Ends with one line of JSON.
"""

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from sentence_transformers import SentenceTransformer

from conan_assets.cleaning import TABLE
from conan_assets.data.beir import read_beir_folder
from conan_assets.data.settings import BeirSource
from conan_assets.data.tables import CORPUS, PAIRS, check_table
from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.models import DEMO_MODEL
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.encoding.store import EmbeddingStore
from conan_assets.mining.hard_negatives import mine_hard_negatives
from conan_assets.mining.settings import MiningSettings

MAX_TOKENS = 64
NEEDED = 4
DEPTHS = (20, 50, 100, 200)
FRACTIONS = (0.25, 0.5, 1.0)
SMALL = 2_000
STEPS, BATCH, RATE, TEMPERATURE = 100, 32, 2e-5, 0.05


def make_collection(documents: int, queries: int, generator: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return a made-up corpus in topics, and queries from the words of one document each."""
    vocabulary = np.array([f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "rt", "st", "m", "lk")])
    topics = generator.permuted(np.tile(np.arange(len(vocabulary)), (200, 1)), axis=1)[:, :30]
    words = vocabulary[
        topics[generator.integers(200, size=documents)[:, None], generator.integers(30, size=(documents, 16))]
    ]
    texts = [" ".join(row) for row in words]
    chosen = generator.permutation(documents)[:queries].tolist()
    asked = [" ".join(generator.permutation(words[document])[:5]) for document in chosen]
    corpus = pl.DataFrame(
        {"doc_id": [f"made:{i}" for i in range(documents)], "dataset": "made", "title": "", "text": texts}
    )
    ids = {"query_id": [f"made:q{i}" for i in range(queries)], "doc_id": [f"made:{document}" for document in chosen]}
    constants = {
        "task": "retrieval",
        "dataset": "made",
        "origin": "natural",
        "split": "train",
        "text": None,
        "score": 1.0,
    }
    pairs = pl.DataFrame({"pair_id": ids["query_id"], "query": asked, **ids}).with_columns(
        **{name: pl.lit(value) for name, value in constants.items()}
    )
    return check_table(corpus, CORPUS, "made up"), check_table(pairs, PAIRS, "made up")


def sample(
    corpus: pl.DataFrame, pairs: pl.DataFrame, documents: int, queries: int, generator: np.random.Generator
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return ``queries`` training queries at random, their positives, and other documents up to ``documents``."""
    train = pairs.filter(pl.col("split") == "train", pl.col("score") > 0)
    ids = train["query_id"].unique(maintain_order=True)
    chosen = train.filter(pl.col("query_id").is_in(ids.gather(generator.permutation(len(ids))[:queries]).implode()))
    needed = corpus.join(chosen, on="doc_id", how="semi")
    others = corpus.join(chosen, on="doc_id", how="anti")
    more = others[generator.permutation(others.height)[: max(0, documents - needed.height)]]
    return pl.concat([needed, more]), chosen


def fine_tune(start: Path, pairs: pl.DataFrame, corpus: pl.DataFrame, folder: Path, seed: int) -> None:
    """Train a model on the pairs for some steps of InfoNCE with in-batch negatives, and save it."""
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    model = SentenceTransformer(str(start), device="cpu")
    model.max_seq_length = MAX_TOKENS
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    rows = pairs.join(corpus.select("doc_id", document="text"), on="doc_id").select("query", "document")
    for _ in range(STEPS):
        batch = rows[generator.permutation(rows.height)[:BATCH]].unique("query").unique("document")
        left, right = (
            torch.nn.functional.normalize(model(model.preprocess(batch[name].to_list()))["sentence_embedding"], dim=1)
            for name in ("query", "document")
        )
        loss = torch.nn.functional.cross_entropy(left @ right.T / TEMPERATURE, torch.arange(batch.height))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save(str(folder))


class Bench:
    """One collection and one store of embeddings; mines with any checkpoint and any settings."""

    def __init__(self, corpus: pl.DataFrame, pairs: pl.DataFrame, folder: Path, cache: Path) -> None:
        self.corpus = corpus
        self.pairs = pairs
        self.folder = folder
        self.store = EmbeddingStore(cache)

    def mine(
        self,
        encoder: Encoder,
        corpus: pl.DataFrame,
        pairs: pl.DataFrame,
        previous: pl.DataFrame | None = None,
        **options: object,
    ) -> tuple[pl.DataFrame, dict[str, Any]]:
        """Mine ``pairs`` with one checkpoint; ``options`` are mining settings."""
        settings = MiningSettings.model_validate({"negatives_per_query": NEEDED, **options})
        tables = (corpus.lazy(), pairs.lazy(), pairs.clear(), None if previous is None else previous.lazy())
        report = mine_hard_negatives(settings, encoder, {}, {}, *tables, self.store, self.folder)
        return pl.read_parquet(self.folder / TABLE), report

    def encoded_shares(self, encoder: Encoder, changed: Encoder, generator: np.random.Generator) -> dict[str, float]:
        """Return the share of texts encoded after no change, 1 % changed documents, and a changed weight."""
        corpus, pairs = sample(self.corpus, self.pairs, SMALL, SMALL // 20, generator)
        total = pl.concat([corpus["text"], pairs["query"]]).n_unique()
        self.mine(encoder, corpus, pairs)
        edited = generator.permutation(corpus.height)[: round(total / 100)].tolist()
        texts = corpus["text"].to_list()
        for position in edited:
            texts[position] += " (edited)"
        runs = {
            "encoded_again": (encoder, corpus),
            "encoded_after_1_percent": (encoder, corpus.with_columns(text=pl.Series(texts))),
            "encoded_after_weight_change": (changed, corpus),
        }
        return {name: round(self.mine(*run, pairs)[1]["encoded"] / total, 4) for name, run in runs.items()}

    def pool_curve(self, before: Encoder, after: Encoder, generator: np.random.Generator) -> list[dict[str, float]]:
        """Return, for every depth and fraction of the queries, what pools encode and how much they find."""
        queries = self.pairs["query_id"].unique(maintain_order=True)
        curve = []
        for depth in DEPTHS:
            pools, _ = self.mine(before, self.corpus, self.pairs, depth=depth)
            for fraction in FRACTIONS:
                chosen = queries.gather(generator.permutation(len(queries))[: round(fraction * len(queries))])
                pairs = self.pairs.filter(pl.col("query_id").is_in(chosen.implode()))
                stored = pools.filter(pl.col("query_id").is_in(chosen.implode()))
                full, _ = self.mine(after, self.corpus, pairs, depth=DEPTHS[-1])
                refresh = {"mode": "pool"}
                pooled, report = self.mine(after, self.corpus, pairs, stored, depth=DEPTHS[-1], refresh=refresh)
                drift = report["refresh"][0]
                encoded = len({*stored["doc_id"], *pairs["doc_id"]}) + drift["drift_documents_sampled"]
                curve.append(
                    {
                        "depth": depth,
                        "queries": fraction,
                        "documents_encoded": round(encoded / self.corpus.height, 4),
                        "overlap": overlap(full, pooled),
                        "overlap_estimated_at_least": drift["overlap_with_full_at_least"],
                    }
                )
                print(json.dumps(curve[-1]), flush=True)
        return curve


def overlap(full: pl.DataFrame, pooled: pl.DataFrame) -> float:
    """Return the share of the full re-mine's first negatives that the pools gave too."""
    first, other = (table.filter(pl.col("order") <= NEEDED).select("query_id", "doc_id") for table in (full, pooled))
    return round(first.join(other, on=["query_id", "doc_id"], how="semi").height / max(first.height, 1), 4)


def change_one_weight(source: Path, folder: Path) -> None:
    """Copy a model with one of its weights a little larger."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, folder)
    path = folder / "model.safetensors"
    weights = load_file(path)
    name = next(name for name, weight in weights.items() if name.endswith("dense.bias") and weight.is_floating_point())
    weights[name][0] += 1e-3
    save_file(weights, path, metadata={"format": "pt"})


def main() -> None:
    """Run both parts and print the JSON line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.remining")
    parser.add_argument("folder", type=Path, nargs="?", help="a collection in BEIR layout; by default one is made up")
    parser.add_argument("--documents", type=int, default=40_000)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--cache", type=Path, help="keep embeddings and checkpoints there for the next run")
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    started = time.monotonic()
    if options.folder is None:
        corpus, pairs = make_collection(options.documents, options.queries, generator)
    else:
        whole = read_beir_folder(options.folder.name, BeirSource(kind="beir", path=options.folder))
        corpus, pairs = sample(*whole, options.documents, options.queries, generator)
    with tempfile.TemporaryDirectory() as temporary:
        cache = options.cache or Path(temporary)
        base = Encoder(EncoderSettings(DEMO_MODEL, max_tokens=MAX_TOKENS))
        once, twice, changed = cache / "tuned_once", cache / "tuned_twice", Path(temporary) / "changed"
        for seed, (start, folder) in enumerate(((base.path, once), (once, twice))):
            if not folder.exists():
                fine_tune(start, pairs, corpus, folder, seed)
        change_one_weight(base.path, changed)
        first, second, other = (Encoder(replace(base.settings, model=str(path))) for path in (once, twice, changed))
        fresh = Bench(corpus, pairs, Path(temporary) / "work", Path(temporary) / "fresh")
        result: dict[str, Any] = fresh.encoded_shares(base, other, generator)
        print(json.dumps(result), flush=True)
        bench = Bench(corpus, pairs, Path(temporary) / "work", cache / "embeddings")
        result["pool_curve"] = bench.pool_curve(base, first, generator)
        result["pool_curve_later_round"] = bench.pool_curve(first, second, generator)
    seconds = round(time.monotonic() - started, 1)
    print(json.dumps({"benchmark": "remining", "documents": corpus.height, "seconds": seconds, **result}))


if __name__ == "__main__":
    main()
