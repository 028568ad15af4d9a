"""Plant false negatives in real collections and count what each rule lets through.

``python -m benchmarks.false_negatives FOLDER [FOLDER ...] [--cache DIR]``, each folder a collection in BEIR layout.
30 % of the positives of queries with several are hidden, and 5 % of the documents get a copy with small edits; a hidden
positive, and the copy of a positive, is a false negative that is known. Ends with one line of JSON.

Prints a Markdown table for each collection, as it stands in docs/mining.md. Candidates are the model's 100 best
documents. ``let through`` is the share of the planted ones among the candidates that a rule keeps, by the rule alone
and with the guard against near-equal texts; ``planted in the first 4`` their share of the four negatives that training
takes first; ``hard kept`` the share of the other candidates that stay, and of those among the ten best. Real false
negatives are among these, since not every relevant document was judged.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from conan_assets.data.beir import read_beir_folder
from conan_assets.data.settings import BeirSource
from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.models import DEMO_MODEL
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.encoding.store import EmbeddingStore
from conan_assets.mining.candidates import Candidates, places_within, ranks_within
from conan_assets.mining.collection import Collection, collections
from conan_assets.mining.guard import Guard
from conan_assets.mining.miner import Miner
from conan_assets.mining.rules import apply_rule
from conan_assets.mining.settings import STUDENT, MiningSettings
from conan_assets.search.bm25 import BM25Retriever
from conan_assets.search.embeddings import BiEncoderRetriever

HIDDEN_SHARE = 0.3
COPIED_SHARE = 0.05
DEPTH = 100
FIRST = 4
MAX_TOKENS = 128
MODEL, LEXICAL = "minilm", "bm25"
Veto = tuple[str, str, dict[str, float]]
PERC = "top_k_perc_pos"
RULES: list[list[Veto]] = [
    [(MODEL, "top_k", {})],
    [(MODEL, "top_k_shifted", {"shift": 10})],
    [(MODEL, "top_k_abs", {"threshold": 0.7})],
    [(MODEL, "top_k_margin_pos", {"margin": 0.05})],
    *([(MODEL, PERC, {"ratio": ratio})] for ratio in (0.99, 0.97, 0.95, 0.9, 0.8)),
    *([(LEXICAL, PERC, {"ratio": ratio})] for ratio in (0.95, 0.8)),
    [(MODEL, PERC, {"ratio": 0.95}), (LEXICAL, PERC, {"ratio": 0.95})],
]


@dataclass(frozen=True)
class Planted:
    """A collection with false negatives in it: the frames mining sees, and (query_id, doc_id) of each planted one."""

    corpus: pl.DataFrame
    pairs: pl.DataFrame
    hidden: pl.DataFrame
    copies: pl.DataFrame


def plant(corpus: pl.DataFrame, pairs: pl.DataFrame, generator: np.random.Generator) -> Planted:
    """Hide positives of queries with several, leaving each at least one, and copy documents with small edits."""
    ids = ["query_id", "doc_id"]
    pairs = pairs.filter(pl.col("score") > 0)
    draw = pl.Series(generator.random(pairs.height))
    several = pairs.with_columns(place=draw).with_columns(
        place=pl.col("place").rank("ordinal").over("query_id"), positives=pl.len().over("query_id")
    )
    hide = (pl.col("positives") > 1) & (pl.col("place") <= (HIDDEN_SHARE * pl.col("positives")).ceil())
    hidden = several.filter(hide).select(ids)
    chosen = corpus[np.sort(generator.permutation(corpus.height)[: round(COPIED_SHARE * corpus.height)])]
    edited = pl.Series([edit(text, generator) for text in chosen["text"]])
    copied = chosen.with_columns(doc_id=pl.col("doc_id") + "-copy", text=edited)
    copies = pairs.select(ids).join(chosen.select("doc_id"), on="doc_id").with_columns(pl.col("doc_id") + "-copy")
    return Planted(pl.concat([corpus, copied]), pairs.join(hidden, on=ids, how="anti"), hidden, copies)


def edit(text: str, generator: np.random.Generator) -> str:
    """Return ``text`` with one small edit: typing errors, missing words, a sentence less, words before it, or case."""
    words, sentences = text.split(), text.split(". ")
    few = set(generator.permutation(len(words))[: max(1, len(words) // 25)].tolist())
    edits = [
        lambda: " ".join(word[1:] + word[:1] if i in few else word for i, word in enumerate(words)),
        lambda: " ".join(word for i, word in enumerate(words) if i not in few) or text,
        lambda: ". ".join(sentences[:-1]) if len(sentences) > 2 else text + ".",
        lambda: f"Abstract (from the conference proceedings): {text}",
        lambda: text.upper().replace(" ", "  "),
    ]
    return edits[generator.integers(len(edits))]()


def compare_rules(
    planted: Planted, store: EmbeddingStore, workdir: Path
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what was planted, and a row of figures for every rule."""
    workdir.mkdir(exist_ok=True)
    (collection,) = collections(planted.corpus.lazy(), planted.pairs.lazy(), workdir)
    encoder = Encoder(EncoderSettings(DEMO_MODEL, max_tokens=MAX_TOKENS))
    texts = collection.texts.to_list()
    model = BiEncoderRetriever(encoder, store, texts, checkpoints=workdir)
    naive = MiningSettings(veto=(), depth=DEPTH)
    guard = Guard(naive.guard, collection.texts)
    miner = Miner(naive, collection, {STUDENT: model, LEXICAL: BM25Retriever(texts)}, guard)
    found = model.search(collection.queries.to_list(), DEPTH, collection.positives)
    parts = list(miner.mine({STUDENT: found}))
    references = {MODEL: miner.references[STUDENT], LEXICAL: miner.references[LEXICAL]}
    table = _join(parts, collection, planted)
    facts = {
        "queries": len(collection.queries),
        "documents": collection.corpus_size,
        "hidden_positives": planted.hidden.height,
        "copies_of_positives": planted.copies.height,
        "of_them_candidates": int(table.is_planted.sum()),
    }
    return facts, [table.row(vetoes, references) for vetoes in RULES]


