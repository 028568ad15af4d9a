"""How fast a device is: one that is named, by its data sheet, or this machine, by what is measured on it."""

import math
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from conan_assets.data.tables import DOCUMENT_TEXT
from conan_assets.data.training_files import write_training_files
from conan_assets.estimate.sizes import Sizes
from conan_assets.settings import Settings

if TYPE_CHECKING:
    from conan_assets.encoding.encoder import Encoder

PEAK = {"l4": 121e12, "a100": 312e12, "h100": 989e12, "h200": 989e12}
"""Operations a second in bfloat16, dense, of the makers' data sheets."""
SHARE_REACHED = 0.4
"""Of the peak, in encoding and training; assumed, as docs/recipes.md does."""
SHARE_IN_SEARCH = 0.02
"""Of the peak, in exact search, which multiplies in float32; assumed."""
ENCODING, TRAINING = 2, 8
"""Operations for a parameter and a token: a pass forward; forward, backward and one forward again (gradient cache)."""

TOKENIZED = 230_000
"""Tokens that one core makes of text in a second, each twice: lengths decide the batches."""

SAMPLED_TEXTS = 256
TRAINED_STEPS = 4
SEARCHED = (512, 8192)
"""Queries and documents of the product that search is timed by."""


@dataclass(frozen=True)
class Rates:
    """What a device does in a second.

    Attributes
    ----------
    device
        Its name.
    encoded, trained
        Tokens of the base model, in encoding and in steps of training.
    multiplied
        Multiplications of exact search: queries x documents x components.
    tokenized
        Tokens that one core prepares for it; infinite where that is in ``encoded`` and ``trained``.
    """

    device: str
    encoded: float
    trained: float
    multiplied: float
    tokenized: float = math.inf

    def __str__(self) -> str:
        """Return the rates as a line."""
        return (
            f"{self.device}: {self.encoded:,.0f} tokens encoded and {self.trained:,.0f} trained a second, exact search "
            f"multiplies {self.multiplied / 1e9:,.0f} billion times"
        )


def named_rates(device: str, parameters: float) -> Rates:
    """Return the rates of a device of :data:`PEAK` with a model of so many parameters besides its embeddings."""
    reached = SHARE_REACHED * PEAK[device]
    return Rates(
        device,
        encoded=reached / (ENCODING * parameters),
        trained=reached / (TRAINING * parameters),
        multiplied=SHARE_IN_SEARCH * PEAK[device] / 2,
        tokenized=TOKENIZED,
    )


def measured_rates(settings: Settings, sizes: Sizes, corpus: pl.DataFrame, pairs: pl.DataFrame) -> Rates:
    """Return this machine's rates with a programme's own base model, texts and settings of training."""
    from conan_assets.encoding.encoder import Encoder

    encoder = Encoder(settings.base_model)
    encoded = sizes.tokens("document", settings.base_model.max_tokens) * _time_encoding(encoder, corpus)
    return Rates(
        device=f"this machine ({encoder.device})",
        encoded=encoded,
        trained=_time_training(settings, corpus, pairs) or encoded * ENCODING / TRAINING,
        multiplied=_time_search(encoder.dim),
    )


def _time_encoding(encoder: "Encoder", corpus: pl.DataFrame) -> float:
    """Return the documents a second."""
    texts = corpus.sample(min(SAMPLED_TEXTS, len(corpus)), seed=0).select(text=DOCUMENT_TEXT)["text"].to_list()
    encoder.encode(texts[:8], "document")
    started = time.monotonic()
    encoder.encode(texts, "document")
    return len(texts) / (time.monotonic() - started)


def _time_training(settings: Settings, corpus: pl.DataFrame, pairs: pl.DataFrame) -> float | None:
    """Return the tokens a second of some steps of the first stage, None where no query trains."""
    from conan_assets.training.config import TrainingConfig
    from conan_assets.training.run import DATA, train

    stage = settings.training[0]
    wanted = TRAINED_STEPS * stage.retrieval_batch_size
    chosen = pairs.filter(pl.col("task") == "retrieval", pl.col("split") == "train", pl.col("score") > 0)
    chosen = chosen.unique("query_id", maintain_order=True).head(wanted)
    if not len(chosen):
        return None
    stage = replace(stage, max_steps=TRAINED_STEPS, early_stop=None)
    with tempfile.TemporaryDirectory() as folder:
        write_training_files(corpus, chosen, chosen, None, Path(folder) / DATA)
        config = TrainingConfig(Path(folder), settings.base_model, (stage,), settings.architecture, ())
        return float(train(config)["tokens_per_second"])


def _time_search(dim: int) -> float:
    queries, documents = (np.random.default_rng(0).random((rows, dim), np.float32) for rows in SEARCHED)
    queries @ documents.T
    started = time.monotonic()
    queries @ documents.T
    return float(SEARCHED[0] * SEARCHED[1] * dim / (time.monotonic() - started))
