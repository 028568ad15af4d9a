"""The files a trainer reads: samples that name texts by id, and each text once.

``texts.parquet`` (text_id, text) · ``retrieval.parquet`` (sample_id, dataset, query, positives, candidates): lists of
text ids, candidates ranked best first · ``sts.parquet`` (text_a, text_b, score).
"""

from pathlib import Path

import polars as pl

from conan_assets.data.tables import DOCUMENT_TEXT, QUERY_DROPPED

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
    rest = judged.join(ids.unique(), on="query_id").with_columns(query_id="asked_as").select(columns)
    rest = rest.join(training_pairs, on="pair_id", how="anti").join(
        training_pairs, on=["query_id", "doc_id"], how="anti"
    )
    texts = pl.coalesce("doc_id", "pair_id")
    return pl.concat([training_pairs, rest.sort("pair_id").filter(pl.struct("query_id", texts).is_first_distinct())])


def write_training_files(
    corpus: pl.DataFrame,
    pairs: pl.DataFrame,
    judgements: pl.DataFrame,
    negatives: pl.DataFrame | None,
    directory: Path,
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
    """
    directory.mkdir(parents=True, exist_ok=True)
    judged = pairs.filter(pl.col("task") == "retrieval", pl.col("score") > 0).with_columns(TEXT_ID.alias("text_id"))
    samples = judged.group_by("query_id", maintain_order=True).agg(
        pl.col("dataset").first(),
        pl.col("query").first(),
        pl.col("text_id").unique(maintain_order=True).alias("positives"),
    )
    if negatives is None:
        samples = samples.with_columns(candidates=pl.lit([], dtype=pl.List(pl.String)))
    else:
        dropped = negatives.filter(pl.col("reason") == QUERY_DROPPED)
        samples = samples.join(dropped, on="query_id", how="anti", maintain_order="left")
        samples = samples.join(_ranked_pools(negatives), on="query_id", how="left", maintain_order="left")
        samples = samples.with_columns(pl.col("candidates").fill_null([]))
    texts = _texts(corpus, judgements, samples)
    sts = pairs.filter(pl.col("task") == "sts").select(text_a="query", text_b="text", score="score")
    texts.write_parquet(directory / "texts.parquet")
    samples.rename({"query_id": "sample_id"}).write_parquet(directory / "retrieval.parquet")
    sts.write_parquet(directory / "sts.parquet")
    return {
        "retrieval_samples": samples.height,
        "queries_without_hard_negatives": samples.filter(pl.col("candidates").list.len() == 0).height,
        "queries_dropped": judged["query_id"].n_unique() - samples.height,
        "training_texts": texts.height,
        "sts_samples": sts.height,
    }


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