@dataclass(frozen=True)
class Table:
    """All candidates in one, sorted by query and rank, and which of them were planted."""

    queries: np.ndarray
    scores: dict[str, np.ndarray]
    guarded: np.ndarray
    is_hidden: np.ndarray
    is_copy: np.ndarray

    @property
    def is_planted(self) -> np.ndarray:
        """Mask of the known false negatives."""
        return self.is_hidden | self.is_copy

    def row(self, vetoes: list[Veto], references: dict[str, np.ndarray]) -> dict[str, Any]:
        """Return the figures of candidates that pass all ``vetoes``, in per cent."""
        kept = np.ones(len(self.queries), bool)
        for teacher, rule, parameters in vetoes:
            scores = self.scores[teacher]
            ranks = ranks_within(self.queries, scores)
            kept &= apply_rule(rule, scores, references[teacher][self.queries], ranks, parameters)
        both = kept & ~self.guarded
        best = places_within(self.queries) < 10
        return {
            "rule": " + ".join(
                " ".join([teacher, rule, *(f"{value:g}" for value in parameters.values())])
                for teacher, rule, parameters in vetoes
            ),
            "hidden let through": percent(kept[self.is_hidden]),
            "with guard": percent(both[self.is_hidden]),
            "copies let through": percent(kept[self.is_copy]),
            "with guard ": percent(both[self.is_copy]),
            "planted in the first 4": self._in_first(kept),
            "with guard  ": self._in_first(both),
            "hard kept": percent(both[~self.is_planted]),
            "of the 10 best": percent(both[~self.is_planted & best]),
        }

    def _in_first(self, kept: np.ndarray) -> float | None:
        rows = np.flatnonzero(kept)
        first = rows[places_within(self.queries[rows]) < FIRST]
        return percent(self.is_planted[first])


def percent(mask: np.ndarray) -> float | None:
    """Return the share of true values in per cent; None of nothing."""
    return round(100 * float(mask.mean()), 2) if len(mask) else None


def _join(parts: list[Candidates], collection: Collection, planted: Planted) -> Table:
    def column(values: Iterator[np.ndarray]) -> np.ndarray:
        return np.concatenate(list(values))

    queries, documents = column(part.queries for part in parts), column(part.documents for part in parts)
    ids = collection.ids_frame(queries, documents)

    def among(false_negatives: pl.DataFrame) -> np.ndarray:
        marked = ids.join(
            false_negatives.with_columns(found=True), on=["query_id", "doc_id"], how="left", maintain_order="left"
        )
        return marked["found"].fill_null(False).to_numpy()

    return Table(
        queries=queries,
        scores={
            name: column(part.scores[key] for part in parts) for name, key in ((MODEL, STUDENT), (LEXICAL, LEXICAL))
        },
        guarded=column(
            part.verdicts.reasons().str.contains("equal_to_positive").fill_null(False).to_numpy() for part in parts
        ),
        is_hidden=among(planted.hidden),
        is_copy=among(planted.copies),
    )


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return rows as a Markdown table."""
    lines = ["| " + " | ".join(name.strip() for name in rows[0]) + " |", "|" + "---|" * len(rows[0])]
    return "\n".join(
        [
            *lines,
            *("| " + " | ".join("–" if value is None else str(value) for value in row.values()) + " |" for row in rows),
        ]
    )


def main() -> None:
    """Print a table for every collection, and all figures as one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.false_negatives")
    parser.add_argument("folders", type=Path, nargs="+", help="collections in BEIR layout")
    parser.add_argument("--cache", type=Path, help="keep embeddings there for the next run")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        store = EmbeddingStore((options.cache or Path(temporary)) / "embeddings")
        for folder in options.folders:
            corpus, pairs = read_beir_folder(folder.name, BeirSource(kind="beir", path=folder))
            planted = plant(corpus, pairs, np.random.default_rng(options.seed))
            facts, rows = compare_rules(planted, store, Path(temporary) / folder.name)
            print(
                f"\n{folder.name}: " + ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in facts.items())
            )
            print(f"\n{markdown(rows)}", flush=True)
            results[folder.name] = {**facts, "rules": rows}
    print(json.dumps({"benchmark": "false_negatives", "collections": results}))


if __name__ == "__main__":
    main()
