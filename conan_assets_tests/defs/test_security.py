"""Secrets stay in the environment, outputs below the storage root, pickles unread, the UI on this machine."""

import logging
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from pydantic import ValidationError

from conan_assets.definitions import build_defs
from conan_assets.settings import Settings
from conan_assets_tests.defs.conftest import programme, write_beir_folder
from conan_assets_tests.llm.server import ChatServer, questions
from conan_assets_tests.processes import ROOT

pytestmark = pytest.mark.slow

SECRETS = {
    "OPENAI_API_KEY": "sk-0123456789-openai-secret",
    "HF_TOKEN": "hf_0123456789HubSecret",
    "CONAN_FAILURE_WEBHOOK": "http://127.0.0.1:9/webhook-secret",
}


def holding(folders: list[Path], secret: str) -> list[Path]:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if secret.encode() in path.read_bytes()]


def test_no_secret_of_the_environment_is_written_or_logged_by_a_run(
    tmp_path: Path,
    tiny_model: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    caplog.set_level(logging.DEBUG)
    write_beir_folder(tmp_path / "animals")
    (tmp_path / "dagster").mkdir()
    with ChatServer(lambda number, _: questions(f"what does it do, number {number}?")) as server:
        generation = {"kind": "openai", "model": "writer", "base_url": server.base_url, "max_pairs": 4}
        home = tmp_path / "home"
        settings = programme(tmp_path / "animals", tiny_model, home, generation=generation, rounds=1)
        job = build_defs(settings).resolve_implicit_global_asset_job_def()
        with dg.instance_for_test(temp_dir=str(tmp_path / "dagster")) as instance:
            result = job.execute_in_process(instance=instance)
        assert any(SECRETS["OPENAI_API_KEY"] in key for key in server.keys), "the endpoint was asked with the key"
    assert result.success
    written = [tmp_path / "home", tmp_path / "dagster"]
    assert holding(written, "miniature"), "the search looks where the run wrote"
    streams = capfd.readouterr()
    for secret in SECRETS.values():
        assert holding(written, secret) == []
        assert secret not in caplog.text + streams.out + streams.err


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return (exec, (f"open({str(self.path)!r}, 'w').close()",))


def test_a_base_model_of_pickles_ends_the_run_with_a_clear_error_and_is_not_executed(miniature: Settings):
    folder = miniature.home.parent / "pickled"
    shutil.copytree(miniature.base_model.model, folder)
    (folder / "model.safetensors").unlink()
    executed = miniature.home.parent / "executed"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Malicious(executed)))
    settings = programme(miniature.home.parent / "animals", str(folder), miniature.home)
    job = build_defs(settings).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey(["round_0", "checkpoint"])], raise_on_error=False
        )
    error = result.failure_data_for_node("round_0__checkpoint").error
    assert "pytorch_model.bin" in error.to_string()
    assert "a pickle runs code when it is loaded and is refused" in error.to_string()
    assert not executed.exists()


@pytest.mark.parametrize("name", ["../up", "..", "a/b", "/root", "a\\b", "", ".hidden", "a\nb"])
@pytest.mark.parametrize("kind", ["sources", "teachers", "suites"])
def test_a_name_that_could_leave_the_storage_root_is_refused(miniature: Settings, kind: str, name: str):
    values = miniature.model_dump(mode="json")
    holder = values["suites"]["beir"] if kind == "suites" else values[kind]
    holder[name] = next(iter(holder.values()))
    with pytest.raises(ValidationError, match="pattern"):
        Settings.model_validate(values)


def test_a_report_with_a_name_of_its_own_is_refused(miniature: Settings):
    values = miniature.model_dump(mode="json")
    values["suites"]["../up"] = values["suites"]["beir"]
    with pytest.raises(ValidationError, match="'beir' or 'cmteb'"):
        Settings.model_validate(values)


def test_nothing_of_a_run_lies_outside_the_storage_root(miniature: Settings):
    named = miniature.model_copy(update={"name": "../../escaped", "rounds": 1})
    before = set(miniature.home.parent.iterdir())
    job = build_defs(named).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        assert job.execute_in_process(instance=instance).success
    assert set(miniature.home.parent.iterdir()) - before <= {miniature.home}
    assert not list(miniature.home.parent.parent.glob("escaped*"))


def test_the_ui_listens_on_the_loopback_interface_alone():
    recipe = (ROOT / "Makefile").read_text().split("\nui:")[1].split("\n\n")[0]
    assert "--host 127.0.0.1" in recipe
    assert "0.0.0.0" not in (ROOT / "Makefile").read_text()


def test_our_code_loads_no_pickle():
    sources = {path: path.read_text() for path in (ROOT / "conan_assets").rglob("*.py")}
    for forbidden in ("torch.load(", "pickle.load", "import pickle", "allow_pickle=True", "joblib", "dill"):
        assert [path for path, text in sources.items() if forbidden in text] == [], forbidden
    loaders = [path.name for path, text in sources.items() if "SentenceTransformer(\n" in text]
    assert loaders == ["loading.py"], "models are loaded in one place, which asks for safetensors"
