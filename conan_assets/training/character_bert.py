"""A small BERT with a character vocabulary, made from scratch: a base model where none can be downloaded."""

import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer
from transformers import BertConfig, BertModel
from transformers.models.bert.tokenization_bert import BertTokenizer

from conan_assets.training.architecture import CharacterBertSettings

CARD = """---
license: apache-2.0
---

A BERT of random weights over the characters of a corpus: where training starts if no base model can be had.
"""
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def build_character_bert(texts: Iterable[str], folder: Path, settings: CharacterBertSettings) -> Path:
    """Save a randomly initialised BERT over the characters of ``texts``, with mean pooling; return its folder.

    Chinese characters are tokens of their own; other scripts are spelled character by character.

    Parameters
    ----------
    texts
        What the vocabulary is taken from: the most frequent characters.
    folder
        The model is saved here, as a sentence-transformers folder.
    settings
        Size and seed of the model.
    """
    vocabulary = {piece: number for number, piece in enumerate(_pieces(texts, settings.vocabulary_size))}
    tokenizer = BertTokenizer(vocab=vocabulary, model_max_length=settings.max_tokens)
    torch.manual_seed(settings.seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        intermediate_size=4 * settings.hidden_size,
        max_position_embeddings=settings.max_tokens,
    )
    with tempfile.TemporaryDirectory(prefix="conan_assets_bert_") as transformer:
        BertModel(config).save_pretrained(transformer)
        tokenizer.save_pretrained(transformer)
        model = SentenceTransformer(modules=[Transformer(transformer), Pooling(config.hidden_size)], device="cpu")
        model.save(str(folder), create_model_card=False)
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    return folder


def _pieces(texts: Iterable[str], size: int) -> list[str]:
    """Return the vocabulary: special tokens, characters at the start of a word, and inside of one."""
    counts = Counter(character for text in texts for character in text.lower() if not character.isspace())
    frequent = sorted(counts, key=lambda character: (-counts[character], character))[:size]
    return [*SPECIAL, *frequent, *(f"##{character}" for character in frequent if _occurs_inside_words(character))]


def _occurs_inside_words(character: str) -> bool:
    return character.isalnum() and not unicodedata.name(character, "").startswith("CJK")
