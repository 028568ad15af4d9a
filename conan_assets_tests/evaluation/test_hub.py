"""The push of a release to the Hub."""

import logging
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError
from pydantic import ValidationError
from sentence_transformers import SentenceTransformer

from conan_assets.evaluation.hub import hub_token, push_release
from conan_assets.evaluation.settings import EvaluationError, ReleaseSettings
from conan_assets_tests.evaluation.hub_server import Hub, running_hub

PUSHED = ReleaseSettings(push_to="org/model")


@pytest.fixture
def hub(monkeypatch):
    with running_hub() as server:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        yield server


@pytest.fixture
def release(tiny_model, tmp_path) -> Path:
    folder = tmp_path / "release"
    SentenceTransformer(tiny_model, device="cpu").save(str(folder))
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_repository_holds_what_the_release_holds_and_is_private(hub: Hub, release):
    url = push_release(release, PUSHED, "hf_good", "round_2 of demo")
    assert url.startswith(f"{hub.url}/org/model/commit/")
    assert (hub.created, hub.commits) == ({"org/model": True}, ["round_2 of demo"])
    assert hub.files == files_of(release)
    assert any(name.endswith(".safetensors") for name in hub.files)


def test_the_next_release_takes_the_place_of_all_files_of_the_one_before(hub: Hub, release):
    push_release(release, PUSHED, "hf_good", "first")
    (release / "README.md").rename(release / "CARD.md")
    push_release(release, PUSHED, "hf_good", "second")
    assert hub.commits == ["first", "second"]
    assert hub.files == files_of(release)


def test_a_public_repository_has_to_be_asked_for(hub: Hub, release):
    push_release(release, ReleaseSettings(push_to="org/model", private=False), "hf_good", "first")
    assert hub.created == {"org/model": False}


def test_a_token_that_may_not_write_is_an_error_that_does_not_tell_it(hub: Hub, release, caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(HfHubHTTPError, match="401") as refused:
        push_release(release, PUSHED, "hf_bad_secret", "first")
    assert "hf_bad_secret" not in str(refused.value) + caplog.text
    assert hub.tokens == {"Bearer hf_bad_secret"}
    assert not hub.files


def test_the_token_comes_from_the_environment_alone_and_only_where_something_is_pushed():
    assert hub_token(ReleaseSettings(), {"HF_TOKEN": "hf_good"}) is None
    assert hub_token(PUSHED, {"HF_TOKEN": "hf_good"}) == "hf_good"
    for environment in ({}, {"HF_TOKEN": " "}):
        with pytest.raises(EvaluationError, match=r"push_to is 'org/model' but \$HF_TOKEN is not set"):
            hub_token(PUSHED, environment)


def test_a_repository_is_an_organisation_and_a_name():
    with pytest.raises(ValidationError, match="push_to"):
        ReleaseSettings(push_to="model")
