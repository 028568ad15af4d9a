"""Suites run on a checkpoint and on BM25."""

import json

import mteb
import polars as pl
import pytest
from sentence_transformers import SentenceTransformer

from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.evaluation.report import RoundReport, as_json, parse
from conan_assets.evaluation.run import evaluate_baseline, evaluate_encoder
from conan_assets.evaluation.settings import EvaluationError, LocalSuite, MtebSuite
from conan_assets.integrity import seal, unseal
from conan_assets_tests.conftest import build_tiny_model
from conan_assets_tests.evaluation.conftest import bm25

pytestmark = pytest.mark.slow

SUITES = {"docs": LocalSuite(dataset="python", splits=("dev", "test"))}


def value(report, split, metric="ndcg_at_10"):
    (row,) = [row for row in report.rows if row.split == split and row.metric == metric]
    return row.value


def test_each_split_gets_a_row_for_each_metric_and_ndcg_is_the_main_one(encoder, store, corpus, pairs, tmp_path):
    report = evaluate_encoder(encoder, store, SUITES, corpus, pairs, tmp_path, tmp_path / "finished")
    found = {(row.split, row.metric, row.main) for row in report.rows}
    metrics = [("ndcg_at_10", True), ("map_at_1000", False), ("recall_at_100", False), ("mrr_at_10", False)]
    assert found == {(split, *metric) for split in ("dev", "test") for metric in metrics}
    assert all(row.queries == 8 for row in report.rows)
    assert value(report, "dev", "recall_at_100") == 1.0
    assert 0 < value(report, "dev") < 1
    assert parse(RoundReport, json.loads(json.dumps(as_json(report))), "it") == RoundReport(**vars(report))


def test_the_report_says_what_changes_a_score_and_what_it_cost(store, corpus, pairs, tmp_path, tiny_model):
    settings = EncoderSettings(tiny_model, query_prompt="query: ", document_prompt="text: ", dtype="float32")
    encoder = Encoder(settings, device="cpu")
    report = evaluate_encoder(encoder, store, SUITES, corpus, pairs, tmp_path, tmp_path / "finished")
    said = ("query_prompt", "document_prompt", "max_tokens", "dtype", "stored_dtype", "mteb_version")
    assert [getattr(report, name) for name in said] == ["query: ", "text: ", 64, "float32", "float32", mteb.__version__]
    assert report.checkpoint_fingerprint == encoder.weights_fingerprint
    (counted,) = report.metric_conventions
    assert (counted.type, counted.convention, counted.metric) == ("Retrieval", "main metric", "ndcg_at_10")
    (data,) = report.data
    assert (data.suite, data.task, len(data.revision)) == ("docs", "python", 16)
    assert report.texts_encoded == data.texts_encoded == corpus.filter(dataset="python").height + 16
    assert report.texts_per_second > 0
    assert report.seconds == data.seconds > 0


def test_an_evaluation_of_texts_that_were_all_stored_before_tells_no_speed(encoder, store, corpus, pairs, tmp_path):
    evaluate_encoder(encoder, store, SUITES, corpus, pairs, tmp_path / "first", tmp_path / "finished")
    report = evaluate_encoder(encoder, store, SUITES, corpus, pairs, tmp_path / "second", tmp_path / "elsewhere")
    assert (report.texts_encoded, report.texts_per_second) == (0, None)


def test_an_evaluation_that_goes_on_says_what_all_of_it_cost(encoder, store, corpus, pairs, tmp_path):
    first = evaluate_encoder(encoder, store, SUITES, corpus, pairs, tmp_path / "first", tmp_path / "finished")
    second = evaluate_encoder(encoder, store, SUITES, corpus, pairs, tmp_path / "second", tmp_path / "finished")
    assert (first.seconds, first.texts_encoded, first.rows) == (second.seconds, second.texts_encoded, second.rows)


