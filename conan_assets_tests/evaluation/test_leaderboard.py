"""The leaderboard and the choice of the best checkpoint."""

import html
import json
import re
from dataclasses import asdict, replace

import polars as pl
import pytest
from PIL import Image

from conan_assets.evaluation.choice import choose
from conan_assets.evaluation.leaderboard import build_leaderboard
from conan_assets.evaluation.leaderboard_plot import plot_leaderboard
from conan_assets.evaluation.report import BenchmarkMean, BenchmarkTask, LengthScore, StageCost, TaskNotRun
from conan_assets.evaluation.run import evaluate_encoder
from conan_assets.evaluation.settings import EvaluationError
from conan_assets_tests.evaluation.conftest import DOCS


def changed(entry, **report):
    return entry._replace(report=replace(entry.report, **report))


def lines_of(path, title):
    section = path.read_text().split(f"## {title}\n\n")[1].split("\n\n")[0]
    head, _, *lines = [[html.unescape(cell.strip()) for cell in line.split("|")[1:-1]] for line in section.splitlines()]
    return [dict(zip(head, line, strict=True)) for line in lines]


@pytest.mark.slow
def test_the_leaderboard_has_a_row_for_every_score_of_every_model(entries, tmp_path):
    report = build_leaderboard(entries, tmp_path)
    rows = json.loads((tmp_path / "leaderboard.json").read_text())
    assert len(rows) == 3 * 2 * 4
    for row, expected in zip(rows, [row for entry in entries for row in entry.report.rows], strict=True):
        assert row.items() >= asdict(expected).items()
        assert row["low"] <= row["value"] <= row["high"]
    assert {row["checkpoint_fingerprint"] for row in rows} == {entry.report.checkpoint_fingerprint for entry in entries}
    mains = [row for row in rows if row["main"]]
    assert len(report["main_scores"]) == len(mains) == 6
    for shown, row in zip(report["main_scores"], mains, strict=True):
        assert [shown[name] for name in ("value", "low", "high")] == pytest.approx(
            [100 * row[name] for name in ("value", "low", "high")], abs=0.005
        )


def test_the_tables_show_points_with_intervals_a_line_per_task_and_a_column_per_model(entries, tmp_path):
    build_leaderboard(entries, tmp_path)
    row = next(row for row in entries[2].report.rows if row.main and row.split == "dev")
    shown = f"{100 * row.value:.2f} ({100 * row.low:.1f} to {100 * row.high:.1f})"
    (line,) = [line for line in lines_of(tmp_path / "leaderboard.md", "docs") if line["split"] == "dev"]
    assert (line["task"], line["metric"], line["trained"]) == ("python", "ndcg_at_10", shown)
    assert {"BM25", "base"} < set(line)
    assert f"<td>{shown}</td>" in (tmp_path / "leaderboard.html").read_text()


def test_what_it_cost_is_said_stage_by_stage_and_tokens_add_up_over_the_rounds(entries, tmp_path):
    costs = [StageCost("round_0", "writing pairs", 3.5, None, 1_200), StageCost("round_1", "mining", 7.25, 80, 34)]
    report = build_leaderboard(entries, tmp_path, costs)
    lines = {line["stage"]: line for line in lines_of(tmp_path / "leaderboard.md", "Cost")}
    assert lines["writing pairs"] == {
        "round": "round_0",
        "stage": "writing pairs",
        "seconds": "3.5",
        "texts encoded": "–",
        "tokens of the LLM": "1,200",
    }
    encoded = entries[2].report.texts_encoded
    assert (lines["mining"]["texts encoded"], lines["evaluation of trained"]["texts encoded"]) == ("80", str(encoded))
    rows = json.loads((tmp_path / "leaderboard.json").read_text())
    assert {(row["round"], row["llm_tokens"]) for row in rows} == {("round_0", 1_200), ("round_1", 1_234)}
    assert report["llm_tokens"] == 1_234


