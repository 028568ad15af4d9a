"""Whose home a storage root is, and what lies in it."""

from pathlib import Path

import dagster as dg
import pytest

from conan_assets.defs.storage import Storage
from conan_assets.files import ArtifactError


@dg.asset
def used(storage: Storage) -> None:
    pass


def use(home: Path, programme: str, sources: str) -> None:
    storage = Storage(home=str(home), programme=programme, sources=sources)
    assert dg.materialize([used], resources={"storage": storage}).success


def refusal(home: Path, programme: str, sources: str) -> str:
    with pytest.raises(dg.DagsterResourceFunctionError) as refused:
        use(home, programme, sources)
    return str(refused.value.__cause__)


def test_a_home_stays_with_a_programme_that_is_renamed_or_reads_other_sources(tmp_path: Path):
    use(tmp_path, "support", "tickets")
    use(tmp_path, "support", "tickets and manuals")
    use(tmp_path, "help desk", "tickets and manuals")
    told = refusal(tmp_path, "support", "tickets")
    assert "belongs to the programme 'help desk', not to 'support': set $CONAN_HOME" in told


@pytest.mark.parametrize("text", ["", "{}", "null", "[1]", '{"programme": "other", "sources": "others"}'])
def test_a_note_of_the_owner_that_is_damaged_is_written_again(tmp_path: Path, text: str):
    (tmp_path / "programme.json").write_text(text)
    use(tmp_path, "support", "tickets")
    assert "belongs to the programme 'support'" in refusal(tmp_path, "another", "documents")


def test_a_run_forgets_what_finished_runs_have_read(tmp_path: Path):
    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(2):
            result = dg.materialize([used], resources={"storage": Storage(home=str(tmp_path))}, instance=instance)
            (tmp_path / "runs" / result.run_id).mkdir(parents=True)
        assert [path.name for path in (tmp_path / "runs").iterdir()] == [result.run_id]


def test_a_file_in_the_place_of_the_link_to_the_release_is_named(tmp_path: Path):
    (tmp_path / "released_model").write_text("")
    with pytest.raises(ArtifactError, match=r"released_model is not a link to a release: move it away, then run again"):
        _ = Storage(home=str(tmp_path)).release
