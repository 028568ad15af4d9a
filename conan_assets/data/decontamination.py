"""Evaluation sets and what of them stands among the training pairs: as it is, normalised, or nearly."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl

from conan_assets.compute import Compute
from conan_assets.data.blocks import BLOCK_ROWS, read_blocks
from conan_assets.data.curation_settings import NearDuplicateSettings
from conan_assets.data.judged import Documents, JudgedPairs, numbered
from conan_assets.data.near_duplicates import ComparedTexts, near_to_known
from conan_assets.data.shingles import characters
from conan_assets.data.text import cleaned, text_key

WAYS = {
    "evaluation_query": "exact",
    "normalised_evaluation_query": "normalised",
    "near_evaluation_query": "near_duplicate",
}


class EvaluationSets:
    """The queries of evaluation sets, and the pairs that dev and test splits judge.

    Parameters
    ----------
    queries
        Texts of queries by name of a further evaluation set, such as a hub benchmark.
    raw_pairs
        PAIRS of every split: dev and test are evaluation sets.
    documents
        The documents that their pairs point to.

    Attributes
    ----------
    queries
        ``evaluation_set``, ``query``, ``query_key`` and ``query_hash``, a row for each query of each set.
    pair_keys
        Keys of the judged pairs.
    """

    def __init__(self, queries: Mapping[str, Iterable[str]], raw_pairs: pl.LazyFrame, documents: Documents) -> None:
        named = [pl.DataFrame(schema={"evaluation_set": pl.String, "query": pl.String})]
        named += [
            pl.DataFrame({"query": list(texts)}, schema={"query": pl.String}).select(
                evaluation_set=pl.lit(name), query=cleaned(pl.col("query"))
            )
            for name, texts in queries.items()
        ]
        pair_keys = [pl.Series("pair_key", [], pl.UInt64)]
        for block in read_blocks(raw_pairs):
            held_out = numbered(block.filter(pl.col("split") != "train"), documents)
            pair_keys.append(held_out["pair_key"])
            name = pl.concat_str("dataset", pl.lit("/"), "split").alias("evaluation_set")
            sentences = held_out.filter(pl.col("task") == "sts").select(name, query="text")
            named += [held_out.select(name, "query"), sentences.drop_nulls()]
        self.queries = (
            pl.concat(named)
            .unique(maintain_order=True)
            .with_columns(query_key=text_key(pl.col("query")), query_hash=pl.col("query").hash())
        )
        self.pair_keys = pl.concat(pair_keys).unique()

    def find(self, judged: JudgedPairs, near: NearDuplicateSettings | None, compute: Compute) -> list[dict[str, Any]]:
        """Remove from ``judged`` what an evaluation set holds; return how many pairs each set removes in each way.

        A pair that two sets hold is counted for both; a query goes for the closest of the three ways.
        """
        found = {}
        for reason, key in (("evaluation_query", "query_hash"), ("normalised_evaluation_query", "query_key")):
            second = self._known_sentences(judged, reason).select("row", key)
            left = pl.concat([judged.left(reason, "row", key), second])
            found[reason] = left.join(self.queries.select("evaluation_set", key).unique(), on=key)
            judged.remove(reason, found[reason]["row"])
        if near is not None:
            found["near_evaluation_query"] = self._near(judged, near, compute)
            judged.remove("near_evaluation_query", found["near_evaluation_query"]["row"])
        left = judged.left("evaluation_pair", "row", "pair_key")
        judged.remove("evaluation_pair", left.filter(pl.col("pair_key").is_in(self.pair_keys.implode()))["row"])
        return self._counts(found)

    def _known_sentences(self, judged: JudgedPairs, reason: str) -> pl.DataFrame:
        """Return ``row`` and both keys of the second sentences of graded pairs that are a query, normalised."""
        known = _second_sentences(judged, reason).join(self.queries.select("query_key").unique(), on="query_key")
        texts = judged.passages.gather(known["document"].to_numpy().astype(np.int64))
        return known.with_columns(query_hash=texts.hash())

    def _near(self, judged: JudgedPairs, settings: NearDuplicateSettings, compute: Compute) -> pl.DataFrame:
        """Return ``row`` and ``evaluation_set`` of the pairs whose query is nearly one of an evaluation set.

        So is a second sentence of a graded pair: they are added to the file of queries to be compared.
        """
        second = _second_sentences(judged, "near_evaluation_query")
        start = len(judged.queries)
        for block in second.iter_slices(BLOCK_ROWS):
            judged.queries.append(judged.passages.gather(block["document"].to_numpy().astype(np.int64)))
        number = pl.int_range(start, start + pl.len(), dtype=pl.UInt32)
        left = pl.concat(
            [
                judged.left("near_evaluation_query", "row", "query_key").with_columns(number="row"),
                second.select("row", "query_key", number=number),
            ]
        )
        asked = left.unique("query_key", keep="first", maintain_order=True)
        known = self.queries.unique("query_key", keep="first", maintain_order=True)
        first = len(judged.queries)
        judged.queries.append(known["query"])
        numbers = np.concatenate([np.arange(first, first + known.height), asked["number"].to_numpy().astype(np.int64)])
        compared = ComparedTexts(judged.queries, numbers, characters, compute=compute)
        earlier, later = near_to_known(compared, known.height, settings)
        pairs = pl.DataFrame(
            {
                "query_key": asked["query_key"].gather(later - known.height),
                "known_key": known["query_key"].gather(earlier),
            }
        )
        sets = self.queries.select("evaluation_set", known_key="query_key").unique()
        return left.join(pairs, on="query_key").join(sets, on="known_key")

    def _counts(self, found: Mapping[str, pl.DataFrame]) -> list[dict[str, Any]]:
        table = self.queries.group_by("evaluation_set").agg(queries=pl.col("query_key").n_unique())
        for reason, name in WAYS.items():
            rows = found.get(reason)
            if rows is None:
                continue
            counts = rows.group_by("evaluation_set").agg(pl.col("row").n_unique().alias(name))
            table = table.join(counts, on="evaluation_set", how="left").with_columns(pl.col(name).fill_null(0))
        return table.sort("evaluation_set").to_dicts()


def _second_sentences(judged: JudgedPairs, reason: str) -> pl.DataFrame:
    """Return ``row``, ``document`` and ``query_key`` of the second sentences of graded pairs left for ``reason``."""
    left = judged.left(reason, "row", "task", "document", "document_key").filter(pl.col("task") == "sts")
    return left.select("row", "document", query_key="document_key")
