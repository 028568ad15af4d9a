import string
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense, Pooling
from transformers import AutoConfig, AutoModel, MistralConfig, MistralModel, PreTrainedTokenizerFast

from conan_assets.encoding.settings import EncoderSettings
from conan_assets.training.architecture import ArchitectureSettings, CharacterBertSettings, LoraSettings
from conan_assets.training.character_bert import build_character_bert
from conan_assets.training.config import TrainingConfig
from conan_assets.training.metrics import read_metrics
from conan_assets.training.model import ArchitectureError, TrainableModel, set_dropout
from conan_assets.training.run import train
from conan_assets.training.settings import TrainingSettings
from conan_assets.training.weights import MasterWeights
from conan_assets_tests.training.samples import write_random_data

QUICK = TrainingSettings(
    max_steps=4, retrieval_batch_size=4, negatives_per_query=1, learning_rate=1e-3, temperature=0.1
)
TINY_BERT = CharacterBertSettings(hidden_size=16, layers=1, heads=2, max_tokens=32)
INSTRUCTION = "find the one that answers: "


@pytest.fixture(scope="module")
def tiny_decoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of a random two-layer Mistral over characters, as transformers saves it."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("decoder")
    vocabulary = {piece: i for i, piece in enumerate(["<unk>", "</s>", *string.printable])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>").save_pretrained(folder)
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
    )
    MistralModel(config).save_pretrained(folder)
    return str(folder)


def run(
    directory: Path, model: str, architecture: ArchitectureSettings, settings: TrainingSettings = QUICK, **encoder: str
) -> SentenceTransformer:
    write_random_data(directory / "data")
    train(TrainingConfig(directory, EncoderSettings(model, max_tokens=48, **encoder), (settings,), architecture))
    return SentenceTransformer(str(directory / "model"), device="cpu")


def test_a_head_is_a_linear_layer_that_later_rounds_keep(tmp_path: Path, tiny_model: str):
    architecture = ArchitectureSettings(head_dim=56)
    model = run(tmp_path / "first", tiny_model, architecture)
    (head,) = [module for module in model if isinstance(module, Dense)]
    assert (head.in_features, head.out_features, head.linear.bias is not None) == (32, 56, True)
    assert isinstance(head.activation_function, torch.nn.Identity)
    assert model.encode("abc").shape == (56,)
    again = run(tmp_path / "second", str(tmp_path / "first" / "model"), architecture)
    assert len([module for module in again if isinstance(module, Dense)]) == 1


@pytest.mark.slow
def test_training_puts_the_models_own_prompts_before_its_texts(tmp_path: Path, tiny_model: str):
    prompted = SentenceTransformer(tiny_model, device="cpu")
    prompted.prompts = {"query": "ask: ", "document": "text: "}
    prompted.save(str(tmp_path / "prompted"))
    own = run(tmp_path / "own", str(tmp_path / "prompted"), ArchitectureSettings())
    named = run(tmp_path / "named", tiny_model, ArchitectureSettings(), query_prompt="ask: ", document_prompt="text: ")
    none = run(tmp_path / "none", tiny_model, ArchitectureSettings())
    np.testing.assert_array_equal(own.encode("abc", prompt=""), named.encode("abc", prompt=""))
    assert not np.array_equal(own.encode("abc", prompt=""), none.encode("abc", prompt=""))
    assert own.prompts["query"] == "ask: "


def test_a_decoder_becomes_bidirectional_and_stays_so_when_it_is_loaded(tmp_path: Path, tiny_decoder: str):
    architecture = ArchitectureSettings(bidirectional=True, pooling="mean", pool_prompt=False)
    model = run(tmp_path, tiny_decoder, architecture, query_prompt=INSTRUCTION)
    assert model.transformers_model is not None
    first, other = (model.encode(text, output_value="token_embeddings")[0] for text in ("abcd", "abce"))
    assert not torch.allclose(first, other)
    causal = SentenceTransformer(tiny_decoder, device="cpu", processor_kwargs={"pad_token": "</s>"})
    first, other = (causal.encode(text, output_value="token_embeddings")[0] for text in ("abcd", "abce"))
    assert torch.allclose(first, other)


def test_the_tokens_of_an_instruction_are_left_out_of_the_mean(tmp_path: Path, tiny_decoder: str):
    architecture = ArchitectureSettings(bidirectional=True, pooling="mean", pool_prompt=False)
    model = run(tmp_path, tiny_decoder, architecture, query_prompt=INSTRUCTION)
    tokens = model.encode("abcd", prompt=INSTRUCTION, output_value="token_embeddings")
    whole = model.encode("abcd", prompt=INSTRUCTION)
    np.testing.assert_allclose(whole, tokens[len(INSTRUCTION) :].mean(dim=0).numpy(), atol=1e-5)
    assert np.abs(whole - tokens.mean(dim=0).numpy()).max() > 1e-3


