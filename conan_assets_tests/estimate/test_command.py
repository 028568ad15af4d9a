import pytest
import yaml

from conan_assets.__main__ import main
from conan_assets.estimate.table import size_of, time_of
from conan_assets_tests.defs.conftest import programme, write_beir_folder


@pytest.fixture
def profile(tmp_path, tiny_model) -> str:
    write_beir_folder(tmp_path / "animals")
    settings = programme(tmp_path / "animals", tiny_model, tmp_path / "home", rounds=1, generation={"kind": "none"})
    path = tmp_path / "profile.yaml"
    path.write_text(yaml.safe_dump(settings.model_dump(mode="json", exclude_unset=True)))
    return str(path)


def test_a_plan_counts_the_sources_and_times_this_machine(profile, tmp_path, capsys):
    main(["estimate", profile])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("this machine (cpu): ")
    assert "64 documents, 40 training queries" in lines
    rows = {line.split()[0]: line.split() for line in lines if "/" in line or line.startswith("in all")}
    assert rows["round_1/checkpoint"][1] == "3"
    assert not (tmp_path / "home").exists()


def test_a_plan_for_more_documents_and_a_named_device_grows_with_them(profile, capsys):
    main(["estimate", profile, "--device", "h100", "--devices", "8", "--documents", "1M", "100M", "--queries", "500k"])
    out = capsys.readouterr().out
    assert out.startswith("h100: ")
    assert "1,000,000 documents, 500,000 training queries" in out
    assert "100,000,000 documents, 500,000 training queries" in out


def test_a_number_that_is_none_is_refused_with_how_to_write_it(profile, capsys):
    with pytest.raises(SystemExit):
        main(["estimate", profile, "--documents", "many"])
    assert "'many' is no number; write it as 2500, 300k, 1M or 1.5B" in capsys.readouterr().err


def test_a_base_model_that_is_not_here_is_named(profile, tmp_path):
    path = tmp_path / "profile.yaml"
    values = yaml.safe_load(path.read_text())
    values["base_model"]["model"] = str(tmp_path / "nowhere")
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(SystemExit, match="nowhere"):
        main(["estimate", profile])


def test_what_is_neither_a_command_nor_known_prints_the_commands():
    with pytest.raises(SystemExit, match="python -m conan_assets estimate"):
        main(["forecast"])


@pytest.mark.parametrize(("size", "told"), [(0, "0 B"), (999, "999 B"), (2.5e9, "2.5 GB"), (3e15, "3,000 TB")])
def test_bytes_are_told_in_units_that_a_reader_takes_in(size, told):
    assert size_of(size) == told


@pytest.mark.parametrize(("seconds", "told"), [(90, "90 s"), (600, "10 min"), (9000, "2.5 h"), (1e6, "11.6 d")])
def test_times_are_told_in_units_that_a_reader_takes_in(seconds, told):
    assert time_of(seconds) == told
