"""A small BERT with a character vocabulary, made from scratch: a base model where none can be downloaded."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer
from transformers import BertConfig, BertModel
from transformers.models.bert.tokenization_bert import BertTokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY_SIZE = 8_000
SMALL = BertConfig(hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=512)


def build_character_bert(texts: Iterable[str], directory: Path, config: BertConfig = SMALL, seed: int = 0) -> Path:
    """Save a randomly initialised BERT over the characters of ``texts``, with mean pooling; return its folder.

    Chinese characters are tokens of their own; other scripts are spelled character by character.

    Parameters
    ----------
    texts
        What the vocabulary is taken from: the most frequent characters.
    directory
        The model is saved as ``model/`` in it, as a sentence-transformers folder.
    config
        Size of the model; its vocabulary size is set here.
    seed
        Decides the weights.
    """
    counts = Counter(character for text in texts for character in text.lower() if not character.isspace())
    frequent = sorted(counts, key=lambda character: (-counts[character], character))[:VOCABULARY_SIZE]
    pieces = [*SPECIAL, *frequent, *(f"##{character}" for character in frequent if character.isalnum())]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = BertTokenizer(vocab=vocabulary, model_max_length=config.max_position_embeddings)
    torch.manual_seed(seed)
    sized = BertConfig(**(config.to_diff_dict() | {"vocab_size": len(vocabulary)}))
    source = directory / "transformer"
    BertModel(sized).save_pretrained(source)
    tokenizer.save_pretrained(source)
    model = SentenceTransformer(modules=[Transformer(str(source)), Pooling(sized.hidden_size)], device="cpu")
    model.save(str(directory / "model"), create_model_card=False)
    return directory / "model"
