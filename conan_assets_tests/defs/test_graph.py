import errno
import json
import os
import shutil
from pathlib import Path

import dagster as dg
import huggingface_hub
import polars as pl
import pytest
from sentence_transformers import SentenceTransformer

from conan_assets.artifacts import ArtifactStore
from conan_assets.definitions import build_defs
from conan_assets.evaluation.settings import ReleaseSettings
from conan_assets.settings import Settings, load_settings
from conan_assets.synthesis.settings import OpenAIGeneration
from conan_assets_tests.defs.conftest import metadata, programme, run, table, write_beir_folder
from conan_assets_tests.evaluation.hub_server import running_hub
from conan_assets_tests.llm.server import ChatServer, Reply, questions

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> tuple[Settings, dg.ExecuteInProcessResult]:
    folder = tmp_path_factory.mktemp("programme")
    write_beir_folder(folder / "animals")
    settings = programme(folder / "animals", tiny_model, folder / "home")
    return settings, run(settings)


def test_the_graph_is_the_one_that_the_design_draws(miniature: Settings):
    graph = build_defs(miniature).resolve_asset_graph()

    def parents(key: str) -> set[str]:
        return {parent.to_user_string() for parent in graph.get(dg.AssetKey.from_user_string(key)).parent_keys}

    assert parents("prompt_response_pairs") == {"raw_corpus", "raw_pairs"}
    assert parents("training_pairs") == {"raw_corpus", "raw_pairs", "prompt_response_pairs"}
    assert parents("teacher_scores/bm25") == {"raw_corpus", "training_pairs"}
    assert {"round_1/checkpoint", "teacher_scores/tiny", "round_1/hard_negatives"} <= parents("round_2/hard_negatives")
    assert {"round_2/hard_negatives", "round_1/checkpoint"} <= parents("round_2/checkpoint")
    assert "round_2/checkpoint" in parents("round_2/beir_report")
    assert {f"round_{number}/beir_report" for number in range(3)} == parents("leaderboard")
    assert {"leaderboard", "round_0/checkpoint", "round_2/checkpoint"} <= parents("released_model")


def test_rounds_and_suites_decide_which_assets_there_are(miniature: Settings):
    more = miniature.model_copy(update={"rounds": 3, "suites": {**miniature.suites, "cmteb": miniature.suites["beir"]}})
    keys = {key.to_user_string() for key in build_defs(more).resolve_asset_graph().get_all_asset_keys()}
    assert {"round_3/checkpoint", "round_3/cmteb_report", "round_0/cmteb_report"} <= keys
    assert "round_4/checkpoint" not in keys


def test_the_job_over_everything_has_a_weekly_schedule_that_is_stopped():
    definitions = build_defs_of_demo()
    schedule = definitions.resolve_schedule_def("weekly_training")
    assert schedule.job_name == "train_job"
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    dg.Definitions.validate_loadable(definitions)


def build_defs_of_demo() -> dg.Definitions:
    return build_defs(load_settings("demo", {}))


def test_every_asset_is_materialized_and_every_check_passes(finished: tuple[Settings, dg.ExecuteInProcessResult]):
    settings, result = finished
    assert result.success
    expected = {key.to_user_string() for key in build_defs(settings).resolve_asset_graph().get_all_asset_keys()}
    assert set(metadata(result)) == expected
    evaluations = result.get_asset_check_evaluations()
    assert evaluations
    assert all(evaluation.passed for evaluation in evaluations)


def test_the_leaderboard_compares_base_model_bm25_and_both_rounds_alone_and_together(
    finished: tuple[Settings, dg.ExecuteInProcessResult],
):
    settings, _ = finished
    rows = json.loads((settings.home / "leaderboard.json").read_text())
    scored = {(row["round"], row["model"]) for row in rows if row["metric"] == "ndcg_at_10" and row["split"] == "test"}
    models = {"round_0": "base model", "round_1": "round 1", "round_2": "round 2"}
    hybrids = {(name, f"BM25 + {model}") for name, model in models.items()}
    assert scored == {("round_0", "BM25"), *models.items(), *hybrids}
    assert all(0 <= row["value"] <= 1 and row["checkpoint_fingerprint"] for row in rows)
    assert (settings.home / "leaderboard.md").read_text().count("|") > 10


