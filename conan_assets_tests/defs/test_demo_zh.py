"""The Chinese offline profile, end to end with a smaller model and few steps."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from pydantic import ValidationError
from sentence_transformers import SentenceTransformer

from conan_assets.artifacts import ArtifactStore
from conan_assets.defs.checkpoints import SCRATCH_NOTE
from conan_assets.settings import Settings, load_settings
from conan_assets.training.architecture import CharacterBertSettings
from conan_assets_tests.defs.conftest import metadata, run, table

pytestmark = pytest.mark.slow

TINY = CharacterBertSettings(hidden_size=16, layers=1, heads=2, max_tokens=64)
QUICK = {"max_steps": 3, "retrieval_batch_size": 4, "matryoshka_dims": (8, 24), "negatives_per_query": 2}


def smaller(home: Path, **changes: object) -> Settings:
    """Return the shipped profile with one round of a tiny model."""
    shipped = load_settings("demo_zh", {})
    assert shipped.pretraining is not None
    update: Mapping[str, object] = {
        "home": home,
        "rounds": 1,
        "from_scratch": TINY,
        "architecture": replace(shipped.architecture, head_dim=24),
        "base_model": replace(shipped.base_model, max_tokens=64),
        "pretraining": replace(shipped.pretraining, **{**QUICK, "negatives_per_query": 0}),
        "training": tuple(replace(stage, **QUICK, sts_batch_size=4) for stage in shipped.training),
        **changes,
    }
    return shipped.model_copy(update=update)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, dg.ExecuteInProcessResult]:
    settings = smaller(tmp_path_factory.mktemp("chinese"))
    return settings, run(settings)


def report(settings: Settings, key: str) -> dict:
    return ArtifactStore(settings.home / "assets").current(key).report


def test_the_base_model_is_made_from_the_corpus_and_then_pretrained(finished):
    settings, _ = finished
    checkpoint = ArtifactStore(settings.home / "assets").current("round_0/checkpoint").path
    scratch = SentenceTransformer(str(checkpoint / "character_bert"), device="cpu")
    characters = set("".join(table(settings, "raw_corpus")["text"])) - set(" ")
    unknown = [character for character in characters if scratch.tokenizer.tokenize(character) == ["[UNK]"]]
    assert not unknown
    trained = SentenceTransformer(str(checkpoint / "model"), device="cpu")
    assert (scratch.get_embedding_dimension(), trained.get_embedding_dimension()) == (16, 24)


def test_every_task_of_the_profile_is_trained_and_scored(finished):
    settings, _ = finished
    pairs = table(settings, "training_pairs")
    assert set(pairs["task"]) == {"retrieval", "sts", "classification"}
    assert set(pairs["origin"]) == {"natural", "extractive"}
    assert report(settings, "round_1/checkpoint")["sts_samples"] > 0
    rows = [row for row in report(settings, "round_1/cmteb_report")["rows"] if row["main"]]
    assert {row["type"] for row in rows} == {"Retrieval", "STS", "Classification", "PairClassification"}


def test_held_out_questions_do_not_train(finished):
    settings, _ = finished
    raw = table(settings, "raw_pairs")
    held_out = set(raw.filter(pl.col("split") != "train")["query"])
    assert len(held_out) > 100
    assert not held_out & set(table(settings, "training_pairs")["query"])


def test_the_leaderboard_compares_the_random_start_with_what_was_trained(finished):
    settings, _ = finished
    rows = json.loads((settings.home / "leaderboard.json").read_text())
    models = {row["model"] for row in rows if row["metric"] == "ndcg_at_10"}
    assert models == {"BM25", "base model", "round 0", "BM25 + round 0", "round 1", "BM25 + round 1"}
    scores = {row["model"]: row["value"] for row in rows if (row["metric"], row["split"]) == ("ndcg_at_10", "test")}
    assert scores["base model"] != scores["round 0"]


def test_reports_say_that_the_scores_mean_little(finished):
    settings, _ = finished
    assert report(settings, "round_1/cmteb_report")["note"] == SCRATCH_NOTE
    card = (settings.home / "released_model" / "README.md").read_text()
    assert "from `character_bert`" in card
    assert str(settings.home) not in card


def test_a_second_run_makes_nothing_again_and_another_size_makes_the_base_model_again(finished):
    settings, _ = finished
    assert all(values["reused"].value for values in metadata(run(settings)).values())
    wider = smaller(settings.home, from_scratch=replace(TINY, layers=2))
    remade = metadata(run(wider, 'key:"training_pairs" or key:"round_0/checkpoint"'))
    assert {key: values["reused"].value for key, values in remade.items()} == {
        "training_pairs": True,
        "round_0/checkpoint": False,
    }


def test_a_model_from_scratch_must_be_pretrained():
    values = load_settings("demo_zh", {}).model_dump(mode="json")
    with pytest.raises(ValidationError, match=r"from_scratch makes a model of random weights.*set pretraining"):
        Settings.model_validate({**values, "pretraining": None})
