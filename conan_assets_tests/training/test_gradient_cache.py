import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from conan_assets.training.gradient_cache import GradientCache, MiniBatch
from conan_assets.training.texts import derive_seed, group_by_length


class Tower(nn.Module):
    """A small encoder with dropout that counts its passes."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Dropout(0.5), nn.Linear(8, 4))
        self.passes = 0

    def encode(self, mini_batch: MiniBatch) -> torch.Tensor:
        self.passes += 1
        return self.layers(mini_batch.features["inputs"])


def mini_batches() -> list[MiniBatch]:
    torch.manual_seed(0)
    return [MiniBatch(list(range(3)), {"inputs": torch.randn(3, 6)}, 10, seed) for seed in range(4)]


def gradient_of(tower: Tower, tokens_kept: int | None) -> list[torch.Tensor]:
    tower.zero_grad()
    cache = GradientCache(tower.encode, mini_batches(), tokens_kept)
    embeddings = cache.embed().requires_grad_()
    (embeddings @ embeddings.T).logsumexp(dim=1).sum().backward()
    assert embeddings.grad is not None
    cache.backward(embeddings.grad)
    return [parameter.grad.clone() for parameter in tower.parameters() if parameter.grad is not None]


@pytest.mark.parametrize(("tokens_kept", "passes"), [(0, 8), (10, 7), (25, 6), (39, 5)])
def test_the_gradient_with_dropout_is_exact_whatever_is_kept(tokens_kept: int, passes: int):
    tower = Tower()
    everything = gradient_of(tower, None)
    assert tower.passes == 4
    tower.passes = 0
    some = gradient_of(tower, tokens_kept)
    assert tower.passes == passes
    for expected, found in zip(everything, some, strict=True):
        assert torch.equal(expected, found)


def test_the_gradient_is_that_of_one_graph_over_all_texts():
    tower = Tower()
    cached = gradient_of(tower, 0)
    tower.zero_grad()
    outputs = []
    for mini_batch in mini_batches():
        torch.manual_seed(mini_batch.seed)
        outputs.append(tower.encode(mini_batch))
    embeddings = torch.cat(outputs)
    (embeddings @ embeddings.T).logsumexp(dim=1).sum().backward()
    for parameter, found in zip(tower.parameters(), cached, strict=True):
        torch.testing.assert_close(parameter.grad, found)


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 200))
def test_groups_hold_every_text_once_within_the_budget(lengths: list[int], budget: int):
    groups = list(group_by_length(np.array(lengths, int), budget))
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[i] for i in group) <= budget
    heads = [lengths[group[0]] for group in groups]
    assert heads == sorted(heads, reverse=True)


def test_seeds_depend_on_every_number():
    assert len({derive_seed(a, b, c) for a in range(3) for b in range(3) for c in range(3)}) == 27