def test_the_outcome_stands_in_words_and_numbers_wherever_it_is_looked_for(
    finished: tuple[Settings, dg.ExecuteInProcessResult],
):
    settings, result = finished
    pages = metadata(result)
    outcome = pages["released_model"]["outcome"].value
    assert outcome == pages["leaderboard"]["outcome"].value
    for name in ("leaderboard.md", "outcome.md", "released_model/README.md"):
        assert outcome in (settings.home / name).read_text().replace("**", "").replace("`", "")
    assert f"Released model: {settings.home}/released_model" in (settings.home / "outcome.md").read_text()
    released = ArtifactStore(settings.home / "assets").current("released_model").report["round"]
    rows = json.loads((settings.home / "leaderboard.json").read_text())
    assert {row["round"] for row in rows if row["best"]} == {released} == {pages["leaderboard"]["best_round"].value}
    for page in (pages["leaderboard"], pages["released_model"]):
        for split in ("dev", "test"):
            (score, base) = (
                next(100 * row["value"] for row in rows if (row["split"], row["metric"], row[by]) == place)
                for by, place in (
                    ("best", (split, "ndcg_at_10", True)),
                    ("model", (split, "ndcg_at_10", "base model")),
                )
            )
            assert page[f"{split}_ndcg_at_10"].value == pytest.approx(score, abs=0.006)
            assert page[f"{split}_gain_over_base_model"].value == pytest.approx(score - base, abs=0.012)
    assert not pages["released_model"]["model_card"].value.startswith("---")


def test_the_badges_of_the_assets_name_what_runs():
    def kinds(settings: Settings) -> dict[str, set[str]]:
        graph = build_defs(settings).resolve_asset_graph()
        return {key.to_user_string(): graph.get(key).kinds for key in graph.get_all_asset_keys()}

    demo = load_settings("demo", {})
    assert not {"faiss", "openai"} & set().union(*kinds(demo).values())
    search = demo.mining.search.model_copy(update={"index": "HNSW32"})
    approximate = demo.model_copy(update={"mining": demo.mining.model_copy(update={"search": search})})
    assert "faiss" in kinds(approximate)["round_1/hard_negatives"]
    asking = demo.model_copy(update={"generation": OpenAIGeneration(kind="openai", model="any")})
    assert "openai" in kinds(asking)["prompt_response_pairs"]


def test_the_page_of_a_report_shows_points(finished: tuple[Settings, dg.ExecuteInProcessResult]):
    settings, result = finished
    value = ArtifactStore(settings.home / "assets").current("round_1/beir_report").report["rows"][0]["value"]
    assert f"| {100 * value:.4g} |" in metadata(result)["round_1/beir_report"]["rows"].value


def test_the_released_model_loads_and_scores_as_reported(finished: tuple[Settings, dg.ExecuteInProcessResult]):
    settings, _ = finished
    released = settings.home / "released_model"
    assert (released / "README.md").read_text().startswith("---\n")
    model = SentenceTransformer(str(released), device="cpu")
    pairs = table(settings, "raw_pairs").filter(pl.col("split") == "dev")
    corpus = table(settings, "raw_corpus")
    documents = model.encode((corpus["title"] + " " + corpus["text"]).to_list(), normalize_embeddings=True)
    queries = model.encode(pairs["query"].to_list(), normalize_embeddings=True)
    order = (queries @ documents.T).argsort(axis=1)[:, ::-1]
    found = [corpus["doc_id"].to_list().index(doc_id) for doc_id in pairs["doc_id"]]
    ranks = [row.tolist().index(position) for row, position in zip(order, found, strict=True)]
    reciprocal = sum(1 / (rank + 1) for rank in ranks if rank < 10) / len(ranks)
    rows = json.loads((settings.home / "leaderboard.json").read_text())
    released_round = ArtifactStore(settings.home / "assets").current("released_model").report["round"]
    (reported,) = [
        row["value"]
        for row in rows
        if (row["round"], row["metric"], row["split"]) == (released_round, "mrr_at_10", "dev")
        and not row["model"].startswith("BM25")
    ]
    assert reported == pytest.approx(reciprocal, abs=0.005)


