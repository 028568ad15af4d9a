from pathlib import Path

import polars as pl

from conan_assets.data.tables import QUERY_DROPPED
from conan_assets.data.training_files import judgements_of, write_training_files

CORPUS = pl.DataFrame(
    {
        "doc_id": ["d:1", "d:2", "d:3", "d:4"],
        "dataset": "d",
        "title": ["T", "", None, ""],
        "text": ["one", "two", "three", "four"],
    }
)


def pairs(*rows: tuple[str, str | None, str | None, float]) -> pl.DataFrame:
    schema = {"query_id": pl.String, "doc_id": pl.String, "text": pl.String, "score": pl.Float32}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    fixed = {"task": "retrieval", "dataset": "d", "origin": "natural", "split": "train"}
    return frame.with_columns(
        pl.concat_str(pl.lit("p"), pl.int_range(pl.len())).alias("pair_id"),
        pl.concat_str(pl.lit("text of "), "query_id").alias("query"),
        *(pl.lit(value).alias(name) for name, value in fixed.items()),
    )


def negatives(*rows: tuple[str, str, str, str | None, int | None, int]) -> pl.DataFrame:
    schema = {
        "query_id": pl.String,
        "doc_id": pl.String,
        "verdict": pl.String,
        "reason": pl.String,
        "order": pl.Int32,
        "copies": pl.Int32,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def write(judged: pl.DataFrame, mined: pl.DataFrame | None, folder: Path) -> dict[str, int]:
    return write_training_files(CORPUS, judged, judged, mined, folder)


def samples(folder: Path) -> dict[str, dict[str, object]]:
    return {row["sample_id"]: row for row in pl.read_parquet(folder / "retrieval.parquet").to_dicts()}


def test_a_query_is_one_sample_with_all_its_positives_and_its_negatives_in_order(tmp_path: Path):
    mined = negatives(
        ("q1", "d:4", "kept", None, 2, 1), ("q1", "d:3", "kept", None, 1, 1), ("q1", "d:2", "removed", "x", None, 0)
    )
    report = write(pairs(("q1", "d:1", None, 1), ("q1", "d:2", None, 1)), mined, tmp_path)
    sample = samples(tmp_path)["q1"]
    assert sample["positives"] == ["d:1", "d:2"]
    assert sample["candidates"] == ["d:3", "d:4"]
    assert report["retrieval_samples"] == 1
    texts = dict(pl.read_parquet(tmp_path / "texts.parquet").iter_rows())
    assert texts == {"d:1": "T one", "d:2": "two", "d:3": "three", "d:4": "four"}


def test_a_negative_named_by_two_teachers_counts_twice(tmp_path: Path):
    mined = negatives(("q1", "d:3", "kept", None, 1, 2), ("q1", "d:4", "kept", None, 2, 1))
    write(pairs(("q1", "d:1", None, 1)), mined, tmp_path)
    assert samples(tmp_path)["q1"]["candidates"] == ["d:3", "d:3", "d:4"]


def test_a_dropped_query_is_left_out_and_one_without_negatives_keeps_its_positive(tmp_path: Path):
    mined = negatives(
        ("q1", "d:3", "removed", QUERY_DROPPED, None, 0), ("q2", "d:3", "removed", "tiny:top_k_abs", None, 0)
    )
    judged = pairs(("q1", "d:1", None, 1), ("q2", "d:2", None, 1))
    report = write(judged, mined, tmp_path)
    assert samples(tmp_path)["q2"]["candidates"] == []
    assert "q1" not in samples(tmp_path)
    assert (report["queries_dropped"], report["queries_without_hard_negatives"]) == (1, 1)


def test_a_positive_outside_the_corpus_is_a_text_of_its_own_and_judged_irrelevant_is_no_positive(tmp_path: Path):
    write(pairs(("q1", None, "a response", 1), ("q2", "d:1", None, 0)), None, tmp_path)
    assert list(samples(tmp_path)) == ["q1"]
    assert samples(tmp_path)["q1"]["positives"] == ["pair:p0"]
    assert dict(pl.read_parquet(tmp_path / "texts.parquet").iter_rows()) == {"pair:p0": "a response"}


def test_what_curation_took_away_is_still_known_of_its_query():
    raw = pairs(("q1", "d:1", None, 1), ("q1", "d:2", None, 1), ("q1", "d:3", None, 0), ("q2", "d:4", None, 1))
    training = raw.filter(pl.col("pair_id") == "p0")
    known = judgements_of(training.lazy(), raw.lazy()).collect()
    assert dict(known.select("doc_id", "score").iter_rows()) == {"d:1": 1, "d:2": 1, "d:3": 0}


def test_judgements_follow_a_query_that_was_merged_into_another():
    raw = pairs(("q1", "d:1", None, 1), ("q9", "d:2", None, 1), ("q9", "d:3", None, 1))
    training = raw.filter(pl.col("pair_id") != "p2").with_columns(query_id=pl.lit("q1"))
    known = judgements_of(training.lazy(), raw.lazy()).collect()
    assert set(known["query_id"]) == {"q1"}
    assert set(known["doc_id"]) == {"d:1", "d:2", "d:3"}


def test_labelled_texts_are_written_with_their_dataset(tmp_path: Path):
    labelled = pairs(("q1", None, "spam", 1), ("q2", None, "ham", 1)).with_columns(task=pl.lit("classification"))
    report = write(labelled, None, tmp_path)
    assert report["classification_samples"] == 2
    assert report["retrieval_samples"] == 0
    assert pl.read_parquet(tmp_path / "classification.parquet").to_dicts() == [
        {"text": "text of q1", "label": "spam", "dataset": "d"},
        {"text": "text of q2", "label": "ham", "dataset": "d"},
    ]


def test_a_teachers_scores_stand_beside_the_texts_and_are_nan_where_it_gave_none(tmp_path: Path):
    mined = negatives(("q1", "d:3", "kept", None, 1, 1), ("q1", "d:4", "kept", None, 2, 1))
    scores = pl.DataFrame({"query_id": "q1", "doc_id": ["d:1", "d:4"], "score": [0.9, 0.4]})
    judged = pairs(("q1", "d:1", None, 1), ("q2", "d:2", None, 1))
    write_training_files(CORPUS, judged, judged, mined, tmp_path, teacher_scores=scores)
    first, second = samples(tmp_path)["q1"], samples(tmp_path)["q2"]
    assert first["positive_scores"] == [0.9]
    assert str(first["candidate_scores"]) == "[nan, 0.4]"
    assert str(second["positive_scores"]) == "[nan]"
    assert second["candidate_scores"] == []


def test_dev_samples_rank_among_the_documents_that_bm25_finds_and_are_not_trained_on(tmp_path: Path):
    judged = pairs(("q1", "d:1", None, 1))
    dev = pairs(("q9", "d:2", None, 1), ("q9", "d:4", None, 1)).with_columns(query=pl.lit("two or three"))
    write_training_files(CORPUS, judged, judged, None, tmp_path, dev=dev.with_columns(split=pl.lit("dev")))
    (sample,) = pl.read_parquet(tmp_path / "dev.parquet").to_dicts()
    assert sample["positives"] == ["d:2", "d:4"]
    assert sample["candidates"] == ["d:3"]
    assert list(samples(tmp_path)) == ["q1"]
    texts = dict(pl.read_parquet(tmp_path / "texts.parquet").iter_rows())
    assert texts == {"d:1": "T one", "d:2": "two", "d:3": "three", "d:4": "four"}
