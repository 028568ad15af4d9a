"""Any byte of a finished home flipped, any file cut off: the next run makes the same again, or names the file."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from conan_assets.settings import Settings
from conan_assets_tests.defs.conftest import finished, run  # noqa: F401
from conan_assets_tests.faults.conftest import outcome

EXAMPLES = 12

pytestmark = pytest.mark.slow


def files_of(home: Path) -> list[Path]:
    found = [path for path in home.rglob("*") if path.is_file() and not path.is_symlink() and path.stat().st_size]
    return sorted(path.relative_to(home) for path in found)


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]


def cut(data: bytes, place: int) -> bytes:
    return data[:place]


def run_again_after(settings: Settings, home: Path, file: Path, harm: Callable[[bytes], bytes]) -> None:
    """Harm a file of a copy of the finished home and run: the outcome is the same, or the error names the file."""
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(settings.home, home, symlinks=True)
    (home / file).write_bytes(harm((home / file).read_bytes()))
    refusal = _refusal(settings.model_copy(update={"home": home}))
    if refusal is None:
        assert outcome(home) == outcome(settings.home)
    else:
        assert file.name in refusal


def _refusal(settings: Settings) -> str | None:
    """Run the programme; return the error that ended it."""
    try:
        run(settings)
    except Exception as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    "pattern",
    [
        "assets/raw_corpus/*/table.parquet",
        "assets/round_1/hard_negatives/*/table.parquet",
        "assets/round_1/checkpoint/*/model/model.safetensors",
        "assets/round_1/beir_report/*/manifest.json",
        "embeddings/*/rows.bin",
        "releases/*/model.safetensors",
    ],
)
def test_what_matters_most_is_made_again(finished: Settings, tmp_path: Path, pattern: str):  # noqa: F811
    file = sorted(finished.home.glob(pattern))[0].relative_to(finished.home)
    run_again_after(finished, tmp_path / "home", file, lambda data: flip(data, len(data) // 2))


@examples(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_byte_or_end_of_any_file(finished: Settings, tmp_path: Path, data: st.DataObject):  # noqa: F811
    file = data.draw(st.sampled_from(files_of(finished.home)), "file")
    place = data.draw(st.integers(0, (finished.home / file).stat().st_size - 1), "place")
    harm = data.draw(st.sampled_from([flip, cut]), "harm")
    run_again_after(finished, tmp_path / "home", file, lambda whole: harm(whole, place))
