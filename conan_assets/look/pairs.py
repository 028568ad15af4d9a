"""What became of the pairs of a query in curation: kept to train on, or removed, and why."""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from conan_assets.data.curation import REMOVED
from conan_assets.data.tables import DOCUMENT_TEXT
from conan_assets.look.home import Home, find_query, paragraph


def look_at_pairs(home: Home, wanted: str | None, show: int, longest: int) -> str:
    """Return the pairs of the query ``wanted`` with what became of them, or examples of what was kept and removed.

    Parameters
    ----------
    show
        How many pairs.
    longest
        Characters of each text.

    Raises
    ------
    LookError
        No pair to train on has such a query.
    ArtifactError
        `training_pairs` is not there yet.
    """
    report = home.artifact("training_pairs", REMOVED).report
    if wanted is None:
        examples = [*report["kept_examples"], *report["rejected_examples"]]
        return f"{_counted(report)}\n\n" + "\n\n".join("\n".join(_lines(row, longest)) for row in examples)
    sources = [home.table(key) for key in ("raw_pairs", "prompt_response_pairs")]
    pairs = pl.concat(sources, how="diagonal").filter(pl.col("split") == "train")
    trained = home.table("training_pairs").select("pair_id", asked_as="query_id")
    removed = home.table("training_pairs", REMOVED)
    corpus = home.table("raw_corpus").select("doc_id", document=DOCUMENT_TEXT)
    query_id = find_query(pairs, wanted, "queries of pairs to train on")
    found = (
        pairs.filter(pl.col("query_id") == query_id)
        .join(trained, on="pair_id", how="left", maintain_order="left")
        .join(removed, on="pair_id", how="left", maintain_order="left")
        .join(corpus, on="doc_id", how="left", maintain_order="left")
        .with_columns(document=pl.coalesce("document", "text"))
        .collect()
    )
    told = "\n\n".join("\n".join(_lines(row, longest)) for row in found.head(show).iter_rows(named=True))
    more = f"\n\nand {found.height - show} more: --show {found.height} shows all" if found.height > show else ""
    return told + more


def _counted(report: Mapping[str, Any]) -> str:
    removed = ", ".join(f"{row['removed']:,} {row['reason']}" for row in report["removed_by_reason"] if row["removed"])
    return f"{report['rows_out']:,} of {report['rows_in']:,} pairs kept{removed and f'; removed {removed}'}; examples:"


def _lines(pair: Mapping[str, Any], longest: int) -> Iterator[str]:
    yield f"{f'removed: {reason}' if (reason := pair.get('reason')) else 'kept'}  {pair['pair_id']} ({pair['origin']})"
    asked_as = pair.get("asked_as") or pair["query_id"]
    renamed = f", trained on as {asked_as}, which asks the same" if asked_as != pair["query_id"] else ""
    yield f"query {pair['query_id']}{renamed}"
    yield paragraph(pair["query"], longest)
    yield f"document {pair['doc_id'] or 'of its own'}"
    yield paragraph(pair["document"], longest)
