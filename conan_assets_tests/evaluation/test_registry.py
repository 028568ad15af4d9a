"""A release in MLflow's registry: its own client and its own server, on loopback."""

from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from sentence_transformers import SentenceTransformer

from conan_assets.evaluation import registry
from conan_assets.evaluation.registry import register_release, require_registry
from conan_assets.evaluation.settings import EvaluationError, ReleaseSettings
from conan_assets_tests.mlflow_server import running_mlflow
from conan_assets_tests.processes import free_port

pytestmark = pytest.mark.slow

CARD = "---\nlibrary_name: sentence-transformers\n---\n\n# Models that {what}\n"
REGISTERED = ReleaseSettings(register_as="owls")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_mlflow(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


@pytest.fixture
def client(server: str, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    return MlflowClient()


def write_release(folder: Path, tiny_model: str, what: str) -> Path:
    SentenceTransformer(tiny_model, device="cpu").save(str(folder), create_model_card=False)
    (folder / "README.md").write_text(CARD.format(what=what))
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_version_holds_the_files_of_the_release_and_its_card_and_loads_with_mlflow(client, tiny_model, tmp_path):
    release = write_release(tmp_path / "0a1b", tiny_model, "see at night")
    assert register_release(release, "owls at night", {"dev_ndcg_at_10": 64.0}) == "models:/owls at night/1"
    version = client.get_model_version_by_alias("owls at night", "released")
    assert version.description == "# Models that see at night"
    assert version.tags == {"release": "0a1b"}
    assert client.get_run(version.run_id).data.metrics == {"dev_ndcg_at_10": 64.0}
    folder = Path(mlflow.artifacts.download_artifacts("models:/owls at night@released", dst_path=str(tmp_path / "got")))
    assert files_of(folder / "model.sentence_transformer") == files_of(release)
    loaded = mlflow.sentence_transformers.load_model("models:/owls at night@released")
    texts = ["which owl sings?", "a barn"]
    assert np.array_equal(loaded.encode(texts), SentenceTransformer(str(release), device="cpu").encode(texts))
    served = mlflow.pyfunc.load_model("models:/owls at night@released").predict({"input": texts})
    assert np.allclose([row["embedding"] for row in served["data"]], loaded.encode(texts))


def test_a_release_is_registered_once_and_the_next_one_takes_its_alias(client, tiny_model, tmp_path):
    first, second = (write_release(tmp_path / name, tiny_model, name) for name in ("first", "second"))
    assert register_release(first, "owls", {}) == "models:/owls/1"
    assert register_release(second, "owls", {}) == "models:/owls/2"
    assert register_release(first, "owls", {}) == "models:/owls/1"
    assert len(client.search_model_versions("name = 'owls'")) == 2
    assert int(client.get_model_version_by_alias("owls", "released").version) == 1


def test_a_password_in_the_address_is_not_printed(client, server, tiny_model, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.replace("http://", "http://user:secret@"))
    register_release(write_release(tmp_path / "quiet", tiny_model, "whisper"), "quiet owls", {})
    assert "secret" not in "".join(capfd.readouterr())


def test_a_registry_that_is_not_there_is_named_without_its_password(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    release = write_release(tmp_path / "release", tiny_model, "stay")
    with pytest.raises(
        EvaluationError, match=r"MLflow at http://\*\*\*@127.* does not register release as 'owls'"
    ) as e:
        register_release(release, "owls", {})
    assert "secret" not in str(e.value)


@pytest.mark.parametrize("uri", ["nowhere://registry", "sqlite:////proc/nowhere/mlflow.db"])
def test_an_address_that_is_none_of_mlflow_is_named(tiny_model, tmp_path, monkeypatch, uri: str):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    release = write_release(tmp_path / "release", tiny_model, "stay")
    with pytest.raises(EvaluationError, match=f"MLflow at {uri} does not register release"):
        register_release(release, "owls", {})


def test_what_registering_needs_is_named_before_anything_is_made(monkeypatch):
    require_registry(ReleaseSettings(), {})
    require_registry(REGISTERED, {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000"})
    with pytest.raises(EvaluationError, match=r"register_as is 'owls' but \$MLFLOW_TRACKING_URI is not set"):
        require_registry(REGISTERED, {})
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EvaluationError, match=r"needs mlflow: pip install 'conan-assets\[mlflow\]'"):
        require_registry(REGISTERED, {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000"})