def test_the_numbers_equal_those_of_a_plain_sentence_transformer_in_mteb(
    encoder, store, corpus, pairs, tmp_path, tiny_model
):
    from conan_assets.evaluation.local_tasks import local_task

    ours = evaluate_encoder(encoder, store, SUITES, corpus, pairs, tmp_path, tmp_path / "finished")
    task = local_task("docs", SUITES["docs"], corpus, pairs)
    plain = mteb.evaluate(SentenceTransformer(tiny_model, device="cpu"), task, cache=None, co2_tracker=False)
    for split, (scores,) in plain.task_results[0].scores.items():
        for metric in ("ndcg_at_10", "map_at_1000", "recall_at_100", "mrr_at_10"):
            assert value(ours, split, metric) == pytest.approx(scores[metric], abs=1e-5)


def test_a_second_checkpoint_does_not_get_the_scores_of_the_first(store, corpus, pairs, tmp_path):
    models = [build_tiny_model(tmp_path / f"model-{seed}", seed) for seed in (1, 2)]
    encoders = [Encoder(EncoderSettings(model, dtype="float32"), device="cpu") for model in models]
    first, second = (
        evaluate_encoder(encoder, store, SUITES, corpus, pairs, tmp_path, tmp_path / "finished") for encoder in encoders
    )
    assert first.checkpoint_fingerprint != second.checkpoint_fingerprint
    assert [row.value for row in first.rows] != [row.value for row in second.rows]
    assert first.texts_encoded == second.texts_encoded > 0


def test_a_finished_task_is_not_run_again_and_a_truncated_result_is(encoder, store, corpus, pairs, tmp_path):
    first = evaluate_encoder(encoder, store, SUITES, corpus, pairs, tmp_path, tmp_path / "finished")
    (result,) = (tmp_path / "finished").rglob("*.json")
    changed = unseal(result)
    changed["result"]["scores"]["dev"][0]["ndcg_at_10"] = 0.125
    result.write_text(seal(changed))
    assert (
        value(evaluate_encoder(encoder, store, SUITES, corpus, pairs, tmp_path, tmp_path / "finished"), "dev") == 0.125
    )
    result.write_text(result.read_text()[:100])
    again = evaluate_encoder(encoder, store, SUITES, corpus, pairs, tmp_path, tmp_path / "finished")
    assert again.rows == first.rows
    assert again.texts_encoded == 0


def test_two_suites_on_the_same_source_keep_results_of_their_own(encoder, store, corpus, pairs, tmp_path):
    for _ in range(2):
        for split in ("dev", "test"):
            suites = {"docs": LocalSuite(dataset="python", splits=(split,))}
            report = evaluate_encoder(encoder, store, suites, corpus, pairs, tmp_path, tmp_path / "finished")
            assert {row.split for row in report.rows} == {split}
    assert len(list((tmp_path / "finished").rglob("*.json"))) == 2


def test_changed_judgements_are_evaluated_anew(encoder, store, corpus, pairs, tmp_path):
    first = evaluate_encoder(encoder, store, SUITES, corpus, pairs, tmp_path, tmp_path / "finished")
    fewer = pairs.filter(pl.col("query_id") != "python:dev-0")
    second = evaluate_encoder(encoder, store, SUITES, corpus, fewer, tmp_path, tmp_path / "finished")
    assert [row.queries for row in second.rows if row.main] == [7, 8]
    assert first.data != second.data


def test_per_query_scores_average_to_the_reported_ones(encoder, store, corpus, pairs, tmp_path):
    reports = {
        "per_query.parquet": evaluate_encoder(encoder, store, SUITES, corpus, pairs, tmp_path, tmp_path / "finished"),
        "bm25_per_query.parquet": evaluate_baseline(bm25(), SUITES, corpus, pairs, tmp_path, tmp_path / "finished"),
    }
    for name, report in reports.items():
        queries = pl.read_parquet(tmp_path / name)
        assert set(queries["query_id"]).isdisjoint({"python:unanswered", "python:train-0", "animals:test-0"})
        for row in report.rows:
            mean = queries.filter(suite="docs", task="python", split=row.split)[row.metric].mean()
            assert row.value == pytest.approx(mean, abs=1e-5)


