"""Checks of every round's mined negatives: what must not be among them stops the graph, the rest warns."""

from collections.abc import Iterator, Mapping

import dagster as dg
import polars as pl

from conan_assets.data.tables import DOCUMENT_TEXT, NEGATIVES
from conan_assets.data.training_files import TEXT_ID, judgements_of
from conan_assets.defs.corpus import CORPUS_KEY
from conan_assets.defs.storage import Storage
from conan_assets.defs.table_checks import TRAINING_KEY, has_schema

MOST_SHORT = 0.1


def check_negatives(negatives: dg.AssetsDefinition, judged: dg.AssetKey) -> dg.AssetChecksDefinition:
    """Return the checks of one round's `hard_negatives`, mined with the pairs of the asset ``judged``."""

    def spec(name: str, description: str, blocking: bool = False) -> dg.AssetCheckSpec:
        return dg.AssetCheckSpec(
            name,
            asset=negatives.key,
            description=description,
            blocking=blocking,
            additional_deps=[TRAINING_KEY, judged, CORPUS_KEY],
        )

    @dg.multi_asset_check(
        name=f"{negatives.key.path[0]}_negatives_checks",
        specs=[
            spec("schema", "Columns, types, keys and verdicts of the table are right.", blocking=True),
            spec("no_empty_negative", "Every kept negative is a document with a text.", blocking=True),
            spec("no_positive_is_a_negative", "No kept negative is a labelled positive of its query.", blocking=True),
            spec("some_were_kept", "The rules left something to train on.", blocking=True),
            spec("enough_for_most_queries", f"At most {MOST_SHORT:.0%} of the queries have fewer than they need."),
            spec("no_query_of_an_evaluation_set", "Nothing was mined for a query that a model is evaluated on."),
        ],
    )
    def checks(storage: Storage) -> Iterator[dg.AssetCheckResult]:
        report = storage.current(negatives.key).report
        passed, seen = has_schema(NEGATIVES)(storage, negatives.key)
        yield _result(negatives, "schema", passed, seen)
        judgements = judgements_of(storage.table(TRAINING_KEY), storage.table(judged))
        kept = storage.table(negatives.key).filter(pl.col("verdict") == "kept")
        empty = _count(kept.join(_with_text(storage, judgements), on="doc_id", how="anti"))
        yield _result(negatives, "no_empty_negative", empty == 0, {"empty_negatives": empty})
        positives = judgements.filter(pl.col("score") > 0)
        wrong = _count(kept.join(positives, on=["query_id", "doc_id"], how="semi"))
        short = report["queries_short"] / max(report["queries"], 1)
        yield _result(negatives, "no_positive_is_a_negative", wrong == 0, {"positives_among_them": wrong})
        yield _result(negatives, "some_were_kept", report["kept"] > 0, {"kept": report["kept"]})
        yield _result(
            negatives,
            "enough_for_most_queries",
            short <= MOST_SHORT,
            {"queries_short": report["queries_short"]},
            warn=True,
        )
        overlap = report["queries_in_evaluation"]
        yield _result(negatives, "no_query_of_an_evaluation_set", overlap == 0, {"queries": overlap})

    return checks


def _with_text(storage: Storage, judgements: pl.LazyFrame) -> pl.LazyFrame:
    """Return ``doc_id`` of the documents that have a text, in the corpus or judged outside of it."""
    inside = storage.table(CORPUS_KEY).filter(DOCUMENT_TEXT != "").select("doc_id")
    outside = judgements.filter(pl.col("doc_id").is_null(), pl.col("text") != "").select(doc_id=TEXT_ID)
    return pl.concat([inside, outside])


def _count(rows: pl.LazyFrame) -> int:
    count: int = rows.select(pl.len()).collect().item()
    return count


def _result(
    negatives: dg.AssetsDefinition, name: str, passed: bool, metadata: Mapping[str, int | str], warn: bool = False
) -> dg.AssetCheckResult:
    severity = dg.AssetCheckSeverity.WARN if warn else dg.AssetCheckSeverity.ERROR
    return dg.AssetCheckResult(
        asset_key=negatives.key, check_name=name, passed=passed, metadata=dict(metadata), severity=severity
    )
