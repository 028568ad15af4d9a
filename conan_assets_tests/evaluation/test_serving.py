"""What servers read of a release, and which models no server computes right."""

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense, Normalize

from conan_assets.evaluation.serving import POOLING_FLAGS, SERVING_FILE, make_readable, refusal, write_serving_files

TEXTS = ["what is a list", "a much longer text that goes on and on until it is cut at the limit of tokens"]
MODES = ["cls", "mean", "max", "lasttoken"]


@pytest.fixture
def model(tiny_model: str) -> SentenceTransformer:
    model = SentenceTransformer(tiny_model, device="cpu", prompts={"query": "query: ", "document": ""})
    model.max_seq_length = 12
    model.append(Normalize())
    return model


def saved(model: SentenceTransformer, folder: Path, *dims: int) -> str:
    model.save(str(folder), create_model_card=False)
    return write_serving_files(folder, model, "demo", dims)


def read(path: Path) -> dict:
    return json.loads(path.read_text())


@pytest.mark.parametrize("mode", MODES)
def test_pooling_and_limit_are_written_as_old_and_new_servers_read_them_and_change_no_vector(model, mode, tmp_path):
    model[1].pooling_mode = mode
    expected = model.encode(TEXTS, prompt_name="query")
    assert saved(model, tmp_path) == ""
    config = read(tmp_path / "1_Pooling" / "config.json")
    assert (config["pooling_mode"], config["include_prompt"]) == (mode, True)
    assert config["word_embedding_dimension"] == 32
    assert {flag for flag in POOLING_FLAGS.values() if config[flag]} == {POOLING_FLAGS[mode]}
    assert read(tmp_path / "sentence_bert_config.json") == {"max_seq_length": 12, "do_lower_case": False}
    kinds = [entry["type"] for entry in read(tmp_path / "modules.json")]
    assert kinds == [f"sentence_transformers.models.{name}" for name in ("Transformer", "Pooling", "Normalize")]
    loaded = SentenceTransformer(str(tmp_path), device="cpu")
    assert loaded.max_seq_length == 12
    assert np.array_equal(loaded.encode(TEXTS, prompt_name="query"), expected)


def test_the_flags_alone_are_a_model_of_before_that_gives_the_same_vectors(model, tmp_path):
    expected = model.encode(TEXTS, prompt_name="query")
    saved(model, tmp_path)
    path = tmp_path / "1_Pooling" / "config.json"
    before = {name: value for name, value in read(path).items() if name != "pooling_mode"}
    path.write_text(json.dumps(before))
    assert np.array_equal(SentenceTransformer(str(tmp_path), device="cpu").encode(TEXTS, prompt_name="query"), expected)


def test_the_configuration_names_matryoshka_lengths_and_the_type_of_the_weights(model, tmp_path):
    saved(model, tmp_path, 16, 8)
    config = read(tmp_path / "config.json")
    assert (config["matryoshka_dimensions"], config["torch_dtype"]) == ([8, 16], "float32")
    page = (tmp_path / SERVING_FILE).read_text()
    assert "vectors may be cut to 8, 16 components" in page
    assert "`query: ` before a query" in page
    assert "at most 12 tokens" in page
    saved(model, tmp_path / "plain")
    assert "matryoshka_dimensions" not in read(tmp_path / "plain" / "config.json")


def test_a_model_whose_mean_leaves_the_prompt_out_is_refused_for_servers(model, tmp_path):
    model[1].include_prompt = False
    reason = saved(model, tmp_path)
    assert "leaves the tokens of the prompt out" in reason
    page = (tmp_path / SERVING_FILE).read_text()
    assert reason in page
    assert "vllm" not in page
    model.prompts = {"query": "", "document": ""}
    assert refusal(model) == "", "without a prompt there is nothing to leave out"


def test_several_ways_of_pooling_are_refused_and_a_layer_after_it_is_told(model, tmp_path):
    model[1].pooling_mode = ("mean", "cls")
    assert "joins several ways of pooling (mean, cls)" in refusal(model)
    model[1].pooling_mode = "mean"
    model.insert(2, Dense(32, 16))
    saved(model, tmp_path)
    assert "a server that does not read it gives other vectors" in (tmp_path / SERVING_FILE).read_text()


def test_what_earlier_versions_cannot_compute_is_written_as_it_is_now(model, tmp_path):
    model.insert(2, Dense(32, 16, use_residual=True))
    saved(model, tmp_path)
    assert read(tmp_path / "modules.json")[2]["type"].endswith("modules.dense.Dense")
    assert read(tmp_path / "2_Dense" / "config.json")["use_residual"]
    expected = model.encode(TEXTS)
    assert np.array_equal(SentenceTransformer(str(tmp_path), device="cpu").encode(TEXTS), expected)


@pytest.mark.parametrize(("umask", "rights"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_the_files_have_the_rights_that_the_umask_leaves(model, umask, rights, tmp_path):
    before = os.umask(umask)
    try:
        saved(model, tmp_path / "release")
        make_readable(tmp_path / "release")
    finally:
        os.umask(before)
    files = [file for file in (tmp_path / "release").rglob("*") if file.is_file()]
    assert any(file.suffix == ".safetensors" for file in files)
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {rights}


def test_the_comparison_on_the_page_is_python_that_compiles(model, tmp_path):
    saved(model, tmp_path)
    code = (tmp_path / SERVING_FILE).read_text().split("```python\n")[1].split("```")[0]
    compile(code, SERVING_FILE, "exec")
