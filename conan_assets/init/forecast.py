"""What a profile for documents will take: calls, tokens, cost and time, and the commands that come next."""

import math
import time
from pathlib import Path
from typing import Any

import polars as pl

from conan_assets.data.tables import PAIRS
from conan_assets.init.profile import CALLS_AT_A_TIME, WITHOUT_MODEL
from conan_assets.settings import Settings
from conan_assets.synthesis.estimate import estimate_generation
from conan_assets.synthesis.settings import OpenAIGeneration

SAMPLED_TEXTS = 64
SECONDS_A_CALL = 3.0
"""What is taken for the endpoint; a small local model may take longer."""

BACKWARD = 3
"""A step of training takes about three times its forward pass."""


def forecast(
    settings: Settings, profile: Path, corpus: pl.DataFrame, split: pl.DataFrame, report: dict[str, Any]
) -> list[str]:
    """Return lines of what was found, what it will take, and the next two commands.

    Parameters
    ----------
    settings, profile
        The programme, and the file that was written for it.
    corpus, split, report
        Its passages, their ``split``, and what there is to say about their reading.
    """
    ((name, source),) = settings.documents.items()
    read, counts = report["documents"][0], dict(split.group_by("split").len().iter_rows())
    lines = [
        f"{read['passages']:,} passages of {read['documents']:,} documents, language {source.language}; to train on, "
        f"dev and test: {counts.get('train', 0):,}, {counts.get('dev', 0):,}, {counts.get('test', 0):,}",
        *(
            f"left out: {row['files']} files ({row['reason']}), the first: {row['first']}"
            for row in report["files_left_out"]
        ),
    ]
    calls, cost = _calls(settings, corpus)
    lines.append(cost)
    minutes = _minutes(settings, corpus["text"], calls)
    lines.append(
        f"time: about {math.ceil(minutes)} min here" if minutes else "time: not known before the base model is here"
    )
    home = f"CONAN_HOME=$PWD/conan_home_{name}"
    return [
        *lines,
        f"wrote {profile}; next:",
        f"  make demo PROFILE={profile} {home}    # everything, up to the leaderboard",
        f"  make ui PROFILE={profile} {home}      # the graph, every pair and every figure",
    ]


def _calls(settings: Settings, corpus: pl.DataFrame) -> tuple[int, str]:
    """Return how many calls the model that writes gets, and a line of what they cost."""
    if not isinstance(settings.generation, OpenAIGeneration):
        return 0, WITHOUT_MODEL
    no_pairs, journal = pl.DataFrame(schema=dict(PAIRS.columns)), settings.home / "journal"
    estimate = estimate_generation(settings.generation, corpus, no_pairs, journal, settings.documents)
    prompts, completions = (f"{estimate[f'{kind}_tokens_expected']:,}" for kind in ("prompt", "completion"))
    price = (
        f"{estimate['cost_expected']:.2f}" if settings.generation.budget.has_prices else "not known without --prices"
    )
    tokens = f"prompt tokens about {prompts}, completion tokens about {completions}"
    return estimate["calls"], f"model calls: {estimate['calls']:,}; {tokens}; cost about {price}"


def _minutes(settings: Settings, texts: pl.Series, calls: int) -> float | None:
    """Return how long a programme takes, by encoding a few of its texts; None where its base model is not here."""
    from conan_assets.encoding.encoder import Encoder
    from conan_assets.encoding.models import ModelNotFoundError

    (stage,) = settings.training
    try:
        encoder = Encoder(settings.base_model)
    except ModelNotFoundError:
        return None
    sample = texts.sample(min(SAMPLED_TEXTS, len(texts)), seed=0).to_list()
    encoder.encode(sample[:4], "document")
    started = time.monotonic()
    encoder.encode(sample, "document")
    each = (time.monotonic() - started) / len(sample)
    encoded = len(texts) * (1 + settings.rounds)
    trained = settings.rounds * (stage.max_steps or 0) * stage.retrieval_batch_size * (1 + stage.negatives_per_query)
    shorter = (stage.max_tokens or 1) / (settings.base_model.max_tokens or stage.max_tokens or 1)
    return (each * (encoded + BACKWARD * shorter * trained) + calls * SECONDS_A_CALL / CALLS_AT_A_TIME) / 60
