"""The files a trainer reads: samples that name texts by id, and each text once.

``texts.parquet`` (text_id, text) · ``retrieval.parquet`` (sample_id, dataset, query, positives, candidates): lists of
text ids, candidates ranked best first; for distillation also positive_scores and candidate_scores · ``sts.parquet``
(text_a, text_b, score) · ``classification.parquet`` (text, label, dataset) · ``dev.parquet``,
like ``retrieval.parquet``.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import polars as pl

from conan_assets.data.tables import DOCUMENT_TEXT, QUERY_DROPPED

TRAINING_FILES_VERSION = 1
"""To be raised with the files that the same tables become."""

DEV_CANDIDATES = 30
MOST_DEV_SAMPLES = 500

TEXT_ID = pl.coalesce("doc_id", pl.concat_str(pl.lit("pair:"), pl.col("pair_id")))


def judgements_of(training_pairs: pl.LazyFrame, raw_pairs: pl.LazyFrame) -> pl.LazyFrame:
    """Return the training pairs and what else was judged about their queries, curated away or judged irrelevant.

    Mining must know it: a positive that is not trained on is still no negative; a document judged irrelevant is one.
    """
    columns = training_pairs.collect_schema().names()
    judged = raw_pairs.filter(pl.col("split") == "train").select(columns)
    ids = judged.join(training_pairs.select("pair_id", asked_as="query_id"), on="pair_id").select(
        "query_id", "asked_as"
    )
    asked = pl.concat([ids, training_pairs.select("query_id", asked_as="query_id")]).unique()
    rest = judged.join(asked, on="query_id").with_columns(query_id="asked_as").select(columns)
    rest = rest.join(training_pairs, on="pair_id", how="anti").join(
        training_pairs, on=["query_id", "doc_id"], how="anti"
    )
    texts = pl.coalesce("doc_id", "pair_id")
    return pl.concat(
        [training_pairs, rest.sort("pair_id", "query_id").filter(pl.struct("query_id", texts).is_first_distinct())]
    )


def write_training_files(
    corpus: pl.DataFrame,
    pairs: pl.DataFrame,
    judgements: pl.DataFrame,
    negatives: pl.DataFrame | None,
    directory: Path,
    dev: pl.DataFrame | None = None,
    teacher_scores: pl.DataFrame | None = None,
    weights: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, int]:
    """Write the training files of one round and return how many rows each holds.

    Parameters
    ----------
    corpus, pairs
        The corpus and the training pairs.
    judgements
        What :func:`judgements_of` returns: the texts of negatives outside of the corpus.
    negatives
        The round's mined negatives, or None to train on in-batch negatives alone. A query of which none was kept has
        in-batch negatives only; one that mining dropped is left out.
    directory
        Where the files go; created if need be.
    dev
        Judged pairs of a dev split that are measured during training, each query among BM25's best documents.
    teacher_scores
        The teacher's scores that are learnt: query_id, doc_id, score.
    weights
        How often the samples of a dataset are written, see :func:`repeated`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    asked = _samples(pairs)
    samples = _with_candidates(asked, negatives)
    if teacher_scores is not None:
        for column in ("positives", "candidates"):
            samples = _with_scores(samples, column, teacher_scores)
    measured = _dev_samples(corpus, dev) if dev is not None else samples.clear()
    outside = judgements if dev is None else pl.concat([judgements, dev])
    texts = _texts(corpus, outside, pl.concat([samples, measured], how="diagonal"))
    graded = repeated(pairs.filter(pl.col("task") == "sts"), "pair_id", weights)
    labelled = repeated(pairs.filter(pl.col("task") == "classification"), "pair_id", weights)
    tables = {
        "texts": texts,
        "retrieval": repeated(samples.rename({"query_id": "sample_id"}), "sample_id", weights),
        "sts": graded.select(text_a="query", text_b="text", score="score"),
        "classification": labelled.select(text="query", label="text", dataset="dataset"),
        "dev": measured.rename({"query_id": "sample_id"}),
    }
    for name, table in tables.items():
        table.write_parquet(directory / f"{name}.parquet")
    return {
        "retrieval_samples": tables["retrieval"].height,
        "queries_without_hard_negatives": samples.filter(pl.col("candidates").list.len() == 0).height,
        "queries_dropped": asked.height - samples.height,
        "training_texts": texts.height,
        "sts_samples": tables["sts"].height,
        "classification_samples": tables["classification"].height,
        "dev_samples": measured.height,
    }


