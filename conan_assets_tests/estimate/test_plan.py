import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conan_assets.encoding.models import DEMO_MODEL, ModelNotFoundError, locate_model
from conan_assets.estimate.models import ModelShape
from conan_assets.estimate.plan import Plan, Planned, steps_of
from conan_assets.estimate.rates import Rates, named_rates
from conan_assets.estimate.sizes import Sizes
from conan_assets.settings import Settings, load_settings
from conan_assets.training.settings import TrainingSettings

SIZES = Sizes(
    documents=10_000,
    queries=1_000,
    written_queries=0,
    sentence_pairs=100,
    positives=1.5,
    judged_queries=200,
    document_lengths=(50, 150),
    query_lengths=(10, 20),
    document_bytes=200.0,
    pair_bytes=60.0,
    text_bytes=500.0,
)
BASE = ModelShape(parameters=10e6, embeddings=12e6, width=384)
RATES = Rates("a device", encoded=10_000.0, trained=1_000.0, multiplied=1e9)


def demo(**changes: object) -> Settings:
    return load_settings("demo", environment={}).model_copy(update=changes)


def planned(settings: Settings, sizes: Sizes = SIZES) -> dict[str, Planned]:
    return {each.asset: each for each in Plan(settings, sizes, RATES, BASE).assets()}


def test_every_asset_of_the_graph_that_takes_long_is_in_the_plan():
    assert list(planned(demo(rounds=2))) == [
        "raw_corpus",
        "raw_pairs",
        "prompt_response_pairs",
        "training_pairs",
        "round_0/checkpoint",
        "round_0/reports",
        "teacher_scores/bm25",
        "teacher_scores/minilm",
        "round_1/hard_negatives",
        "round_1/checkpoint",
        "round_1/reports",
        "round_2/hard_negatives",
        "round_2/checkpoint",
        "round_2/reports",
    ]


def test_what_an_asset_encoded_is_not_counted_again():
    plan = planned(demo(rounds=2))
    of_documents = SIZES.documents * 89 / RATES.encoded  # 50 and 128 of 150 tokens
    searched = SIZES.documents * BASE.width / RATES.multiplied
    assert plan["round_0/reports"].device_seconds == pytest.approx(of_documents + 200 * (15 / 1e4 + searched))
    assert plan["teacher_scores/minilm"].device_seconds == pytest.approx(1_000 * (15 / 1e4 + searched))
    assert plan["round_1/hard_negatives"].device_seconds == pytest.approx(1_000 * searched)
    assert plan["round_2/hard_negatives"].device_seconds == pytest.approx(1_000 * (15 / 1e4 + searched))


def test_training_takes_its_steps_times_the_tokens_of_one():
    checkpoint = planned(demo())["round_1/checkpoint"]
    of_a_step = 16 * (15 + 3 * 73) + 2 * 8 * 73  # texts are cut at 96 tokens
    assert checkpoint.rows == 96
    assert checkpoint.device_seconds == pytest.approx(96 * of_a_step / RATES.trained)


@given(st.integers(1, 100_000), st.integers(1, 512), st.floats(0.1, 5))
def test_a_stage_has_the_steps_of_its_epochs_and_never_more_than_it_may(queries, batch, epochs):
    sizes = SIZES.scaled(SIZES.documents, queries)
    off = {"rule": "none"}
    unlimited = TrainingSettings(epochs=epochs, retrieval_batch_size=batch, dynamic_negatives=off)
    limited = TrainingSettings(epochs=epochs, retrieval_batch_size=batch, max_steps=7, dynamic_negatives=off)
    assert steps_of(limited, sizes) == min(7, steps_of(unlimited, sizes))
    assert steps_of(unlimited, sizes) * min(batch, queries) >= epochs * queries * 0.999


@given(st.integers(10_000, 10**9))
def test_more_documents_never_take_less(documents):
    less, more = planned(demo()), planned(demo(), SIZES.scaled(documents))
    for name, each in less.items():
        assert more[name].stored >= each.stored
        assert more[name].device_seconds >= each.device_seconds
        assert more[name].memory >= each.memory


def test_the_shape_of_a_model_is_that_of_its_weights():
    from safetensors import safe_open

    folder = locate_model(DEMO_MODEL)
    with safe_open(next(folder.rglob("*.safetensors")), "np") as weights:
        sizes = {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
    matrices = {name: shape[0] * shape[1] for name, shape in sizes.items() if len(shape) == 2}
    shape = ModelShape.of(DEMO_MODEL)
    assert shape.width == 384
    assert shape.parameters == sum(size for name, size in matrices.items() if "encoder" in name)
    assert shape.embeddings == next(size for name, size in matrices.items() if "word_embeddings" in name)


def test_a_named_device_encodes_faster_than_it_trains_and_a_bigger_model_is_slower():
    small, big = named_rates("h100", 1e7), named_rates("h100", 1e9)
    assert small.encoded == pytest.approx(100 * big.encoded)
    assert small.encoded > small.trained


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        ({"dim": 8, "n_layers": 2, "hidden_dim": 32, "vocab_size": 10}, 2 * (4 * 64 + 2 * 8 * 32)),
        (
            {
                "hidden_size": 8,
                "num_hidden_layers": 1,
                "intermediate_size": 20,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "vocab_size": 10,
            },
            2 * 64 + 2 * 8 * 4 + 3 * 8 * 20,
        ),
    ],
    ids=["DistilBERT's names", "grouped queries and gated layers"],
)
def test_other_families_of_models_are_counted_by_their_own_names(tmp_path, config, parameters):
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()
    assert ModelShape.of(str(tmp_path)) == ModelShape(parameters, 80, 8)


def test_a_configuration_that_does_not_tell_the_size_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"hidden_size": 8}')
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelNotFoundError, match="does not tell num_hidden_layers"):
        ModelShape.of(str(tmp_path))
