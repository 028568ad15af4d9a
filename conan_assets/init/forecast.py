"""What a profile for documents will take: calls, tokens, cost and time, and the commands that come next."""

import math
from pathlib import Path
from typing import Any

import polars as pl

from conan_assets.data.sources import NO_PAIRS
from conan_assets.encoding.models import ModelNotFoundError
from conan_assets.estimate.models import ModelShape
from conan_assets.estimate.plan import Plan
from conan_assets.estimate.rates import measured_rates
from conan_assets.estimate.sizes import count_sizes
from conan_assets.init.profile import CALLS_AT_A_TIME, WITHOUT_MODEL
from conan_assets.settings import Settings
from conan_assets.synthesis.estimate import estimate_generation
from conan_assets.synthesis.settings import OpenAIGeneration

SECONDS_A_CALL = 3.0
"""What is taken for the endpoint; a small local model may take longer."""


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
    minutes = _minutes(settings, corpus, calls)
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
    journal = settings.root / "journal"
    estimate = estimate_generation(settings.generation, corpus, NO_PAIRS, journal, settings.documents)
    prompts, completions = (f"{estimate[f'{kind}_tokens_expected']:,}" for kind in ("prompt", "completion"))
    price = (
        f"{estimate['cost_expected']:.2f}" if settings.generation.budget.has_prices else "not known without --prices"
    )
    tokens = f"prompt tokens about {prompts}, completion tokens about {completions}"
    return estimate["calls"], f"model calls: {estimate['calls']:,}; {tokens}; cost about {price}"


def _minutes(settings: Settings, corpus: pl.DataFrame, calls: int) -> float | None:
    """Return how long a programme takes, by a few of its texts; None where its base model is not here."""
    try:
        base = ModelShape.of(settings.base_model.model)
    except ModelNotFoundError:
        return None
    sizes = count_sizes(settings, corpus, NO_PAIRS)
    plan = Plan(settings, sizes, measured_rates(settings, sizes, corpus, NO_PAIRS), base)
    seconds = sum(asset.device_seconds + asset.host_seconds for asset in plan.assets())
    return (seconds + calls * SECONDS_A_CALL / CALLS_AT_A_TIME) / 60
