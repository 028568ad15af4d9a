"""The leaderboard, the choice of the best checkpoint, and its release."""

import json

import numpy as np
import polars as pl
import pytest
import yaml
from PIL import Image
from sentence_transformers import SentenceTransformer

from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.evaluation.errors import EvaluationError
from conan_assets.evaluation.leaderboard import LeaderboardEntry, build_leaderboard, choose_best
from conan_assets.evaluation.release import publish, write_release
from conan_assets.evaluation.run import evaluate_bm25, evaluate_encoder
from conan_assets.evaluation.settings import LocalSuite
from conan_assets_tests.conftest import build_tiny_model

SUITES = {"docs": LocalSuite(dataset="python", splits=("dev", "test"))}


@pytest.fixture(scope="module")
def entries(encoder, corpus, pairs, tmp_path_factory):
    from conan_assets.encoding.store import EmbeddingStore

    root = tmp_path_factory.mktemp("rounds")
    store = EmbeddingStore(root / "embeddings")
    trained = Encoder(EncoderSettings(build_tiny_model(root / "trained", seed=3), dtype="float32"), device="cpu")
    base = evaluate_encoder(encoder, store, SUITES, corpus, pairs, root / "round_0")
    bm25 = evaluate_bm25(SUITES, corpus, pairs, root / "round_0")
    first = evaluate_encoder(trained, store, SUITES, corpus, pairs, root / "round_1", {"base model": root / "round_0"})
    return [
        LeaderboardEntry("round_0", "BM25", bm25["checkpoint_fingerprint"], bm25),
        LeaderboardEntry("round_0", "base", base["checkpoint_fingerprint"], base),
        LeaderboardEntry("round_1", "trained", first["checkpoint_fingerprint"], first),
    ]


def test_the_leaderboard_has_a_row_for_every_score_of_every_model(entries, tmp_path):
    report = build_leaderboard([tuple(entry) for entry in entries], tmp_path)
    rows = json.loads((tmp_path / "leaderboard.json").read_text())
    assert len(rows) == 3 * 2 * 4
    for row, expected in zip(rows, [row for entry in entries for row in entry.report["rows"]], strict=True):
        assert (row["task"], row["split"], row["metric"], row["value"]) == (
            expected["task"],
            expected["split"],
            expected["metric"],
            expected["value"],
        )
        assert row["low"] <= row["value"] <= row["high"]
    assert {row["checkpoint_fingerprint"] for row in rows} == {entry.checkpoint for entry in entries}
    assert len(report["main_scores"]) == 6


def test_the_table_shows_points_and_the_plot_is_a_picture(entries, tmp_path):
    report = build_leaderboard(entries, tmp_path)
    table = (tmp_path / report["leaderboard"]).read_text()
    value = next(row["value"] for row in entries[2].report["rows"] if row["main"])
    assert f"| round_1 | trained | {100 * value:.2f} (" in table
    assert f"{100 * value:.2f} (" in (tmp_path / "leaderboard.html").read_text()
    with Image.open(tmp_path / report["plot"]) as picture:
        assert picture.width > 400


def test_a_task_that_did_not_run_is_named_with_its_reason(entries, tmp_path):
    missing = {"suite": "hub", "task": "NFCorpus", "reason": "no <network>"}
    report = {**entries[1].report, "not_run": [missing]}
    report = build_leaderboard([entries[1]._replace(report=report)], tmp_path)
    assert report["not_run"] == [{"round": "round_0", "model": "base", **missing}]
    assert "hub NFCorpus: no <network>" in (tmp_path / "leaderboard.md").read_text()
    assert "no &lt;network&gt;" in (tmp_path / "leaderboard.html").read_text()


def test_several_reports_of_a_model_become_one_line_and_one_model_card(entries, tmp_path):
    rows = [{**row, "suite": "other"} for row in entries[2].report["rows"]]
    second = entries[2]._replace(report={**entries[2].report, "rows": rows})
    build_leaderboard([*entries, second], tmp_path)
    (line,) = [line for line in (tmp_path / "leaderboard.md").read_text().splitlines() if line.startswith("| round_1")]
    assert line.count("(") == 4
    best = choose_best([entries[2], second], "docs", "dev", "ndcg_at_10")
    assert {row["suite"] for row in best.report["rows"]} == {"docs", "other"}


def test_a_leaderboard_of_nothing_is_an_error(tmp_path):
    with pytest.raises(EvaluationError, match="no report"):
        build_leaderboard([], tmp_path)


def test_differences_to_the_base_model_are_paired_by_query(entries):
    differences = entries[2].report["differences"]
    assert {row["split"] for row in differences} == {"dev", "test"}
    main = {
        (entry.model, row["split"]): row["value"] for entry in entries for row in entry.report["rows"] if row["main"]
    }
    for row in differences:
        gain = main["trained", row["split"]] - main["base", row["split"]]
        assert row["difference"] == pytest.approx(gain, abs=2e-5)


