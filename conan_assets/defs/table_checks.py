"""Checks of the tables before any model is run: their schemas, and what must hold between them."""

from collections.abc import Callable, Iterator, Mapping

import dagster as dg
import polars as pl

from conan_assets.data.tables import CANDIDATES, CORPUS, PAIRS, WRITTEN_PAIRS, Table, TableError, check_table
from conan_assets.defs.corpus import CORPUS_KEY, JUDGED_KEY, PAIRS_KEY, judged_key
from conan_assets.defs.storage import Storage
from conan_assets.defs.teachers import teacher_key
from conan_assets.settings import Settings

Finding = tuple[bool, Mapping[str, int | str]]
"""Whether a check passes, and what it saw."""

Look = Callable[[Storage, dg.AssetKey], Finding]

WRITTEN_KEY = dg.AssetKey("prompt_response_pairs")
TRAINING_KEY = dg.AssetKey("training_pairs")


def build_table_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """Return the blocking checks of all tables up to the teachers' scores."""
    return [
        check_asset(CORPUS_KEY, {"schema": has_schema(CORPUS), "not_empty": _has_rows}),
        check_asset(
            PAIRS_KEY,
            {
                "schema": has_schema(PAIRS),
                "documents_exist": _documents_exist,
                "same_sources_as_the_corpus": _same_sources,
            },
            [CORPUS_KEY],
        ),
        check_asset(
            WRITTEN_KEY,
            {
                "schema": has_schema(WRITTEN_PAIRS),
                "documents_exist": _documents_exist,
                "only_for_training": _only_for_training(settings),
                **({"splits_apart": _splits_apart} if settings.documents else {}),
            },
            [CORPUS_KEY],
        ),
        *([check_asset(JUDGED_KEY, {"schema": has_schema(PAIRS)})] if judged_key(settings) == JUDGED_KEY else []),
        check_asset(TRAINING_KEY, {"schema": has_schema(PAIRS), "not_empty": _has_rows}),
        *(
            check_asset(
                teacher_key(name), {"schema": has_schema(CANDIDATES), "covers_every_query": _covers}, [TRAINING_KEY]
            )
            for name in settings.teachers
        ),
    ]


def check_asset(
    key: dg.AssetKey, looks: Mapping[str, Look], others: list[dg.AssetKey] | None = None
) -> dg.AssetChecksDefinition:
    """Return blocking checks of an asset; ``others`` are the assets that the checks read besides it."""
    specs = [
        dg.AssetCheckSpec(
            name, asset=key, blocking=True, additional_deps=others, description=getattr(look, "__doc__", None)
        )
        for name, look in looks.items()
    ]

    @dg.multi_asset_check(name=f"{'_'.join(key.path)}_table_checks".replace("-", "_"), specs=specs)
    def checks(storage: Storage) -> Iterator[dg.AssetCheckResult]:
        for name, look in looks.items():
            passed, seen = look(storage, key)
            yield dg.AssetCheckResult(asset_key=key, check_name=name, passed=passed, metadata=dict(seen))

    return checks


def has_schema(schema: Table) -> Look:
    """Return the check that a table has its columns, types, unique keys, and no blank in what is required."""

    def look(storage: Storage, key: dg.AssetKey) -> Finding:
        frame = storage.table(key).collect()
        try:
            check_table(frame, schema, key.to_user_string())
        except TableError as error:
            return False, {"problem": str(error)}
        return True, {"rows": frame.height}

    look.__doc__ = f"Check columns, types, keys and required values of the {schema.name} table."
    return look


def _has_rows(storage: Storage, key: dg.AssetKey) -> Finding:
    """Find at least one row."""
    rows = _count(storage.table(key))
    return rows > 0, {"rows": rows}


def _documents_exist(storage: Storage, key: dg.AssetKey) -> Finding:
    """Find every document that is named in the corpus."""
    named = storage.table(key).filter(pl.col("doc_id").is_not_null())
    missing = _count(named.join(storage.table(CORPUS_KEY), on="doc_id", how="anti"))
    return missing == 0, {"pairs_without_their_document": missing}


def _same_sources(storage: Storage, key: dg.AssetKey) -> Finding:
    """Compare the revisions of the sources that pairs and corpus were read from."""
    here, there = (storage.current(asset).report.get("sources") for asset in (key, CORPUS_KEY))
    return here == there, {"way_out": "materialize raw_corpus and raw_pairs together"}


def _only_for_training(settings: Settings) -> Look:
    def look(storage: Storage, key: dg.AssetKey) -> Finding:
        """Find no written pair in a split that models are evaluated on, but of sources that have documents alone."""
        queried = pl.col("dataset").is_in(list(settings.documents)).not_()
        wrong = _count(storage.table(key).filter(pl.col("split") != "train", queried))
        return wrong == 0, {"pairs_of_other_splits": wrong}

    return look


def _splits_apart(storage: Storage, key: dg.AssetKey) -> Finding:
    """Find no held-out question about a passage, a near-equal one or a group of documents that is trained on."""
    from conan_assets.data.near_texts import near_between

    pairs = storage.table(key).drop_nulls("document_group").collect()
    texts = storage.table(CORPUS_KEY).select("doc_id", passage="text").collect()
    train, held_out = (
        pairs.filter((pl.col("split") == "train") == trains).join(texts, on="doc_id") for trains in (True, False)
    )
    group = pl.struct("dataset", "document_group")
    splits = pairs.group_by(group).agg(pl.col("split").n_unique())
    near, _ = near_between(train["passage"].unique(), held_out["passage"].unique(), storage.spread)
    seen = {
        "passages_in_both": held_out.join(train, on="doc_id", how="semi").height,
        "near_equal_passages": len(near),
        "document_groups_in_several_splits": splits.filter(pl.col("split") > 1).height,
    }
    return not any(seen.values()), seen


def _covers(storage: Storage, key: dg.AssetKey) -> Finding:
    """Find candidates of every training query that has a document in the corpus."""
    queries = storage.table(TRAINING_KEY).filter(pl.col("task") == "retrieval", pl.col("doc_id").is_not_null())
    missing = _count(queries.unique("query_id").join(storage.table(key), on="query_id", how="anti"))
    return missing == 0, {"queries_without_candidates": missing}


def _count(frame: pl.LazyFrame) -> int:
    return int(frame.select(pl.len()).collect().item())
