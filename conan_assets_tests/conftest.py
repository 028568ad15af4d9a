"""Shared fixtures: tiny real models, nothing from a network and nothing from the caller's own home."""

import os
import string
import sys
from pathlib import Path

import pytest
from absl import logging as absl_logging

for variable in ("CONAN_HOME", "CONAN_PROFILE", "DAGSTER_HOME", "MAKEFLAGS", "MAKELEVEL"):
    os.environ.pop(variable, None)
for variable in [name for name in os.environ if name.startswith("MLFLOW_")]:
    del os.environ[variable]
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# OpenVINO brings it in; when logging is configured next it would close the stream that pytest captures.
absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__

LONGEST = (
    "test_scifact.py",
    "test_ui.py",
    "test_kills.py",
    "test_damage.py",
    "test_checkpoints.py",
    "test_services.py",
    "test_serve.py",
    "test_demo_on_a_cluster.py",
    "test_ray.py",
    "test_several_machines.py",
)
"""Files that take minutes; they are begun first, so that no worker is left alone with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def build_tiny_model(folder: Path, seed: int = 0, more_characters: str = "", positions: int = 64) -> str:
    """Save a random two-layer BERT with a character WordPiece vocabulary as a sentence-transformers folder."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    pieces = [*string.ascii_lowercase, *string.digits, *".,:;()-_'?!", *more_characters]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces, *(f"##{piece}" for piece in pieces)]
    tokenizer = BertTokenizerFast(vocab={piece: i for i, piece in enumerate(vocabulary)}, model_max_length=positions)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=positions,
    )
    source = folder / "transformer"
    BertModel(config).save_pretrained(source)
    tokenizer.save_pretrained(source)
    transformer = Transformer(str(source), max_seq_length=positions)
    model = SentenceTransformer(modules=[transformer, Pooling(config.hidden_size)], device="cpu")
    model.save(str(folder / "model"))
    return str(folder / "model")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of a tiny random sentence-transformers model."""
    return build_tiny_model(tmp_path_factory.mktemp("tiny_model"))


@pytest.fixture(scope="session")
def tiny_cross_encoder(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of a tiny random cross-encoder."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        num_labels=1,
    )
    folder = tmp_path_factory.mktemp("cross_encoder")
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
