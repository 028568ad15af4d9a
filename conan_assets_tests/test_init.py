"""`python -m conan_assets init`: what it writes is a profile that fits the documents, and nothing is overwritten."""

import pytest

from conan_assets.__main__ import main
from conan_assets.settings import load_settings
from conan_assets.settings.inputs import check_data
from conan_assets_tests.documents import write_documents


@pytest.fixture
def plant(tmp_path, monkeypatch):
    write_documents(tmp_path / "plant")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "plant"


@pytest.mark.slow
def test_a_folder_becomes_a_profile_of_its_size_with_what_comes_next(plant, tiny_model, capsys):
    main(["init", str(plant), "--base-model", tiny_model, "--language", "en"])
    told = capsys.readouterr().out
    settings = load_settings("plant.yaml")
    check_data(settings)
    assert settings.generation.kind == "extractive"
    assert "scores mean nothing" in told
    assert settings.sources["plant"].language == "en"
    assert 0 < settings.training[0].max_steps < 150
    assert "left out: 1 files (binary)" in told
    assert " min here" in told
    assert "make demo PROFILE=plant.yaml" in told
    with pytest.raises(SystemExit, match="is there already"):
        main(["init", str(plant)])


@pytest.mark.slow
def test_an_endpoint_and_its_model_make_an_estimate_of_calls_and_cost(plant, capsys):
    (plant.parent / "real.txt").write_text("pump: k7 broken?\n\nwhere is the loom\n")
    flags = [
        "--examples",
        "real.txt",
        "--endpoint",
        "http://127.0.0.1:9/v1",
        "--model",
        "yes: #1",
        "--prices",
        "1",
        "2",
        "--base-model",
        "./none",
    ]
    main(["init", str(plant), "--name", "no", "--output", "new/p.yaml", "--max-pairs", "50", *flags])
    settings = load_settings("new/p.yaml")
    assert (settings.generation.model, settings.generation.max_pairs) == ("yes: #1", 50)
    assert settings.generation.examples == ("pump: k7 broken?", "where is the loom")
    assert list(settings.sources) == ["no"]
    told = capsys.readouterr().out
    assert "model calls: " in told
    assert "time: not known before the base model is here" in told


def test_an_endpoint_without_a_model_is_refused(plant):
    with pytest.raises(SystemExit, match="belong together"):
        main(["init", str(plant), "--endpoint", "http://127.0.0.1:9/v1"])
