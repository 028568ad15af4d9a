"""The texts of a step: each once for every role it plays, cut into mini-batches of like length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sentence_transformers import SentenceTransformer

from conan_assets.training.gradient_cache import MiniBatch

QUERY, DOCUMENT = 0, 1

Text = tuple[int, str]
"""A role, which decides prompt and length limit, and a text."""


class TextNumbers:
    """Numbers texts in the order they are first seen."""

    def __init__(self) -> None:
        self._numbers: dict[Text, int] = {}

    def number(self, role: int, text: str) -> int:
        """Return the number of a text."""
        return self._numbers.setdefault((role, text), len(self._numbers))

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def texts(self) -> list[Text]:
        """All texts in the order of their numbers."""
        return list(self._numbers)


@dataclass(frozen=True)
class Preparation:
    """How texts of one role are prepared: the prompt before them, and their longest length in tokens with it."""

    prompt: str
    max_tokens: int


def split_into_mini_batches(
    model: SentenceTransformer,
    texts: Sequence[Text],
    rows: Sequence[int],
    preparations: Sequence[Preparation],
    tokens_per_mini_batch: int,
    seed: Sequence[int],
) -> Iterator[MiniBatch]:
    """Yield mini-batches of the texts at ``rows``, the longest first, given how texts of each role are prepared.

    Texts of roles that are prepared alike share mini-batches. ``seed`` and the first row seed a mini-batch.
    """
    for preparation in dict.fromkeys(preparations):
        members = [row for row in rows if preparations[texts[row][0]] == preparation]
        if not members:
            continue
        prompt, max_tokens = preparation.prompt, preparation.max_tokens
        lengths = count_tokens(model, [prompt + texts[row][1] for row in members], max_tokens)
        for group in group_by_length(lengths, tokens_per_mini_batch):
            chosen = [members[i] for i in group]
            features = model.preprocess([texts[row][1] for row in chosen], prompt=prompt or None, max_length=max_tokens)
            tokens = features["input_ids"].numel()
            yield MiniBatch(chosen, features, tokens, derive_seed(*seed, chosen[0]))


def group_by_length(lengths: np.ndarray, budget: int) -> Iterator[list[int]]:
    """Yield the indices of ``lengths``, longest first, in groups whose padded size is within ``budget``."""
    order = np.argsort(-lengths, kind="stable").tolist()
    start = 0
    while start < len(order):
        size = max(1, budget // max(1, int(lengths[order[start]])))
        yield order[start : start + size]
        start += size


def derive_seed(*numbers: int) -> int:
    """Return a 63-bit seed that depends on all ``numbers``."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def count_tokens(model: SentenceTransformer, texts: Sequence[str], max_tokens: int | None = None) -> np.ndarray:
    """Return the length of each text in tokens, at most ``max_tokens`` if given, those at its ends included."""
    if not texts:
        return np.empty(0, np.int64)
    limit = {"truncation": max_tokens is not None, "max_length": max_tokens}
    ids = model.tokenizer([*texts], **limit, return_attention_mask=False, verbose=False)["input_ids"]
    return np.array([len(row) for row in ids])
