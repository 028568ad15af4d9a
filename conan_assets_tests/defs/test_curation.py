"""`raw_corpus` to `training_pairs` in the graph: several sources, the teacher's floor, the checks."""

import json
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from conan_assets.artifacts import ArtifactStore
from conan_assets.definitions import build_defs
from conan_assets.defs.curation import build_curation_assets
from conan_assets.evaluation.settings import EvaluationError
from conan_assets.settings import Settings
from conan_assets_tests.data.frames import make_pairs
from conan_assets_tests.defs.conftest import programme, write_beir_folder

pytestmark = pytest.mark.slow


def materialize(settings: Settings, raise_on_error: bool = True) -> dg.ExecuteInProcessResult:
    definitions = build_defs(settings)
    keys = dg.AssetSelection.assets("training_pairs").upstream().resolve(definitions.resolve_asset_graph())
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(instance=instance, asset_selection=list(keys), raise_on_error=raise_on_error)


def report(settings: Settings) -> dict:
    return ArtifactStore(settings.home / "assets").current("training_pairs").report


def removed(settings: Settings) -> dict[str, int]:
    return {row["reason"]: row["removed"] for row in report(settings)["removed_by_reason"] if row["removed"]}


def table(settings: Settings, key: str) -> pl.DataFrame:
    return pl.read_parquet(ArtifactStore(settings.home / "assets").current(key).path / "table.parquet")


def check(result: dg.ExecuteInProcessResult, name: str) -> dg.AssetCheckEvaluation:
    (found,) = [evaluation for evaluation in result.get_asset_check_evaluations() if evaluation.check_name == name]
    return found


