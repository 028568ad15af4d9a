"""What is checked at every stage, what stops the graph, and that each check fails on what it is for."""

import json
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

from conan_assets.artifacts import ArtifactStore
from conan_assets.data.tables import PAIRS
from conan_assets.definitions import build_defs
from conan_assets.defs import report_checks
from conan_assets.defs.report_checks import REGRESSION
from conan_assets.evaluation.comparison import Scores
from conan_assets.evaluation.per_query import SCHEMA
from conan_assets.settings import Settings
from conan_assets_tests.defs.conftest import change_report, changing, run, table

pytestmark = pytest.mark.slow

NOT_BLOCKING = {
    "enough_for_most_queries",
    "evaluation_overlap",
    "every_task_ran",
    "loss_fell",
    "no_query_of_an_evaluation_set",
}
OF_THE_TEST = pl.DataFrame(
    [dict.fromkeys(PAIRS.columns, "x") | {"split": "test", "score": 1.0}],
    schema={name: PAIRS.columns[name] for name in PAIRS.columns},
)

OF_THE_QUERY = pl.col("query_id").str.replace(":q", ":")


def check(settings: Settings, key: str) -> dict[str, dg.AssetCheckEvaluation]:
    """Run the checks of one asset alone."""
    selection = dg.AssetSelection.checks_for_assets(dg.AssetKey.from_user_string(key))
    checks = dg.Definitions(jobs=[dg.define_asset_job("checks", selection=selection)])
    job = dg.Definitions.merge(build_defs(settings), checks).resolve_job_def("checks")
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, raise_on_error=False)
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def change_table(settings: Settings, key: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    with changing(settings, key) as folder:
        change(pl.read_parquet(folder / "table.parquet")).write_parquet(folder / "table.parquet")


def test_every_stage_is_checked_and_what_would_waste_time_further_on_stops_the_graph(finished: Settings):
    graph = build_defs(finished).resolve_asset_graph()
    checked = {key.asset_key for key in graph.asset_check_keys}
    assert checked == graph.get_all_asset_keys()
    for key in graph.asset_check_keys:
        spec = graph.get_check_spec(key)
        assert spec.description, key
        stops = key.asset_key.path[0] != "released_model" and key.name not in NOT_BLOCKING
        assert spec.blocking == stops, key


@pytest.mark.parametrize(
    ("key", "change", "name", "told"),
    [
        ("raw_corpus", lambda t: pl.concat([t, t.head(1)]), "schema", "occurs twice"),
        ("raw_corpus", lambda t: t.clear(), "not_empty", "0"),
        ("raw_pairs", lambda t: t.with_columns(score=pl.lit(float("nan"))), "schema", "not a finite number"),
        ("raw_pairs", lambda t: t.with_columns(doc_id=pl.lit("animals:gone")), "documents_exist", "64"),
        (
            "prompt_response_pairs",
            lambda t: pl.concat([t, OF_THE_TEST], how="diagonal").with_columns(
                generator=pl.lit("x"), passage_id="doc_id"
            ),
            "only_for_training",
            "1",
        ),
        ("training_pairs", lambda t: t.drop("query"), "schema", "lacks the column 'query'"),
        ("teacher_scores/bm25", lambda t: t.filter(query_id=t["query_id"][0]), "covers_every_query", ""),
        ("round_1/hard_negatives", lambda t: t.with_columns(verdict=pl.lit("perhaps")), "schema", "kept, removed"),
        ("round_1/hard_negatives", lambda t: t.with_columns(doc_id=pl.lit("gone")), "no_empty_negative", ""),
        ("round_1/hard_negatives", lambda t: t.with_columns(doc_id=OF_THE_QUERY), "no_positive_is_a_negative", ""),
    ],
)
def test_a_damaged_table_fails_its_check(
    copied: Settings, key: str, change: Callable[[pl.DataFrame], pl.DataFrame], name: str, told: str
):
    assert check(copied, key)[name].passed
    change_table(copied, key, change)
    failed = check(copied, key)[name]
    assert not failed.passed
    assert told in str({label: value.value for label, value in failed.metadata.items()})


def test_an_empty_document_among_the_negatives_fails_its_check(copied: Settings):
    blank = pl.lit("")
    change_table(copied, "raw_corpus", lambda t: t.with_columns(title=blank, text=blank))
    assert not check(copied, "round_1/hard_negatives")["no_empty_negative"].passed


def mine_again(settings: Settings, **mining: object) -> dict[str, dg.AssetCheckEvaluation]:
    """Mine the first round with changed settings and return what its checks find."""
    values = settings.model_dump(mode="json")
    changed = Settings.model_validate(values | {"mining": values["mining"] | mining})
    result = run(changed, 'key:"round_1/hard_negatives"', raise_on_error=False)
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def names_of_failed(checks: dict[str, dg.AssetCheckEvaluation]) -> set[str]:
    return {name for name, evaluation in checks.items() if not evaluation.passed}


def test_rules_that_remove_everything_and_rules_that_leave_too_little_fail_their_checks(copied: Settings):
    assert names_of_failed(check(copied, "round_1/hard_negatives")) == set()
    everything = [{"rule": "top_k_perc_pos", "teacher": "tiny", "ratio": 0.001}]
    found = mine_again(copied, veto=everything)
    assert names_of_failed(found) == {"some_were_kept", "enough_for_most_queries"}
    found = mine_again(copied, negatives_per_query=10, pool_depth=10, depth=5)
    assert names_of_failed(found) == {"enough_for_most_queries"}
    assert found["enough_for_most_queries"].severity == dg.AssetCheckSeverity.WARN


def test_mining_for_a_query_that_is_evaluated_fails_its_check(copied: Settings):
    asked = table(copied, "training_pairs")["query"][0]
    evaluated = pl.when(pl.col("split") == "test").then(pl.lit(asked)).otherwise("query")
    change_table(copied, "raw_pairs", lambda t: t.with_columns(query=evaluated))
    found = mine_again(copied, depth=19)
    assert names_of_failed(found) == {"no_query_of_an_evaluation_set"}
    assert found["no_query_of_an_evaluation_set"].metadata["queries"].value == 1


def test_pairs_and_corpus_of_different_revisions_fail_their_check(copied: Settings):
    change_report(copied, "raw_corpus", sources=[{"source": "animals", "fingerprint": "another"}])
    assert not check(copied, "raw_pairs")["same_sources_as_the_corpus"].passed


def change_weights(model: Path, change: Callable[[str, torch.Tensor], object]) -> None:
    path = model / "model.safetensors"
    tensors = load_file(path)
    for name, tensor in tensors.items():
        change(name, tensor)
    save_file(tensors, path, {"format": "pt"})


def collapse(name: str, tensor: torch.Tensor) -> None:
    if "LayerNorm" in name:
        tensor.fill_(1.0 if name.endswith("bias") else 0.0)


def test_a_collapsed_checkpoint_fails_its_check(copied: Settings):
    with changing(copied, "round_1/checkpoint") as folder:
        change_weights(folder / "model", collapse)
    failed = check(copied, "round_1/checkpoint")["embeddings_spread"]
    assert not failed.passed
    assert failed.metadata["mean_cosine"].value > 0.999
    assert failed.metadata["effective_rank"].value < 1.5


def test_a_checkpoint_whose_embeddings_are_not_finite_fails_its_check_and_is_told_what_to_do(copied: Settings):
    with changing(copied, "round_1/checkpoint") as folder:
        change_weights(folder / "model", lambda _, tensor: tensor.fill_(float("nan")))
    failed = check(copied, "round_1/checkpoint")["embeddings_spread"]
    assert not failed.passed
    assert failed.metadata["not_finite"].value == failed.metadata["documents"].value == 64
    assert "64 of 64 embeddings are not finite: lower the learning rate" in failed.description


def test_the_sample_of_a_checkpoints_corpus_is_read_from_the_shared_store(copied: Settings):
    spread = check(copied, "round_1/checkpoint")["embeddings_spread"]
    assert spread.passed
    assert spread.metadata["encoded"].value == 0


def write_losses(settings: Settings, losses: list[float]) -> None:
    lines = [json.dumps({"stage": 0, "step": step, "loss": loss}) for step, loss in enumerate(losses, 1)]
    with changing(settings, "round_1/checkpoint") as folder:
        (folder / "metrics.jsonl").write_text("\n".join([*lines, ""]))


@pytest.mark.parametrize(
    ("losses", "finite", "fell"),
    [
        ([2.0 - step / 50 for step in range(40)], True, True),
        ([2.0 + step / 50 for step in range(40)], True, False),
        ([2.0, 2.5, 3.0], True, True),
        ([2.0, float("nan"), 1.0], False, True),
        ([], False, True),
    ],
)
def test_a_loss_must_be_finite_and_should_fall_where_there_are_steps_enough_to_tell(
    copied: Settings, losses: list[float], finite: bool, fell: bool
):
    write_losses(copied, losses)
    found = check(copied, "round_1/checkpoint")
    assert found["finite_loss"].passed == finite
    assert found["loss_fell"].passed == fell
    assert found["loss_fell"].severity == dg.AssetCheckSeverity.WARN


def test_a_report_on_another_revision_of_the_data_fails_its_check(copied: Settings):
    report = ArtifactStore(copied.home / "assets").current("round_1/beir_report").report
    assert report["data"]
    change_report(copied, "round_1/beir_report", data=[{**row, "revision": "another"} for row in report["data"]])
    assert not check(copied, "round_1/beir_report")["same_data_as_round_0"].passed


def test_a_score_that_is_no_number_and_a_task_that_did_not_run_fail_their_checks(copied: Settings):
    report = ArtifactStore(copied.home / "assets").current("round_1/beir_report").report
    rows = [{**row, "value": float("nan")} for row in report["rows"]]
    missing = [{"suite": "animals", "task": "yaks", "reason": "no data"}]
    change_report(copied, "round_1/beir_report", rows=rows, not_run=missing)
    found = check(copied, "round_1/beir_report")
    assert not found["scores_are_numbers"].passed
    assert not found["every_task_ran"].passed
    assert found["every_task_ran"].severity == dg.AssetCheckSeverity.WARN


def change_release(settings: Settings, score: float) -> None:
    """Make the last release have scored ``score`` on every query."""
    with changing(settings, "released_model") as folder:
        for path in (folder / "scores").glob("*.parquet"):
            pl.read_parquet(path).with_columns(ndcg_at_10=pl.lit(score)).write_parquet(path)


@pytest.mark.parametrize(("score", "passed"), [(0.0, True), (1.0, False)])
def test_a_round_that_is_worse_than_the_last_release_is_not_released(copied: Settings, score: float, passed: bool):
    assert check(copied, "leaderboard")[REGRESSION].passed, "the release is the best round itself"
    change_release(copied, score)
    assert check(copied, "leaderboard")[REGRESSION].passed == passed
    result = run(copied, "*", raise_on_error=False)
    released = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
    assert result.success == ("released_model" in released) == passed


@pytest.mark.parametrize(("suite", "scored_again"), [("animals", True), ("another", False)])
def test_a_release_is_scored_again_when_the_data_of_the_dev_suite_have_changed(
    copied: Settings, suite: str, scored_again: bool
):
    change_release(copied, 1.0)
    data = ArtifactStore(copied.home / "assets").current("round_0/beir_report").report["data"]
    other = [{**row, "suite": "another"} for row in data]
    for number in range(2):
        change_report(copied, f"round_{number}/beir_report", data=[*data, *other])
    changed = [{**row, "revision": "old"} if row["suite"] == suite else row for row in [*data, *other]]
    change_report(copied, "released_model", evaluated_on=changed)
    compared = check(copied, "leaderboard")[REGRESSION]
    assert compared.passed == scored_again, "it scored 1.0 on the data of then, and the same as the round on today's"
    assert ("scored again" in compared.metadata["compared"].value) == scored_again
    if scored_again:
        assert [row["difference"] for row in compared.metadata["differences"].value] == pytest.approx([0, 0])


@pytest.mark.parametrize(("drop", "passed"), [(0.009, True), (0.011, False)])
def test_a_metric_without_scores_per_query_may_fall_by_a_hundredth(copied: Settings, drop: float, passed: bool):
    settings = copied.model_copy(update={"dev_metric": copied.dev_metric.model_copy(update={"metric": "accuracy"})})
    for number in range(2):
        key = f"round_{number}/beir_report"
        rows = ArtifactStore(copied.home / "assets").current(key).report["rows"]
        rows += [{**row, "metric": "accuracy", "value": 0.5} for row in rows if row["metric"] == "ndcg_at_10"]
        change_report(copied, key, rows=rows)
    with changing(copied, "released_model") as folder:
        lowered = [{**row, "value": row["value"] + drop} for row in rows]
        (folder / "scores" / "values.json").write_text(json.dumps(lowered))
    compared = check(settings, "leaderboard")[REGRESSION]
    assert compared.passed == passed
    assert compared.severity == dg.AssetCheckSeverity.ERROR
    assert "without scores per query" in compared.metadata["compared"].value
    assert [row["queries"] for row in compared.metadata["differences"].value] == [0, 0]


def test_a_release_that_has_no_score_in_common_is_a_warning(copied: Settings, monkeypatch: pytest.MonkeyPatch):
    nothing = Scores(pl.DataFrame(schema=SCHEMA), [])
    monkeypatch.setattr(report_checks, "_score_again", lambda *_: nothing)
    data = ArtifactStore(copied.home / "assets").current("released_model").report["evaluated_on"]
    change_report(copied, "released_model", evaluated_on=[{**task, "revision": "old"} for task in data])
    compared = check(copied, "leaderboard")[REGRESSION]
    assert not compared.passed
    assert compared.severity == dg.AssetCheckSeverity.WARN
    assert "not compared" in compared.metadata["compared"].value


def test_a_pickle_in_the_folder_that_users_load_fails_the_check_of_the_release(copied: Settings):
    assert check(copied, "released_model")["loads_without_pickle"].passed
    (copied.home / "released_model" / "pytorch_model.bin").write_bytes(b"")
    assert not check(copied, "released_model")["loads_without_pickle"].passed


def test_weights_that_are_not_those_of_its_report_fail_the_check_of_the_release(copied: Settings):
    change_weights((copied.home / "released_model").resolve(), lambda _, tensor: tensor.mul_(2))
    failed = check(copied, "released_model")["loads_without_pickle"]
    assert not failed.passed
    assert failed.metadata["pickles"].value == []