def test_bm25_is_scored_by_the_same_metrics_and_never_finds_another_dataset(corpus, pairs, tmp_path):
    report = evaluate_baseline(bm25(), SUITES, corpus, pairs, tmp_path, tmp_path / "finished")
    assert {row.metric for row in report.rows} == {"ndcg_at_10", "map_at_1000", "recall_at_100", "mrr_at_10"}
    found = pl.read_parquet(tmp_path / "bm25_per_query.parquet")["found"].explode()
    assert found.str.starts_with("python:").all()


def test_a_query_without_any_hit_counts_as_zero(corpus, pairs, tmp_path):
    odd = pairs.filter(query_id="python:test-0").with_columns(query=pl.lit("zzzz"), query_id=pl.lit("python:odd"))
    before = evaluate_baseline(bm25(), SUITES, corpus, pairs, tmp_path, tmp_path / "finished")
    after = evaluate_baseline(bm25(), SUITES, corpus, pl.concat([pairs, odd]), tmp_path, tmp_path / "finished")
    assert value(after, "test") == pytest.approx(value(before, "test") * 8 / 9, abs=1e-4)


def test_a_split_without_judgements_is_an_error_that_names_those_that_have_some(corpus, pairs, tmp_path):
    with pytest.raises(EvaluationError, match=r"suite 'docs'.*'animals'.*'dev'.*have one: test"):
        evaluate_baseline(
            bm25(),
            {"docs": LocalSuite(dataset="animals", splits=("dev",))},
            corpus,
            pairs,
            tmp_path,
            tmp_path / "finished",
        )


def test_an_unknown_benchmark_or_task_is_an_error_that_says_what_there_is(corpus, pairs, tmp_path):
    with pytest.raises(EvaluationError, match="no benchmark 'BIER'"):
        evaluate_baseline(
            bm25(), {"hub": MtebSuite(kind="mteb", benchmark="BIER")}, corpus, pairs, tmp_path, tmp_path / "finished"
        )
    with pytest.raises(EvaluationError, match=r"no task 'SciFakt'; its tasks are .*SciFact"):
        evaluate_baseline(
            bm25(),
            {"hub": MtebSuite(kind="mteb", benchmark="BEIR", tasks=("SciFakt",))},
            corpus,
            pairs,
            tmp_path,
            tmp_path / "finished",
        )


def test_a_suite_whose_data_cannot_be_loaded_is_an_error_with_the_reason(encoder, store, corpus, pairs, tmp_path):
    suite = MtebSuite(kind="mteb", benchmark="NanoBEIR", tasks=("NanoSciFactRetrieval",))
    with pytest.raises(EvaluationError, match=r"none of its tasks could be loaded: NanoSciFactRetrieval: its data"):
        evaluate_encoder(encoder, store, {"hub": suite}, corpus, pairs, tmp_path, tmp_path / "finished")


def test_vectors_are_scored_at_every_length_as_sentence_transformers_cuts_them(
    encoder, store, corpus, pairs, tmp_path, tiny_model
):
    from conan_assets.evaluation.local_tasks import local_task

    report = evaluate_encoder(encoder, store, SUITES, corpus, pairs, tmp_path, tmp_path / "finished", dims=(32, 16, 4))
    whole = evaluate_encoder(encoder, store, SUITES, corpus, pairs, tmp_path, tmp_path / "finished")
    assert report.rows == whole.rows
    assert [(row.dim, row.split, row.metric) for row in report.lengths] == [
        (dim, split, "ndcg_at_10") for dim in (16, 4) for split in ("dev", "test")
    ]
    assert all(row.low <= row.value <= row.high for row in report.lengths)
    cut = SentenceTransformer(tiny_model, device="cpu", truncate_dim=4)
    task = local_task("docs", SUITES["docs"], corpus, pairs)
    plain = mteb.evaluate(cut, task, cache=None, co2_tracker=False).task_results[0].scores
    for row in report.lengths[2:]:
        assert row.value == pytest.approx(plain[row.split][0]["ndcg_at_10"], abs=1e-5)
    assert {row.value for row in report.lengths} != {row.value for row in whole.rows if row.main}