def test_each_round_mines_with_the_previous_checkpoint_and_never_a_positive(
    finished: tuple[Settings, dg.ExecuteInProcessResult],
):
    settings, _ = finished
    positives = table(settings, "training_pairs").select("query_id", "doc_id")
    first, second = (table(settings, f"round_{number}/hard_negatives") for number in (1, 2))
    assert first.filter(verdict="kept").height > 0
    for negatives in (first, second):
        assert negatives.join(positives, on=["query_id", "doc_id"], how="semi").is_empty()
        assert {"student_score", "tiny_score", "bm25_score"} <= set(negatives.columns)
    both = first.join(second, on=["query_id", "doc_id"])
    assert (both["student_score"] != both["student_score_right"]).any()


def test_a_second_run_reuses_everything_with_the_same_data_versions(
    finished: tuple[Settings, dg.ExecuteInProcessResult],
):
    settings, before = finished
    again = run(settings)
    assert all(values["reused"].value is True for values in metadata(again).values())
    assert {key: values["fingerprint"].value for key, values in metadata(again).items()} == {
        key: values["fingerprint"].value for key, values in metadata(before).items()
    }
    assert not [path for path in Path(settings.home).rglob("*") if path.suffix in (".partial", ".tmp")]


def test_a_changed_setting_rebuilds_only_what_depends_on_it(finished: tuple[Settings, dg.ExecuteInProcessResult]):
    settings, _ = finished
    changed = settings.model_copy(update={"mining": settings.mining.model_copy(update={"depth": 15})})
    reused = {key: values["reused"].value for key, values in metadata(run(changed)).items()}
    assert reused["training_pairs"]
    assert reused["teacher_scores/tiny"]
    assert reused["round_0/beir_report"]
    assert not reused["round_1/hard_negatives"]
    assert not reused["released_model"]


def test_a_teacher_that_calibrates_has_the_negatives_mined_again(finished: tuple[Settings, dg.ExecuteInProcessResult]):
    settings, _ = finished
    calibrated = settings.teachers["tiny"].model_copy(update={"calibrate": True})
    changed = settings.model_copy(update={"teachers": {**settings.teachers, "tiny": calibrated}})
    selection = 'key:"teacher_scores/tiny" or key:"round_1/hard_negatives"'
    reused = {key: values["reused"].value for key, values in metadata(run(changed, selection)).items()}
    assert reused == {"teacher_scores/tiny": False, "round_1/hard_negatives": False}


def copy_home(settings: Settings, home: Path) -> Settings:
    shutil.copytree(settings.home, home, symlinks=True)
    return settings.model_copy(update={"home": home})


def test_the_leaderboard_is_made_again_when_a_stage_was_built_anew_with_other_costs(
    finished: tuple[Settings, dg.ExecuteInProcessResult], tmp_path: Path
):
    settings = copy_home(finished[0], tmp_path / "home")
    teacher = ArtifactStore(settings.home / "assets").current("teacher_scores/tiny").path
    shutil.copytree(teacher, teacher.with_name("another"))
    (teacher.parent / "current").write_text("another")
    first, again = (metadata(run(settings, "leaderboard"))["leaderboard"]["reused"].value for _ in range(2))
    assert (first, again) == (False, True)


def test_the_leaderboard_says_what_every_stage_took(finished: tuple[Settings, dg.ExecuteInProcessResult]):
    settings, _ = finished
    costs = (settings.home / "leaderboard.md").read_text().split("## Cost\n\n")[1].split("\n\n")[0]
    lines = {(line.split(" | ")[0], line.split(" | ")[1]): line.split(" | ")[2:4] for line in costs.splitlines()[2:]}
    stages = ["writing pairs", "curation", "scores of bm25", "scores of tiny"]
    rounds = [(f"| round_{number}", stage) for number in (1, 2) for stage in ("mining", "training")]
    assert {("| round_0", stage) for stage in stages} | set(rounds) <= set(lines)
    curation = ArtifactStore(settings.home / "assets").current("training_pairs").report
    assert lines["| round_0", "curation"] == [str(curation["seconds"]), "0"], "no encoder scores the pairs"


