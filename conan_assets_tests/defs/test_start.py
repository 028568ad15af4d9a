"""Where the rounds start: the base model, or the release that was there before the data changed."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from conan_assets.artifacts import ArtifactStore
from conan_assets.encoding.models import fingerprint_model
from conan_assets.settings import Settings
from conan_assets_tests.defs.conftest import metadata, programme, run, write_beir_folder

pytestmark = pytest.mark.slow


def started_from(settings: Settings) -> str:
    return ArtifactStore(settings.home / "assets").current("round_0/checkpoint").report["release"]


def reused(settings: Settings) -> dict[str, bool]:
    return {key: values["reused"].value for key, values in metadata(run(settings)).items()}


def test_training_goes_on_from_the_last_release_when_the_data_changed_and_only_then(tmp_path: Path, tiny_model: str):
    write_beir_folder(tmp_path / "animals")
    settings = programme(
        tmp_path / "animals",
        tiny_model,
        tmp_path / "home",
        rounds=1,
        start_from="released_model",
        generation={"kind": "none"},
    )
    assert not any(reused(settings).values())
    assert started_from(settings) == "", "there was no release: the base model"
    first = (settings.home / "released_model").resolve()

    assert all(reused(settings).values()), "the release it made itself is not trained on again"

    path = tmp_path / "animals" / "qrels" / "train.tsv"
    path.write_text("\n".join(path.read_text().splitlines()[:-4]) + "\n")
    assert not reused(settings)["round_0/checkpoint"]
    assert started_from(settings) == first.name
    start = ArtifactStore(settings.home / "assets").current("round_0/checkpoint")
    assert fingerprint_model(str(start.path / "model")) == fingerprint_model(str(first))
    assert all(reused(settings).values())

    rows = json.loads((settings.home / "leaderboard.json").read_text())
    assert {row["model"] for row in rows} == {
        "BM25",
        "base model",
        "round 0",
        "BM25 + round 0",
        "round 1",
        "BM25 + round 1",
    }


def test_a_warm_start_takes_the_place_of_pretraining(miniature: Settings):
    values = miniature.model_dump(mode="json")
    values |= {"start_from": "released_model", "pretraining": values["training"][0]}
    with pytest.raises(ValidationError, match="takes the place of pretraining"):
        Settings.model_validate(values)
