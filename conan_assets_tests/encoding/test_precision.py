"""The type that a machine computes in fastest is measured once and kept."""

import json

import pytest
import torch

from conan_assets.encoding import precision
from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.settings import EncoderSettings


@pytest.fixture
def native(monkeypatch, tmp_path):
    """A processor that knows bfloat16 and has not been measured."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    return tmp_path / "conan_assets" / "precision.json"


@pytest.mark.parametrize(("speedup", "expected"), [(0.6, torch.float32), (1.1, torch.float32), (2.5, torch.bfloat16)])
def test_bfloat16_is_taken_where_it_was_measured_to_be_faster_whatever_the_flags_say(
    native, monkeypatch, speedup, expected
):
    monkeypatch.setattr(precision, "_measure", lambda width: speedup)
    assert precision.fastest_dtype("cpu", 384) == expected


def test_a_machine_is_measured_once_for_each_width(native, monkeypatch):
    measured = []
    monkeypatch.setattr(precision, "_measure", lambda width: measured.append(width) or 2.0)
    assert [precision.bfloat16_speedup(width) for width in (64, 64, 128)] == [2.0, 2.0, 2.0]
    assert measured == [64, 128]
    assert sorted(json.loads(native.read_text()).values()) == [2.0, 2.0]


@pytest.mark.parametrize("content", ["", "[]", '{"a": "fast"}', "{"])
def test_a_damaged_record_is_measured_again(native, monkeypatch, content):
    native.parent.mkdir()
    native.write_text(content)
    monkeypatch.setattr(precision, "_measure", lambda width: 3.0)
    assert precision.bfloat16_speedup(64) == 3.0
    assert list(json.loads(native.read_text()).values()) == [3.0]


def test_a_cache_that_cannot_be_written_costs_a_measurement_and_nothing_else(native, monkeypatch):
    native.parent.write_text("a file where the folder should be")
    monkeypatch.setattr(precision, "_measure", lambda width: 2.0)
    assert precision.fastest_dtype("cpu", 64) == torch.bfloat16


def test_a_processor_without_bfloat16_is_not_measured(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(precision, "_measure", lambda width: pytest.fail("measured"))
    assert precision.fastest_dtype("cpu", 384) == torch.float32


def test_the_products_are_those_of_the_models_own_width(native, monkeypatch, tiny_model):
    measured = []
    monkeypatch.setattr(precision, "_measure", lambda width: measured.append(width) or 2.0)
    assert Encoder(EncoderSettings(model=tiny_model), device="cpu").dtype == torch.bfloat16
    assert measured == [32]


def test_a_measurement_compares_both_types():
    assert 0.01 < precision._measure(32) < 100