def with_sources(tmp_path: Path, model: str, **changes: object) -> Settings:
    """Return the miniature programme with three kinds of sources more; one query is asked in a test split too."""
    write_beir_folder(tmp_path / "animals")
    judgements = (tmp_path / "animals" / "qrels" / "test.tsv").read_text().splitlines()
    queries = [json.loads(line) for line in (tmp_path / "animals" / "queries.jsonl").read_text().splitlines()]
    tested = next(query["text"] for query in queries if query["_id"] == judgements[1].split("\t")[0])
    for name, rows in {
        "faq": [
            "query\tpositive\tnegatives",
            'how are you\tI am fine.\t["Ask a friend."]',
            f"{tested}\tIn the pond.\t",
        ],
        "sts": ["sentence1\tsentence2\tscore", "a man runs\tsomeone runs\t4", "a man runs\ta cat sleeps\t0"],
        "labels": ["text\tlabel", "fine food\tgood", "cold food\tbad"],
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.tsv").write_text("\n".join(rows) + "\n")
    base = programme(tmp_path / "animals", model, tmp_path / "home").model_dump(mode="json")
    base["sources"] |= {
        "faq": {"kind": "pairs", "path": str(tmp_path / "faq"), "weight": 2.0},
        "sts": {"kind": "sts", "path": str(tmp_path / "sts"), "max_score": 5},
        "labels": {"kind": "classification", "path": str(tmp_path / "labels")},
    }
    return Settings.model_validate({**base, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> tuple[Settings, dg.ExecuteInProcessResult]:
    settings = with_sources(tmp_path_factory.mktemp("sources"), tiny_model)
    return settings, materialize(settings)


def test_every_kind_of_source_arrives_with_its_task(finished: tuple[Settings, dg.ExecuteInProcessResult]):
    settings, _ = finished
    pairs = table(settings, "training_pairs").filter(origin="natural")
    tasks = {(dataset, task): count for dataset, task, count in pairs.group_by("dataset", "task").len().iter_rows()}
    assert tasks[("faq", "retrieval")] == 1
    assert tasks[("sts", "sts")] == tasks[("labels", "classification")] == 2
    assert table(settings, "raw_corpus")["dataset"].unique(maintain_order=True).to_list() == ["animals", "faq"]
    assert not list(Path(settings.home).glob(".sources_*"))


def test_what_each_step_removed_is_shown_as_a_table_and_a_picture(
    finished: tuple[Settings, dg.ExecuteInProcessResult],
):
    settings, result = finished
    assert removed(settings) == {"judged_irrelevant": 1, "evaluation_query": 1}
    (event,) = [
        event for event in result.get_asset_materialization_events() if event.asset_key == dg.AssetKey("training_pairs")
    ]
    metadata = event.materialization.metadata
    assert metadata["picture"].value.startswith("![removed_by_step.png](data:image/png;base64,")
    assert "| decontamination | evaluation_query | 1 |" in metadata["removed_by_reason"].value
    assert "| animals/test |" in metadata["decontamination"].value
    assert "evaluation_query" in metadata["rejected_examples"].value


def test_the_overlap_with_evaluation_sets_is_checked_against_a_limit(
    finished: tuple[Settings, dg.ExecuteInProcessResult], tmp_path: Path, tiny_model: str
):
    settings, result = finished
    share = report(settings)["contaminated_share"]
    assert 0 < share < 0.2
    overlap = check(result, "evaluation_overlap")
    assert not overlap.passed, "one of the two pairs of a source, few as they are among all"
    assert overlap.metadata["contaminated_share"].value == 0.5
    assert "| faq | 2 | 1 | 0.5 |" in overlap.metadata["by_dataset"].value
    assert "| animals/test |" in overlap.metadata["decontamination"].value
    assert check(result, "no_evaluation_query").passed
    lenient = with_sources(tmp_path, tiny_model, curation={"max_contaminated_share": 0.5})
    assert check(materialize(lenient), "evaluation_overlap").passed


def test_the_check_finds_an_evaluation_query_in_the_second_sentence_of_a_graded_pair(tmp_path: Path, tiny_model: str):
    *_, no_evaluation_query, _ = build_curation_assets(with_sources(tmp_path, tiny_model))
    held_out = {"query": "who sings", "doc_id": "animals:1", "dataset": "animals"}
    graded = {"query": "what sings", "text": "Who  sings", "task": "sts"}
    trained, raw = (
        make_pairs(graded).lazy(),
        make_pairs(*(held_out | {"split": split} for split in ("dev", "test"))).lazy(),
    )
    assert not no_evaluation_query(trained, raw).passed
    assert no_evaluation_query(make_pairs(graded | {"text": "who purrs"}).lazy(), raw).passed


def test_pairs_that_an_encoder_finds_too_little_alike_do_not_train(tmp_path: Path, tiny_model: str):
    encoder = {"model": tiny_model, "dtype": "float32"}
    settings = with_sources(tmp_path, tiny_model, curation={"teacher_score": {"encoder": encoder, "floor": 0.9685}})
    materialize(settings)
    scored = removed(settings)["low_teacher_score"]
    assert 0 < scored < 40
    assert table(settings, "training_pairs").filter(task="sts").height == 2
    stored = sum(path.stat().st_size // 16 for path in (settings.home / "embeddings").rglob("keys.bin"))
    assert report(settings)["encoded"] == stored > 0, "the scores come from the shared store"


def test_the_weight_of_a_source_changes_checkpoints_and_nothing_before(
    finished: tuple[Settings, dg.ExecuteInProcessResult],
):
    settings, _ = finished
    sources = {name: source.model_copy(update={"weight": 3.0}) for name, source in settings.sources.items()}
    again = materialize(settings.model_copy(update={"sources": sources}))
    events = again.get_asset_materialization_events()
    assert all(event.materialization.metadata["reused"].value for event in events)


def test_a_dev_metric_that_no_task_of_a_benchmark_has_is_refused_before_anything_is_trained(
    tmp_path: Path, tiny_model: str
):
    write_beir_folder(tmp_path / "animals")
    suites = {"beir": {"hub": {"kind": "mteb", "benchmark": "BEIR", "tasks": ["SciFact"]}}}
    settings = programme(
        tmp_path / "animals", tiny_model, tmp_path / "home", suites=suites, dev_metric={"suite": "hub", "split": "dev"}
    )
    with pytest.raises(
        EvaluationError, match=r"no task of suite 'hub' has ndcg_at_10 on split 'dev'.*test: map_at_1000"
    ):
        materialize(settings)
