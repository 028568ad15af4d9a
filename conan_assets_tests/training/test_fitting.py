"""What a stage is fitted to: lengths of its texts, and memory."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from conan_assets import memory
from conan_assets.training import fitting
from conan_assets.training.fitting import NotEnoughMemoryError, fit_length, fit_memory, free_bytes, saved_bytes
from conan_assets.training.gradient_cache import MiniBatch
from conan_assets.training.settings import CPU_ACTIVATIONS

CPU = torch.device("cpu")


@given(st.lists(st.integers(1, 400), min_size=1, max_size=200), st.integers(16, 512))
def test_a_length_from_the_data_cuts_few_texts_and_is_no_longer_than_needed(lengths: list[int], most: int):
    found = fit_length(np.minimum(lengths, most), None, most)
    assert found.limit <= most
    assert found.cut <= 0.02 or found.limit == most
    assert found.limit < max(lengths) + 16
    assert found.cut == np.mean(np.minimum(lengths, most) > found.limit)


def test_a_length_that_is_asked_for_is_taken_and_what_it_cuts_is_counted():
    assert fit_length(np.array([10, 20, 30, 40]), 25, 512).cut == 0.5
    assert fit_length(np.array([10, 20, 30, 40]), 25, 512).limit == 25


class Layers(nn.Module):
    """Two layers whose inputs are kept for the way back: 4 and 16 floats a token."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.Sigmoid(), nn.Linear(16, 4))

    def forward(self, mini_batch: MiniBatch) -> torch.Tensor:
        return self.layers(mini_batch.features["input"])


def mini_batch(tokens: int) -> MiniBatch:
    """Return a mini-batch of ``tokens`` texts of one token each."""
    return MiniBatch([*range(tokens)], {"input": torch.ones(tokens, 4)}, tokens, 0)


@pytest.mark.parametrize("frozen", [False, True])
def test_what_autograd_keeps_is_counted_once_and_without_the_weights(frozen: bool):
    model = Layers()
    model.layers[2].weight.requires_grad_(not frozen)
    assert saved_bytes(lambda: model(mini_batch(10)), model) == 10 * (4 + 16) * 4


def test_the_larger_mini_batch_and_the_memory_at_hand_decide_how_much_is_kept(monkeypatch: pytest.MonkeyPatch):
    model = Layers()
    trained = 12 * sum(parameter.numel() for parameter in model.parameters())
    for free, processes, expected in ((2**40, 1, CPU_ACTIVATIONS // 80), (200_000, 1, (100_000 - trained) // 80)):
        monkeypatch.setattr(fitting, "free_bytes", lambda _, free=free: free)
        found = fit_memory(model, [mini_batch(3), mini_batch(10)], model, CPU, processes)
        assert found == (expected, 80)


@pytest.mark.parametrize(
    ("free", "way_out"), [(1_000, ": set max_tokens"), (100_000, "tokens_per_mini_batch to 290, or")]
)
def test_a_stage_that_does_not_fit_names_the_settings_that_need_less(
    free: int, way_out: str, monkeypatch: pytest.MonkeyPatch
):
    model = Layers()
    monkeypatch.setattr(fitting, "free_bytes", lambda _: free)
    with pytest.raises(NotEnoughMemoryError, match=rf"the activations of 5,000 tokens, .*{way_out}"):
        fit_memory(model, [mini_batch(5_000)], model, CPU, 2)


def test_a_part_of_a_large_mini_batch_is_tried():
    model, seen = Layers(), []

    def encode(tried: MiniBatch) -> torch.Tensor:
        seen.append(tried.tokens)
        return model(tried)

    assert fit_memory(encode, [mini_batch(50_000)], model, CPU, 1)[1] == 80
    assert seen == [2_048]


def test_the_limit_of_a_container_is_obeyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert free_bytes(CPU) == 4000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(CPU) > 2**20
