"""Checks of every round's mined negatives: what must not be among them stops the graph, the rest warns."""

from collections.abc import Iterator

import dagster as dg
import polars as pl

from conan_assets.data.training_files import judgements_of
from conan_assets.defs.storage import Storage

MOST_SHORT = 0.1


def check_negatives(negatives: dg.AssetsDefinition) -> dg.AssetChecksDefinition:
    """Return the checks of one round's `hard_negatives`."""

    def spec(name: str, description: str, blocking: bool = False) -> dg.AssetCheckSpec:
        return dg.AssetCheckSpec(
            name,
            asset=negatives.key,
            description=description,
            blocking=blocking,
            additional_deps=["training_pairs", "raw_pairs"],
        )

    @dg.multi_asset_check(
        name=f"{negatives.key.path[0]}_negatives_checks",
        specs=[
            spec("no_positive_is_a_negative", "No kept negative is a labelled positive of its query.", blocking=True),
            spec("some_were_kept", "The rules left something to train on.", blocking=True),
            spec("enough_for_most_queries", f"At most {MOST_SHORT:.0%} of the queries have fewer than they need."),
            spec("no_query_of_an_evaluation_set", "Nothing was mined for a query that a model is evaluated on."),
        ],
    )
    def checks(storage: Storage) -> Iterator[dg.AssetCheckResult]:
        report = storage.current(negatives.key).report
        wrong = _positives_among_negatives(storage, negatives.key)
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


def _positives_among_negatives(storage: Storage, key: dg.AssetKey) -> int:
    judged = judgements_of(*(storage.table(dg.AssetKey(name)) for name in ("training_pairs", "raw_pairs")))
    kept = storage.table(key).filter(pl.col("verdict") == "kept")
    positives = judged.filter(pl.col("score") > 0)
    return kept.join(positives, on=["query_id", "doc_id"], how="semi").select(pl.len()).collect().item()


def _result(
    negatives: dg.AssetsDefinition, name: str, passed: bool, metadata: dict[str, int], warn: bool = False
) -> dg.AssetCheckResult:
    severity = dg.AssetCheckSeverity.WARN if warn else dg.AssetCheckSeverity.ERROR
    return dg.AssetCheckResult(
        asset_key=negatives.key, check_name=name, passed=passed, metadata=metadata, severity=severity
    )