def test_an_encoder_that_cannot_change_its_attention_says_so(tiny_model: str, monkeypatch: pytest.MonkeyPatch):
    model = SentenceTransformer(tiny_model, device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    monkeypatch.setattr("conan_assets.training.model.load_model", lambda *_, **__: model)
    with pytest.raises(ArchitectureError, match="BertModel stays causal"):
        TrainableModel(EncoderSettings(tiny_model), ArchitectureSettings(bidirectional=True), "cpu", 0)


def test_adapters_train_little_and_merge_into_a_plain_model(tmp_path: Path, tiny_decoder: str):
    architecture = ArchitectureSettings(lora=LoraSettings(rank=4, alpha=8), pooling="mean")
    base = TrainableModel(EncoderSettings(tiny_decoder), architecture, "cpu", 0)
    trainable = sum(parameter.numel() for parameter in base.model.parameters() if parameter.requires_grad)
    assert 0 < trainable < 0.5 * sum(parameter.numel() for parameter in base.model.parameters())

    model = run(tmp_path, tiny_decoder, architecture, replace(QUICK, dtype="float32"))
    assert not [name for name, _ in model.named_parameters() if "lora" in name]
    before = dict(SentenceTransformer(tiny_decoder, device="cpu").named_parameters())
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed
    assert all("proj" in name for name in changed)


def test_frozen_weights_are_loaded_in_the_type_that_is_computed_in_and_nothing_else_changes(
    tmp_path: Path, tiny_decoder: str
):
    head = ArchitectureSettings(head_dim=24, pooling="mean")
    run(tmp_path, tiny_decoder, head)
    base = EncoderSettings(str(tmp_path / "model"))
    architecture = replace(head, lora=LoraSettings(rank=4))
    loaded, rounded = (TrainableModel(base, architecture, "cpu", 0, dtype) for dtype in (torch.bfloat16, torch.float32))
    dtypes = {parameter.requires_grad: parameter.dtype for parameter in loaded.model.parameters()}
    assert dtypes == {True: torch.float32, False: torch.bfloat16}
    masters = [MasterWeights(trained.model, torch.bfloat16).masters for trained in (loaded, rounded)]
    for found, expected in (masters, [dict(trained.model.state_dict()) for trained in (loaded, rounded)]):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    rotary, exact = (dict(trained.model.named_buffers()) for trained in (loaded, rounded))
    assert rotary
    assert all(torch.equal(rotary[name], exact[name]) for name in exact)


def test_checkpointing_layers_changes_nothing_but_memory(tmp_path: Path, tiny_model: str):
    settings = replace(QUICK, dtype="float32")
    plain = run(tmp_path / "plain", tiny_model, ArchitectureSettings(), settings)
    frugal = run(tmp_path / "frugal", tiny_model, ArchitectureSettings(gradient_checkpointing=True), settings)
    for expected, found in zip(plain.parameters(), frugal.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_pooling_can_be_chosen(tmp_path: Path, tiny_model: str):
    model = run(tmp_path, tiny_model, ArchitectureSettings(pooling="cls"))
    assert [module.pooling_mode for module in model if isinstance(module, Pooling)] == ["cls"]


SIZES = {
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "hidden_size": 8,
    "intermediate_size": 8,
    "vocab_size": 9,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
BERT = ("hidden_dropout_prob", "attention_probs_dropout_prob")
FAMILIES = {
    "bert": BERT,
    "xlm-roberta": BERT,
    "electra": BERT,
    "mpnet": BERT,
    "albert": BERT,
    "deberta-v2": BERT,
    "distilbert": ("dropout", "attention_dropout"),
    "mistral": (None, "attention_dropout"),
}


def drops(family: str, settings: tuple[float | None, float | None], **probabilities: float) -> bool:
    """Whether a random model with these probabilities drops anything in training, once the settings are applied."""
    model = AutoModel.from_config(AutoConfig.for_model(family, **SIZES, **probabilities)).train()
    set_back = set_dropout(model, *settings)
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8]])
    with torch.no_grad():
        outputs = [model(input_ids=tokens).last_hidden_state for _ in range(9)]
        set_back()
        outputs_after = [model(input_ids=tokens).last_hidden_state for _ in range(9)]
    assert not all(torch.equal(outputs_after[0], output) for output in outputs_after), "what was set is set back"
    return not all(torch.equal(outputs[0], output) for output in outputs)


@pytest.mark.parametrize("family", FAMILIES)
def test_dropout_of_attention_and_of_all_else_are_set_apart(family: str):
    hidden, attention = FAMILIES[family]
    other = {name: 0.0 for name in (hidden,) if name is not None}
    assert drops(family, (0.0, None), **{attention: 0.5}, **other)
    assert not drops(family, (None, 0.0), **{attention: 0.5}, **other)
    if hidden is not None:
        assert drops(family, (None, 0.0), **{attention: 0.0, hidden: 0.5})
        assert not drops(family, (0.0, None), **{attention: 0.0, hidden: 0.5})


CHINESE = ["今天天气很好", "我们去公园散步", "机器学习模型", "GPU2"]


def test_a_chinese_bert_reads_every_character_of_its_texts(tmp_path: Path):
    path = build_character_bert(CHINESE, tmp_path / "model", TINY_BERT)
    model = SentenceTransformer(str(path), device="cpu")
    tokens = model.tokenizer.tokenize("天气模型gpu")
    assert tokens == ["天", "气", "模", "型", "g", "##p", "##u"]
    assert model.tokenizer.tokenize("龘") == ["[UNK]"]
    assert model.encode(CHINESE).shape == (4, 16)
    assert model.max_seq_length == 32


def test_a_chinese_bert_depends_on_its_seed_alone(tmp_path: Path):
    seeds = (3, 3, 4)
    paths = [build_character_bert(CHINESE, tmp_path / str(i), replace(TINY_BERT, seed=s)) for i, s in enumerate(seeds)]
    first, second, other = (SentenceTransformer(str(path), device="cpu").encode("机器") for path in paths)
    assert np.array_equal(first, second)
    assert not np.allclose(first, other)


def test_heads_that_do_not_divide_the_hidden_size_are_refused():
    with pytest.raises(ValueError, match="hidden_size is 10; give a multiple of heads, 4"):
        CharacterBertSettings(hidden_size=10, heads=4)


def test_metrics_are_written_for_every_architecture(tmp_path: Path, tiny_model: str):
    run(tmp_path, tiny_model, ArchitectureSettings(head_dim=8))
    assert all(np.isfinite(record["loss"]) for record in read_metrics(tmp_path))
