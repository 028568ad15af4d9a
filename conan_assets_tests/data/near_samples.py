"""Texts with near-duplicates among them, and all that looks for near-duplicates."""

import random
import tempfile
from pathlib import Path

import polars as pl

from conan_assets.compute import Compute
from conan_assets.data.curation import REMOVED, curate
from conan_assets.data.curation_settings import CurationSettings
from conan_assets.data.document_groups import split_passages
from conan_assets.data.settings import DocumentsSource
from conan_assets_tests.data.frames import make_corpus, make_pairs


def near_texts_found_by(compute: Compute) -> tuple[list[str], list[str]]:
    """Return why pairs are removed by a curation, and which groups the passages of documents form."""
    chance = random.Random(0)
    texts = [_text(chance, 40) for _ in range(100)]
    texts += [f"{text} or so" for text in texts[:40]]
    queries = [_text(chance, 8) for _ in texts]
    queries[100:140] = [f"{query}?" for query in queries[:40]]
    rows = [{"query": query, "doc_id": f"wiki:d{number}"} for number, query in enumerate(queries, start=1)]
    corpus, known = make_corpus(*texts), {"hub": [f"{query}!" for query in queries[50:60]]}
    tables = make_pairs(*rows), make_pairs().clear(), corpus
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "table.parquet"
        curate(*(table.lazy() for table in tables), known, CurationSettings(), target, compute=compute)
        removed = pl.read_parquet(target.with_name(REMOVED)).rows()
    assert {reason for _, reason in removed} == {"near_duplicate", "near_evaluation_query"}
    groups = split_passages("wiki", corpus, DocumentsSource(kind="documents", path=Path(".")), compute)
    assert 3 < groups["group"].n_unique() < 140
    return removed, groups.rows()


def _text(chance: random.Random, count: int) -> str:
    return " ".join(f"word{chance.randrange(5_000)}" for _ in range(count))