def _samples(pairs: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each query with a positive: query_id, dataset, query, positives."""
    judged = pairs.filter(pl.col("task") == "retrieval", pl.col("score") > 0).with_columns(TEXT_ID.alias("text_id"))
    return judged.group_by("query_id", maintain_order=True).agg(
        pl.col("dataset").first(),
        pl.col("query").first(),
        pl.col("text_id").unique(maintain_order=True).alias("positives"),
    )


def _dev_samples(corpus: pl.DataFrame, dev: pl.DataFrame) -> pl.DataFrame:
    """Return samples whose candidates are BM25's best documents of the query's dataset that are not its positives."""
    from conan_assets.lexical import BM25

    samples = _samples(dev).join(corpus.select("dataset").unique(), on="dataset", how="semi", maintain_order="left")
    samples = samples.gather_every(max(1, -(-samples.height // MOST_DEV_SAMPLES)))
    found = {}
    for (dataset,), asked in samples.group_by("dataset"):
        documents = corpus.filter(pl.col("dataset") == dataset)
        index, ids = BM25(documents.select(DOCUMENT_TEXT).to_series().to_list()), documents["doc_id"]
        for query_id, query in asked.select("query_id", "query").iter_rows():
            found[query_id] = ids.gather(index.search(query, DEV_CANDIDATES)[0]).to_list()
    candidates = pl.Series("candidates", [found[query_id] for query_id in samples["query_id"]], pl.List(pl.String))
    ranked = samples.with_columns(candidates.list.set_difference(samples["positives"]))
    return ranked.filter(pl.col("candidates").list.len() > 0)


def _with_scores(samples: pl.DataFrame, column: str, teacher_scores: pl.DataFrame) -> pl.DataFrame:
    """Add the teacher's score of each text that a list column names; NaN where it gave none."""
    name = f"{column.removesuffix('s')}_scores"
    listed = samples.select("query_id", doc_id=column).explode("doc_id").drop_nulls()
    scored = listed.join(teacher_scores, on=["query_id", "doc_id"], how="left", maintain_order="left")
    lists = scored.group_by("query_id", maintain_order=True).agg(pl.col("score").fill_null(float("nan")).alias(name))
    empty = pl.lit([], dtype=pl.List(pl.Float32))
    joined = samples.join(lists, on="query_id", how="left", maintain_order="left")
    return joined.with_columns(pl.col(name).fill_null(empty))


def _with_candidates(samples: pl.DataFrame, negatives: pl.DataFrame | None) -> pl.DataFrame:
    """Return the samples with their ranked negatives, without the queries that mining dropped."""
    if negatives is None:
        return samples.with_columns(candidates=pl.lit([], dtype=pl.List(pl.String)))
    dropped = negatives.filter(pl.col("reason") == QUERY_DROPPED)
    left = samples.join(dropped, on="query_id", how="anti", maintain_order="left")
    ranked = left.join(_ranked_pools(negatives), on="query_id", how="left", maintain_order="left")
    return ranked.with_columns(pl.col("candidates").fill_null([]))


def _ranked_pools(negatives: pl.DataFrame) -> pl.DataFrame:
    kept = negatives.filter(pl.col("verdict") == "kept").sort("query_id", "order")
    return kept.group_by("query_id", maintain_order=True).agg(
        pl.col("doc_id").repeat_by("copies").explode().alias("candidates")
    )


def _texts(corpus: pl.DataFrame, pairs: pl.DataFrame, samples: pl.DataFrame) -> pl.DataFrame:
    named = pl.concat([samples.select(text_id=pl.col(name).explode()) for name in ("positives", "candidates")])
    documents = corpus.select(text_id="doc_id", text=DOCUMENT_TEXT)
    outside = pairs.filter(pl.col("doc_id").is_null(), pl.col("task") == "retrieval").select(
        text_id=TEXT_ID, text="text"
    )
    return pl.concat([documents, outside]).join(
        named.drop_nulls().unique(), on="text_id", how="semi", maintain_order="left"
    )


def repeated(rows: pl.DataFrame, name: str, weights: Mapping[str, float]) -> pl.DataFrame:
    """Return ``rows`` as often as the weight of their ``dataset`` says, copies beside one another.

    A weight of 2.5 gives every row twice and half of the rows a third time; 0.5 keeps half of them. Which ones is
    decided by a hash of the id, the same in every run.

    Parameters
    ----------
    rows
        Samples with a column ``dataset``.
    name
        The column of their ids; the second copy's ends in ``#2``.
    weights
        Weight by dataset; 1 where there is none.
    """
    changed = {dataset: weight for dataset, weight in weights.items() if weight != 1}
    if not rows["dataset"].is_in(list(changed)).any():
        return rows
    weight = pl.col("dataset").replace_strict(changed, default=1.0, return_dtype=pl.Float64)
    chance = pl.col(name).map_elements(_chance, return_dtype=pl.Float64)
    copies = weight.floor() + (chance < weight - weight.floor())
    numbered = rows.with_columns(copy=pl.int_ranges(copies.cast(pl.Int64))).explode("copy").drop_nulls("copy")
    again = pl.concat_str(pl.col(name), pl.lit("#"), pl.col("copy") + 1)
    return numbered.with_columns(pl.when(pl.col("copy") > 0).then(again).otherwise(pl.col(name)).alias(name)).drop(
        "copy"
    )


def _chance(identifier: str) -> float:
    return int.from_bytes(hashlib.sha256(f"weight:{identifier}".encode()).digest()[:8]) / 2**64