@pytest.mark.parametrize(
    ("asset", "copy"), [("leaderboard", "copyfile"), ("released_model", "copytree")], ids=["leaderboard", "release"]
)
def test_a_disk_that_is_full_when_the_outcome_is_copied_is_named_with_the_way_out(
    finished: tuple[Settings, dg.ExecuteInProcessResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asset: str,
    copy: str,
):
    settings = copy_home(finished[0], tmp_path / "home")
    shutil.rmtree(settings.home / "releases")

    def full(*_: object, **__: object) -> None:
        raise shutil.Error([("from", "to", f"[Errno {errno.ENOSPC}] {os.strerror(errno.ENOSPC)}: 'to'")])

    monkeypatch.setattr(shutil, copy, full)
    failed = run(settings, asset, raise_on_error=False)
    told = failed.failure_data_for_node(asset).error.to_string()
    assert f"the disk is full: {asset} could not be written below {settings.home}" in told


def test_metadata_shows_rows_columns_examples_curves_and_histograms(
    finished: tuple[Settings, dg.ExecuteInProcessResult],
):
    _, result = finished
    shown = metadata(result)
    for key in ("raw_corpus", "training_pairs", "round_1/hard_negatives"):
        assert shown[key]["dagster/row_count"].value > 0
        assert shown[key]["dagster/column_schema"].schema.columns
        assert "| --- |" in shown[key]["example_rows"].md_str
    pictures = [
        (key, name)
        for key, values in shown.items()
        for name, value in values.items()
        if isinstance(value, dg.MarkdownMetadataValue) and "data:image/png;base64," in (value.md_str or "")
    ]
    assert {"round_1/checkpoint", "round_1/hard_negatives", "teacher_scores/tiny", "leaderboard"} <= {
        key for key, _ in pictures
    }


def test_a_programme_asking_for_more_negatives_than_documents_fails_with_both_numbers(miniature: Settings):
    mining = miniature.mining.model_copy(update={"negatives_per_query": 500, "pool_depth": 500})
    with pytest.raises(Exception, match=r"500.*64|64.*500"):
        run(miniature.model_copy(update={"mining": mining}))


def test_a_judge_relabels_negatives_that_the_next_checkpoint_trains_on_as_positives(
    tmp_path: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0123456789")

    def answer(number: int, body: dict) -> Reply:
        judged = "You judge search results" in body["messages"][0]["content"]
        return Reply('{"relevant": true}') if judged else questions(f"what is it about, {number}?")

    write_beir_folder(tmp_path / "animals")
    with ChatServer(answer) as server:
        generation = {"kind": "openai", "model": "judge", "base_url": server.base_url, "max_pairs": 2}
        mining = {"veto": [], "judge": {"per_query": 1, "relevant": "relabel"}, "negatives_per_query": 2, "depth": 10}
        settings = programme(
            tmp_path / "animals", tiny_model, tmp_path / "home", generation=generation, mining=mining, rounds=1
        )
        result = run(settings, '+key:"round_1/checkpoint"')
    relabelled = table(settings, "round_1/hard_negatives").filter(reason="relabelled_as_positive")
    mined = metadata(result)["round_1/hard_negatives"]
    assert relabelled.height == mined["judged_relevant"].value > 0
    assert mined["prompt_tokens"].value == 100 * mined["judged"].value
    assert "sk-secret" not in "".join(path.read_text() for path in (tmp_path / "home").rglob("*.json*"))


def test_the_release_names_the_checks_that_its_round_has_passed(finished: tuple[Settings, dg.ExecuteInProcessResult]):
    settings, result = finished
    released = ArtifactStore(settings.home / "assets").current("released_model").report["round"]
    checks = metadata(result)["released_model"]["checks"].md_str
    assert f"| {released}/checkpoint: embeddings_spread | passed |" in checks
    assert f"| {released}/beir_report: scores_are_numbers | passed |" in checks


def test_a_release_is_pushed_where_the_settings_say_so_and_needs_a_token(
    finished: tuple[Settings, dg.ExecuteInProcessResult], monkeypatch: pytest.MonkeyPatch
):
    settings, _ = finished
    pushed = settings.model_copy(update={"release": ReleaseSettings(push_to="org/model")})
    monkeypatch.delenv("HF_TOKEN", raising=False)
    refused = run(pushed, "released_model", raise_on_error=False)
    assert "$HF_TOKEN is not set" in refused.failure_data_for_node("released_model").error.to_string()
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    with running_hub() as hub:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        values = metadata(run(pushed, "released_model"))["released_model"]
    assert values["reused"].value is True
    assert values["pushed_to"].url.startswith(hub.url)
    folder = settings.home / "released_model"
    assert set(hub.files) == {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert "hf_good" not in str(values)
