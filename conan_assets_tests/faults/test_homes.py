"""Two programmes, or two states of one, on one home; a home that is moved or copied."""

import shutil
from pathlib import Path

import dagster as dg
import pytest

from conan_assets.settings import Settings
from conan_assets.synthesis import generation
from conan_assets_tests.defs.conftest import finished, metadata, programme, run, write_beir_folder  # noqa: F401
from conan_assets_tests.faults.conftest import outcome
from conan_assets_tests.forked import fork

pytestmark = pytest.mark.slow


def over_other_documents(settings: Settings, folder: Path, name: str = "miniature") -> Settings:
    """A programme on the same home over documents of its own, or what an edited profile makes of the same one."""
    write_beir_folder(folder / "other", seed=1)
    return programme(folder / "other", settings.base_model.model, settings.home, rounds=1, name=name)


def selection_of(keys: list[str]) -> str:
    return " or ".join(f'key:"{key}"' for key in keys)


def current(settings: Settings, key: str) -> str:
    return (settings.home / "assets" / key / "current").read_text()


@pytest.mark.parametrize("replaced", [["raw_corpus"], ["raw_pairs"], ["raw_corpus", "raw_pairs"]])
def test_a_run_goes_on_with_the_tables_that_it_made_whatever_another_run_puts_in_their_place(
    finished: Settings,  # noqa: F811
    tmp_path: Path,
    replaced: list[str],
    monkeypatch: pytest.MonkeyPatch,
):
    ours = finished.model_copy(update={"home": tmp_path / "home"})
    theirs = over_other_documents(ours, tmp_path)
    write = generation.generate_pairs

    def write_after_the_other_run(*arguments: object) -> object:
        before = {key: current(ours, key) for key in replaced}
        fork(tmp_path / "log", run, theirs, selection_of(replaced), False).join()
        assert all(current(ours, key) != before[key] for key in replaced), (tmp_path / "log").read_text()
        return write(*arguments)

    monkeypatch.setattr(generation, "generate_pairs", write_after_the_other_run)
    assert run(ours).success
    made, expected = outcome(ours.home), outcome(finished.home)
    assert made["release"] == expected["release"]
    assert made["scores"] == expected["scores"]
    assert made["weights"] == expected["weights"]


def test_the_home_of_another_programme_is_refused_in_either_order_and_stays_as_it_is(
    finished: Settings,  # noqa: F811
    tmp_path: Path,
):
    home = tmp_path / "home"
    shutil.copytree(finished.home, home, symlinks=True)
    ours = finished.model_copy(update={"home": home})
    theirs = over_other_documents(ours, tmp_path, name="another")
    for selection in ("*", "raw_corpus", 'key:"round_1/checkpoint"'):
        assert "belongs to the programme 'miniature', not to 'another'" in refusal(theirs, selection)
    assert outcome(home) == outcome(finished.home)
    (home / "programme.json").unlink()
    assert run(theirs, selection_of(["raw_corpus", "raw_pairs"])).success
    assert "belongs to the programme 'another', not to 'miniature': set $CONAN_HOME" in refusal(ours, "*")


def refusal(settings: Settings, selection: str) -> str:
    with pytest.raises(dg.DagsterResourceFunctionError) as refused:
        run(settings, selection)
    return str(refused.value.__cause__)


def test_a_copied_home_reuses_everything(finished: Settings, tmp_path: Path):  # noqa: F811
    home = tmp_path / "elsewhere" / "home"
    shutil.copytree(finished.home, home, symlinks=True)
    result = run(finished.model_copy(update={"home": home}))
    assert {key: shown["reused"].value for key, shown in metadata(result).items() if not shown["reused"].value} == {}
    assert outcome(home) == outcome(finished.home)
