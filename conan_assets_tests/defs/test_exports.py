"""Exports: other forms of the release give its vectors, and the leaderboard shows what each is worth."""

import base64
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.encoding.store import Embeddings
from conan_assets.evaluation import exports
from conan_assets.evaluation.models import QuantizedEmbeddings
from conan_assets.evaluation.settings import EvaluationError
from conan_assets.settings import Settings
from conan_assets_tests.defs.conftest import metadata, run
from conan_assets_tests.processes import ROOT

TEXTS = ["a cat", "which owl lives at the pond, and why does it sing at night?", "", "a dog " * 80]


@pytest.mark.slow
def test_every_form_is_a_row_beside_the_leaderboard_and_is_made_once(copied: Settings):
    forms = ("float16", "openvino_int8", "static")
    programme = copied.model_copy(update={"release": copied.release.model_copy(update={"exports": forms})})
    seen = metadata(run(programme, 'key:"exports"+ or key:"export/*" or key:"leaderboard"'))
    rows = {(row["model"], row["vectors"]): row for row in seen_rows(copied)}
    assert list(rows) == [
        ("float32", "float32"),
        ("float32", "int8"),
        ("float32", "binary"),
        *((form, "float32") for form in forms),
    ]
    whole, half, int8, static = (rows[form, "float32"] for form in ("float32", *forms))
    assert half["megabytes"] == pytest.approx(whole["megabytes"] / 2, rel=0.1)
    assert whole["scores"].keys() == {"dev", "test"}
    assert [rows["float32", kind]["bytes_per_vector"] for kind in ("float32", "int8", "binary")] == [128, 32, 4]
    assert whole["speed"] == 1.0
    assert static["megabytes"] < half["megabytes"]
    assert all(row["texts_per_second"] > 0 for row in rows.values())
    shown = (copied.home / "leaderboard.md").read_text()
    assert shown.startswith("# Leaderboard")
    assert "## Exports of the released model" in shown
    assert f"| openvino_int8 | float32 | {int8['megabytes']:.1f} |" in shown
    picture = (copied.home / "exports.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    page = (copied.home / "leaderboard.html").read_text()
    assert page.count("</html>") == 1
    assert f"<td>{int8['megabytes']:.1f}</td>" in page
    assert page.endswith(f"base64,{base64.b64encode(picture).decode()}'></p></body></html>\n")
    again = metadata(run(programme, 'key:"exports" or key:"export/*"'))
    assert all(again[key]["reused"].value for key in again)
    assert seen["export/openvino_int8"]["megabytes"].value == pytest.approx(int8["megabytes"], abs=0.001)


def seen_rows(settings: Settings) -> list[dict]:
    from conan_assets.artifacts import ArtifactStore

    return ArtifactStore(settings.home / "assets").current("exports").report["rows"]


@pytest.mark.slow
def test_onnx_gives_the_vectors_of_the_release_and_holds_both_outputs_that_servers_read(finished: Settings, tmp_path):
    release = EncoderSettings(str(finished.home / "released_model"), query_prompt="question: ", dtype="float32")
    exports.write_export("onnx", finished.home / "released_model", tmp_path)
    encoder = exports.open_export("onnx", release, tmp_path)
    assert np.allclose(encoder.encode(TEXTS, "query"), Encoder(release, "cpu").encode(TEXTS, "query"), atol=1e-5)
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "model.onnx")
    assert [each.name for each in session.get_inputs()] == ["input_ids", "attention_mask", "token_type_ids"]
    assert [each.name for each in session.get_outputs()] == ["last_hidden_state", "sentence_embedding"]
    assert not list(tmp_path.glob("*.safetensors"))
    assert (tmp_path / "1_Pooling" / "config.json").exists()


@pytest.mark.slow
def test_int8_is_calibrated_with_documents_and_stays_close_to_the_release(finished: Settings, tmp_path):
    release = EncoderSettings(str(finished.home / "released_model"), document_prompt="passage: ", dtype="float32")
    exports.write_export("openvino_int8", finished.home / "released_model", tmp_path, TEXTS)
    encoder = exports.open_export("openvino_int8", release, tmp_path)
    cosines = (encoder.encode(TEXTS, "document") * Encoder(release, "cpu").encode(TEXTS, "document")).sum(axis=1)
    assert 0.99 < cosines.min() < 1
    elsewhere = pickle.loads(pickle.dumps(encoder))
    assert elsewhere.encode(TEXTS, "document").tobytes() == encoder.encode(TEXTS, "document").tobytes()
    import openvino

    model = openvino.Core().read_model(tmp_path / "openvino" / "openvino_model_qint8_quantized.xml")
    assert [each.any_name for each in model.outputs] == ["last_hidden_state", "sentence_embedding"]
    assert (tmp_path / "1_Pooling" / "config.json").exists()
    assert exports.megabytes_of(tmp_path) < exports.megabytes_of(finished.home / "released_model") / 2


@pytest.mark.slow
def test_openvino_tells_nobody_that_it_is_used(tiny_model: str, tmp_path):
    code = (
        "from pathlib import Path; from conan_assets.evaluation.openvino_export import INT8_FILE, write_int8; "
        f"write_int8(Path({tiny_model!r}), ['a cat', 'a dog'], Path({str(tmp_path)!r}, 'export', INT8_FILE.name)); "
        "import sys; print(sys.modules['openvino_telemetry'], 'nncf' in sys.modules)"
    )
    (tmp_path / "home").mkdir()
    environment = {**os.environ, "HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert told.stdout.endswith("None True\n"), told.stderr
    assert not (tmp_path / "home" / "intel").exists()


def test_an_export_without_its_packages_names_them(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setitem(exports.PACKAGES, "openvino_int8", ("onnx", "no_such_package"))
    with pytest.raises(EvaluationError, match=r"needs no_such_package: pip install 'conan-assets\[exports\]'"):
        exports.write_export("openvino_int8", tmp_path, tmp_path / "export")


def test_float16_halves_the_weights_and_says_so(tiny_model: str, tmp_path):
    exports.write_export("float16", exports.Path(tiny_model), tmp_path / "half")
    half = exports.open_export("float16", EncoderSettings(tiny_model), tmp_path / "half")
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.float16}
    whole = Encoder(EncoderSettings(tiny_model, dtype="float32"), "cpu").encode(TEXTS[:2], "document")
    assert (half.encode(TEXTS[:2], "document") * whole).sum(axis=1).min() > 0.999


def test_a_byte_a_component_is_close_and_a_bit_keeps_the_sign():
    rows = np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32)
    whole = Embeddings(rows, np.arange(50), 0, 0, 0.0)
    int8, binary = (QuantizedEmbeddings(whole, kind) for kind in ("int8", "binary"))
    steps = (rows.max(axis=0) - rows.min(axis=0)) / 255
    assert (np.abs(int8.rows(np.arange(50)) - rows) <= steps / 2 + 1e-6).all()
    assert all(len(np.unique(column)) <= 256 for column in int8.block(0, 50).T)
    signs = binary.rows(np.array([3, 1]))
    assert np.array_equal(signs > 0, rows[[3, 1]] > 0)
    assert np.allclose(np.linalg.norm(signs, axis=1), 1)
