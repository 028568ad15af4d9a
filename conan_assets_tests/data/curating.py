"""A curation of a few pairs, as the tests of its steps call it."""

import tempfile
from pathlib import Path

import polars as pl

from conan_assets.data.curation import REMOVED, curate
from conan_assets.data.curation_settings import CurationSettings
from conan_assets.data.tables import PAIRS
from conan_assets_tests.data.frames import make_corpus, make_pairs

CORPUS = make_corpus("Cats purr when they are content.", "Dogs bark at strangers.", "Birds sing at dawn.")
LONG_QUERY = "which of the animals in the house is the one that purrs when it is content"
NONE = pl.DataFrame(schema=dict(PAIRS.columns))
KEEP = {"query": "which animal purrs", "doc_id": "wiki:d1", "pair_id": "keep", "query_id": "wiki:keep"}


def run(*rows, generated=NONE, queries=(), corpus=CORPUS, languages=None, teacher=None, **settings):
    """Return (training pairs, report) of KEEP and ``rows``."""
    tables = [make_pairs(KEEP, *rows).lazy(), generated.lazy(), corpus.lazy()]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "table.parquet"
        report = curate(*tables, {"hub": queries}, CurationSettings(**settings), target, languages, teacher)
        assert {path.name for path in target.parent.iterdir()} == {"table.parquet", REMOVED}, "working files are left"
        return pl.read_parquet(target), report


def removed(report) -> dict[str, int]:
    return {row["reason"]: row["removed"] for row in report["removed_by_reason"] if row["removed"]}
