"""The miniature programme with its home in a bucket, on one machine and on another after it."""

from pathlib import Path

import dagster as dg
import pytest

from conan_assets.artifacts import LOCK
from conan_assets.bucket.working_copy import MARK, working_copy_of
from conan_assets.files import files_of
from conan_assets.integrity import digest_parts
from conan_assets.settings import Settings
from conan_assets_tests.bucket.conftest import SECRET
from conan_assets_tests.defs.conftest import metadata, programme, run, write_beir_folder

pytestmark = pytest.mark.slow

OF_A_MACHINE = (MARK, "embeddings", "locks", "runs")


@pytest.fixture
def miniature(address: str, machine, tmp_path: Path, tiny_model: str) -> Settings:
    """Return a programme of one round whose storage lies in the bucket."""
    write_beir_folder(tmp_path / "animals")
    return programme(tmp_path / "animals", tiny_model, address, rounds=1)


def test_another_machine_goes_on_where_one_ended_and_makes_nothing_again(miniature, machine):
    first = run(miniature)
    home = miniature.root
    copy = working_copy_of(home)
    kept = {name: copy.bucket.get(name).content for name in copy.bucket.list("")}
    finished = [path for path in files_of(home) if path.relative_to(home).parts[0] not in OF_A_MACHINE]
    assert {copy.object_of(path) for path in finished if path.name != LOCK} - {*kept} == set()
    assert kept["released_model"].decode() == (home / "released_model").resolve().name
    assert not [name for name, content in kept.items() if SECRET.encode() in content]
    machine("second")
    second = run(miniature)
    assert miniature.root != home
    assert {key: made["reused"].value for key, made in metadata(second).items()} == dict.fromkeys(metadata(first), True)
    assert digest_parts(miniature.root / "released_model") == digest_parts(home / "released_model") != {}
    assert (miniature.root / "released_model").is_symlink()


def test_the_home_of_another_programme_is_refused_on_any_machine(miniature, machine):
    run(miniature, "key:raw_corpus")
    machine("second")
    other = {"animals": {"kind": "beir", "path": miniature.sources["animals"].path, "weight": 2.0}}
    another = programme(Path(), miniature.base_model.model, miniature.home, name="another", sources=other)
    with pytest.raises(dg.DagsterError) as caught:
        run(another, "key:raw_corpus")
    told = str(caught.value.__cause__)
    assert "s3://programmes/home belongs to the programme 'miniature', not to 'another'" in told
