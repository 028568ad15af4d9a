"""``python -m conan_assets verify`` finds every byte that is not what was written, and sets aside what is damaged."""

import shutil
from pathlib import Path

import pytest

from conan_assets.__main__ import main
from conan_assets.settings import Settings
from conan_assets_tests.defs.conftest import finished, run  # noqa: F401

FILES = [
    "assets/raw_corpus/*/table.parquet",
    "assets/training_pairs/*/manifest.json",
    "assets/round_1/checkpoint/*/model/model.safetensors",
    "assets/raw_pairs/current",
    "embeddings/*/rows.bin",
    "embeddings/*/keys.bin",
    "embeddings/*/parts",
    "evaluations/*/*.json",
    "evaluations/*/*.parquet",
    "releases/*/config.json",
]


def verify(home: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> str | int | None:
    monkeypatch.setenv("CONAN_HOME", str(home))
    try:
        main(["verify", "demo", *options])
    except SystemExit as ended:
        return ended.code
    return 0


def test_damage_is_found_named_and_set_aside_and_the_next_run_makes_the_same_again(
    finished: Settings,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    home = tmp_path / "home"
    shutil.copytree(finished.home, home, symlinks=True)
    assert verify(home, monkeypatch) == 0, capsys.readouterr().out
    assert "is intact" in capsys.readouterr().out
    for pattern in FILES:
        file = sorted(home.glob(pattern))[0]
        intact = file.read_bytes()
        data = bytearray(intact)
        data[len(data) // 2] ^= 4
        file.write_bytes(data)
        assert "1 damaged part" in str(verify(home, monkeypatch)), pattern
        assert str(file.relative_to(home).parts[-1]) in capsys.readouterr().out.replace(
            "keys.bin is", "keys.bin rows.bin is"
        )
        file.write_bytes(intact)
    for pattern in FILES:
        file = sorted(home.glob(pattern))[0]
        file.write_bytes(file.read_bytes()[:-3])
    assert verify(home, monkeypatch, "--repair") == 0
    assert verify(home, monkeypatch) == 0
    again = finished.model_copy(update={"home": home})
    assert run(again).success
    assert outcome(home) == outcome(finished.home)


def outcome(home: Path) -> dict[str, str]:
    """The versions of all outputs."""
    return {path.parent.relative_to(home).as_posix(): path.read_text() for path in (home / "assets").rglob("current")}
