"""Cut a step's texts into mini-batches of like length within a budget of padded tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sentence_transformers import SentenceTransformer

from conan_assets.training.gradient_cache import MiniBatch


@dataclass(frozen=True)
class Role:
    """How texts of one role are prepared: the prompt before them, and their longest length in tokens with it."""

    prompt: str
    max_tokens: int


def split_into_mini_batches(
    model: SentenceTransformer,
    texts: Sequence[tuple[int, str]],
    rows: Sequence[int],
    roles: Sequence[Role],
    tokens_per_mini_batch: int,
    seed: Sequence[int],
) -> Iterator[MiniBatch]:
    """Yield mini-batches of ``texts[row] = (number of its role, text)`` for all ``rows``, the longest first.

    Texts of roles with one prompt and limit share mini-batches. ``seed`` and the first row seed a mini-batch.
    """
    for role in dict.fromkeys(roles):
        members = [row for row in rows if roles[texts[row][0]] == role]
        if not members:
            continue
        lengths = _lengths(model, [role.prompt + texts[row][1] for row in members], role.max_tokens)
        for group in group_by_length(lengths, tokens_per_mini_batch):
            chosen = [members[i] for i in group]
            features = model.preprocess(
                [texts[row][1] for row in chosen], prompt=role.prompt or None, max_length=role.max_tokens
            )
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


def _lengths(model: SentenceTransformer, texts: list[str], max_tokens: int) -> np.ndarray:
    ids = model.tokenizer(texts, truncation=True, max_length=max_tokens, return_attention_mask=False)["input_ids"]
    return np.array([len(row) for row in ids])