def test_published_lines_and_means_stand_beside_ours_by_convention(entries, tmp_path):
    place = {"suite": "zh", "convention": "published, 35 tasks"}
    beside = [BenchmarkTask(**place, type="STS", task="STSB", ours=80.5, published={"Conan-v1": 81.24})]
    means = [BenchmarkMean(**place, of="all", tasks=35, not_run=34, ours=None, published={"Conan-v1": 72.62})]
    build_leaderboard([entries[1], changed(entries[2], beside_published=beside, means=means)], tmp_path)
    lines = lines_of(tmp_path / "leaderboard.md", "zh: published, 35 tasks")
    assert lines == [
        {"": "STSB", "base": "–", "trained": "80.50", "Conan-v1 (published)": "81.24"},
        {"": "mean, all (35 tasks)", "base": "–", "trained": "–", "Conan-v1 (published)": "72.62"},
    ]


def test_vectors_cut_short_have_a_line_for_each_length(entries, tmp_path):
    mains = [row for row in entries[2].report.rows if row.main and row.split == "dev"]
    lengths = [
        LengthScore(**{**vars(row), "value": value}, dim=dim) for row in mains for dim, value in ((4, 0.1), (16, 0.2))
    ]
    build_leaderboard([entries[1], changed(entries[2], lengths=lengths)], tmp_path)
    lines = lines_of(tmp_path / "leaderboard.md", "Vectors cut short")
    assert [(line["components"], line["base"], line["trained"].split(" ")[0]) for line in lines] == [
        ("16", "–", "20.00"),
        ("4", "–", "10.00"),
    ]


def test_differences_are_listed_with_their_interval(entries, tmp_path):
    build_leaderboard(entries, tmp_path)
    lines = lines_of(tmp_path / "leaderboard.md", "Differences")
    assert [(line["model"], line["against"]) for line in lines] == [("trained", "base model")] * 2
    (expected, _) = entries[2].report.differences
    assert lines[0]["difference"].rstrip("*") == f"{100 * expected.difference:+.2f}"


def test_a_panel_for_each_suite_and_a_line_for_each_subset(entries, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "conan_assets.evaluation.leaderboard_plot._draw_task",
        lambda axes, rounds, scored, number, label: drawn.append(label),
    )
    rows = [row for row in entries[1].report.rows if row.main]
    more = [replace(row, suite="news", subset=subset) for row in rows for subset in ("de", "fr")]
    plot_leaderboard([changed(entries[1], rows=rows + more)], tmp_path / "plot.png")
    assert sorted(drawn[2:]) == [
        f"python ({subset}) {split} ndcg_at_10" for subset in ("de", "fr") for split in ("dev", "test")
    ]
    monkeypatch.undo()
    for name, entry in (("one", entries[1]), ("two", changed(entries[1], rows=rows + more))):
        plot_leaderboard([entry], tmp_path / f"{name}.png")
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "two.png") as two:
        assert (two.width, two.height) == (one.width, 2 * one.height)


def test_a_suite_of_many_tasks_draws_all_of_them(entries, tmp_path):
    rows = [replace(row, task=f"task {number}") for number in range(35) for row in entries[1].report.rows if row.main]
    report = build_leaderboard([changed(entries[1], rows=rows)], tmp_path)
    assert len(lines_of(tmp_path / "leaderboard.md", "docs")) == 70
    assert (tmp_path / report["plot"]).stat().st_size > 10_000


def test_a_task_that_did_not_run_is_named_with_its_reason(entries, tmp_path):
    missing = {"suite": "hub", "task": "NFCorpus", "reason": "401 Client Error\n\nno <network> | no https://hub"}
    report = build_leaderboard([changed(entries[1], not_run=[TaskNotRun(**missing)])], tmp_path)
    assert report["not_run"] == [{"round": "round_0", "model": "base", **missing}]
    (line,) = lines_of(tmp_path / "leaderboard.md", "Did not run")
    assert line == {"model": "base", **missing, "reason": "401 Client Error no <network> | no https://hub"}
    assert "no &lt;network&gt;" in (tmp_path / "leaderboard.html").read_text()


def test_several_reports_of_a_model_become_one_column_and_one_model_card(entries, tmp_path):
    second = changed(entries[2], rows=[replace(row, suite="other") for row in entries[2].report.rows])
    build_leaderboard([*entries, second], tmp_path)
    for suite in ("docs", "other"):
        assert all("(" in line["trained"] for line in lines_of(tmp_path / "leaderboard.md", suite))
    best = choose([entries[2], second], "docs", "dev", "ndcg_at_10").best
    assert {row.suite for row in best.report.rows} == {"docs", "other"}
    assert best.report.texts_encoded == 2 * entries[2].report.texts_encoded