def test_worst_queries_show_texts_of_what_was_expected_and_what_came(entries, pairs):
    worst = entries[1].report["worst_queries"]
    assert len(worst) == 10
    assert {row["query"] for row in worst} <= set(pairs["query"])
    assert all(row["expected"].startswith("advice") for row in worst)
    dev = [row["ndcg_at_10"] for row in worst if row["split"] == "dev"]
    assert dev == sorted(dev)


def test_the_best_checkpoint_is_the_highest_by_the_dev_metric_and_never_bm25(entries):
    best = choose_best(entries, "docs", "dev", "ndcg_at_10")
    values = {
        entry.model: row["value"]
        for entry in entries
        for row in entry.report["rows"]
        if row["main"] and row["split"] == "dev"
    }
    assert values[best.model] == max(values["base"], values["trained"])
    assert choose_best(entries[:2], "docs", "dev", "ndcg_at_10").model == "base"


def test_a_dev_metric_that_nobody_has_is_an_error(entries):
    with pytest.raises(EvaluationError, match="no checkpoint has accuracy"):
        choose_best(entries, "docs", "dev", "accuracy")


def test_checkpoints_scored_on_different_tasks_cannot_be_ranked(entries):
    rows = [{**row, "task": "another"} for row in entries[2].report["rows"]]
    odd = entries[2]._replace(report={**entries[2].report, "rows": rows})
    with pytest.raises(EvaluationError, match="round_1 was scored on"):
        choose_best([entries[1], odd], "docs", "dev", "ndcg_at_10")


@pytest.fixture
def release(entries, tiny_model, tmp_path):
    checkpoint = EncoderSettings(tiny_model, query_prompt="query: ", max_tokens=16, dtype="float32")
    lineage = {"training_pairs": "0123", "round_1/hard_negatives": "4567"}
    report = write_release(entries[1], checkpoint, EncoderSettings(tiny_model), lineage, "demo-model", tmp_path)
    return tmp_path / "model", checkpoint, report


def test_the_released_model_gives_the_embeddings_that_were_evaluated(release):
    folder, checkpoint, _ = release
    texts = ["what is a list", "a very long text that goes on and on " * 5]
    ours = Encoder(checkpoint, device="cpu").encode(texts, "query")
    released = SentenceTransformer(str(folder), device="cpu")
    theirs = released.encode(texts, prompt_name="query", normalize_embeddings=True)
    assert np.allclose(ours, theirs, atol=1e-5)


def test_the_model_card_has_the_results_in_the_hubs_format(release, entries):
    from huggingface_hub import ModelCard

    folder, _, _ = release
    card = ModelCard.load(folder / "README.md")
    results = card.data.eval_results
    assert len(results) == len(entries[1].report["rows"])
    first = entries[1].report["rows"][0]
    assert (results[0].metric_type, results[0].metric_value) == ("ndcg_at_10", round(100 * first["value"], 3))
    front_matter = yaml.safe_load((folder / "README.md").read_text().split("---")[1])
    assert front_matter["model-index"][0]["name"] == "demo-model"
    assert "* round_1/hard_negatives: 4567" in card.text


def test_the_licence_is_the_one_in_the_base_models_card(entries, tiny_model, tmp_path):
    import shutil

    from conan_assets.evaluation.model_card import base_licence

    assert base_licence(EncoderSettings(tiny_model)) == "unknown"
    base = tmp_path / "base"
    shutil.copytree(tiny_model, base)
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n# base\n")
    assert base_licence(EncoderSettings(str(base))) == "apache-2.0"


def test_publishing_moves_the_pointer_and_keeps_the_earlier_release(tmp_path):
    first, second = tmp_path / "releases" / "1", tmp_path / "releases" / "2"
    for folder in (first, second):
        folder.mkdir(parents=True)
        (folder / "name").write_text(folder.name)
    target = tmp_path / "home" / "released_model"
    publish(first, target)
    assert (target / "name").read_text() == "1"
    publish(second, target)
    assert (target / "name").read_text() == "2"
    assert (first / "name").exists()
    assert [path.name for path in target.parent.iterdir()] == ["released_model"]


def test_publishing_never_replaces_a_real_folder(tmp_path):
    (tmp_path / "released_model").mkdir()
    with pytest.raises(FileExistsError, match="is not a link"):
        publish(tmp_path / "release", tmp_path / "released_model")


def test_the_scores_per_query_stand_in_a_table(entries, encoder, store, corpus, pairs, tmp_path):
    evaluate_encoder(encoder, store, SUITES, corpus, pairs, tmp_path)
    queries = pl.read_parquet(tmp_path / "per_query.parquet")
    assert queries.group_by("split").len().sort("split").rows() == [("dev", 8), ("test", 8)]
    assert queries["expected"].list.len().eq(1).all()
