import pytest
import torch
import transformers
from torch import nn

from conan_assets.training.settings import TrainingSettings
from conan_assets.training.weights import MasterWeights, build_optimizer, learning_rate


def test_small_updates_are_not_lost_to_rounding():
    model = nn.Linear(4, 4)
    before = model.weight.detach().clone()
    weights = MasterWeights(model, torch.bfloat16)
    optimizer = build_optimizer(weights, TrainingSettings(learning_rate=1e-5, weight_decay=0.0))
    for _ in range(100):
        model(torch.ones(1, 4, dtype=torch.bfloat16)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        weights.publish()
    assert model.weight.dtype == torch.bfloat16
    weights.release()
    torch.testing.assert_close(before - model.weight, torch.full((4, 4), 1e-3), rtol=0.01, atol=0)


def test_gradients_of_several_passes_add_up_in_float32():
    model = nn.Linear(2, 1, bias=False)
    weights = MasterWeights(model, torch.bfloat16)
    for value in (256.0, 1.0, 1.0):
        model(torch.full((1, 2), value, dtype=torch.bfloat16)).sum().backward()
    (master,) = weights.masters.values()
    assert model.weight.grad is None
    assert master.grad is not None
    assert master.grad.tolist() == [[258.0, 258.0]]


def test_a_float32_model_is_its_own_master():
    model = nn.Linear(2, 2)
    assert list(MasterWeights(model, torch.float32).masters.values()) == list(model.parameters())


def test_only_matrices_decay():
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    decaying, others = MasterWeights(model, torch.float32).groups(0.1)
    assert ([p.ndim for p in decaying["params"]], decaying["weight_decay"]) == ([2], 0.1)  # type: ignore[attr-defined]
    assert ([p.ndim for p in others["params"]], others["weight_decay"]) == ([1, 1, 1], 0.0)  # type: ignore[attr-defined]


def test_the_learning_rate_rises_then_falls():
    settings = TrainingSettings(learning_rate=1.0, warmup_ratio=0.2)
    rates = [learning_rate(step, 10, settings) for step in range(10)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125])


def test_a_number_of_warm_up_steps_goes_before_the_share():
    settings = TrainingSettings(learning_rate=1.0, warmup_ratio=0.5, warmup_steps=2)
    assert [learning_rate(step, 10, settings) for step in range(4)] == pytest.approx([0.5, 1.0, 1.0, 0.875])


def test_without_warm_up_the_first_step_has_the_full_rate():
    assert learning_rate(0, 1, TrainingSettings(learning_rate=1.0, warmup_ratio=0.0)) == 1.0


def test_rotary_positions_stay_exact_in_a_bfloat16_model():
    config = transformers.MistralConfig(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    model = transformers.MistralModel(config)
    exact = model.rotary_emb.inv_freq.clone()
    weights = MasterWeights(model, torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert torch.equal(model.rotary_emb.inv_freq, exact)
    weights.release()
    assert torch.equal(model.rotary_emb.inv_freq, exact)