def test_a_leaderboard_of_nothing_is_an_error(tmp_path):
    with pytest.raises(EvaluationError, match="no report"):
        build_leaderboard([], tmp_path)


def test_differences_to_the_base_model_are_paired_by_query(entries):
    differences = entries[2].report.differences
    assert {row.split for row in differences} == {"dev", "test"}
    main = {(entry.model, row.split): row.value for entry in entries for row in entry.report.rows if row.main}
    for row in differences:
        gain = main["trained", row.split] - main["base", row.split]
        assert row.difference == pytest.approx(gain, abs=2e-5)


def test_worst_queries_show_texts_of_what_was_expected_and_what_came(entries, pairs):
    worst = entries[1].report.worst_queries
    assert 2 <= len(worst) <= 10
    assert all(row.ndcg_at_10 < 1 for row in worst)
    assert {row.query for row in worst} <= set(pairs["query"])
    assert all(row.expected.startswith("advice") for row in worst)
    assert all(re.match(r"1\. (advice|how to) ", row.instead) and row.expected not in row.instead for row in worst)
    assert all((row.rank is None) == (row.ndcg_at_10 == 0) and row.rank != 1 for row in worst)
    dev = [row.ndcg_at_10 for row in worst if row.split == "dev"]
    assert dev == sorted(dev)


def test_the_best_checkpoint_is_the_highest_by_the_dev_metric_and_never_bm25(entries):
    best = choose(entries, "docs", "dev", "ndcg_at_10").best
    values = {
        entry.model: row.value for entry in entries for row in entry.report.rows if row.main and row.split == "dev"
    }
    assert values[best.model] == max(values["base"], values["trained"])
    assert choose(entries[:2], "docs", "dev", "ndcg_at_10").best.model == "base"


def test_a_baseline_is_never_released_however_good_it_is(entries):
    perfect = [replace(row, value=1.0) for row in entries[1].report.rows]
    base = changed(entries[1], rows=perfect)._replace(baseline=True)
    assert choose([base, entries[2]], "docs", "dev", "ndcg_at_10").best.model == "trained"


def test_a_task_made_of_parts_counts_once(entries):
    rows = [row for row in entries[2].report.rows if row.main]
    parts = [replace(row, task=f"part {number}", part_of="python", value=0.0) for row in rows for number in range(9)]
    low = changed(entries[1], rows=[replace(row, value=0.01) for row in rows])
    high = changed(entries[2], rows=[replace(row, value=0.02) for row in rows] + parts)
    assert choose([low, high], "docs", "dev", "ndcg_at_10").best.model == "trained"


def test_a_dev_metric_that_nobody_has_is_an_error(entries):
    there_is = "map_at_1000, mrr_at_10, ndcg_at_10, recall_at_100"
    with pytest.raises(EvaluationError, match=rf"no checkpoint has accuracy.*dev: {there_is}; test: {there_is}$"):
        choose(entries, "docs", "dev", "accuracy")
    with pytest.raises(EvaluationError, match=r"on suite 'news'.*: nothing$"):
        choose(entries, "news", "dev", "ndcg_at_10")


def test_checkpoints_scored_on_different_tasks_cannot_be_ranked(entries):
    rows = [replace(row, task="another") for row in entries[2].report.rows]
    odd = changed(entries[2], rows=rows)
    with pytest.raises(EvaluationError, match="round_1 was scored on"):
        choose([entries[1], odd], "docs", "dev", "ndcg_at_10")


def test_the_scores_per_query_stand_in_a_table(entries, encoder, store, corpus, pairs, tmp_path):
    evaluate_encoder(encoder, store, DOCS, corpus, pairs, tmp_path, tmp_path / "finished")
    queries = pl.read_parquet(tmp_path / "per_query.parquet")
    assert queries.group_by("split").len().sort("split").rows() == [("dev", 8), ("test", 8)]
    assert queries["expected"].list.len().eq(1).all()
