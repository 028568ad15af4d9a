"""``python -m conan_assets estimate PROFILE``: what every asset will take, before anything is computed or sent.

The sources are counted, and a few of their texts are encoded and trained on here; or say the device, and how many
documents there will be. An LLM's requests, tokens and cost stand below the table.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from conan_assets.bucket.working_copy import open_home
from conan_assets.data.sources import load_source
from conan_assets.encoding.models import ModelNotFoundError
from conan_assets.estimate.models import ModelShape
from conan_assets.estimate.plan import Plan
from conan_assets.estimate.rates import PEAK, measured_rates, named_rates
from conan_assets.estimate.sizes import count_sizes
from conan_assets.estimate.table import table_of
from conan_assets.settings import Settings, SettingsError, load_settings
from conan_assets.synthesis.estimate import estimate_generation
from conan_assets.synthesis.settings import OpenAIGeneration

MULTIPLES = {"": 1, "k": 1_000, "M": 1_000_000, "B": 1_000_000_000}


def main(arguments: Sequence[str]) -> None:
    """Print the plan of a profile; SettingsError and TableError say what is wrong in what it was given."""
    options = _parser().parse_args(arguments)
    settings = load_settings(options.profile)
    for line in _lines(settings, options):
        sys.stdout.write(line + "\n")


def _lines(settings: Settings, options: argparse.Namespace) -> Iterator[str]:
    loaded = [load_source(name, source) for name, source in settings.sources.items()]
    corpus, pairs = (pl.concat(tables) for tables in zip(*loaded, strict=True))
    try:
        base = ModelShape.of(settings.base_model.model)
    except ModelNotFoundError as error:
        raise SettingsError(f"a plan needs the base model's configuration: {error}") from error
    counted = count_sizes(settings, corpus, pairs)
    if options.device:
        rates = named_rates(options.device, base.parameters)
    else:
        rates = measured_rates(settings, counted, corpus, pairs)
    yield str(rates)
    generation = settings.generation
    written = (
        estimate_generation(generation, corpus, pairs, open_home(settings.home) / "journal", settings.documents)
        if isinstance(generation, OpenAIGeneration)
        else {}
    )
    for documents in options.documents or [counted.documents]:
        sizes = counted.scaled(documents, options.queries) if options.documents else counted
        factor = documents / max(counted.documents, 1)
        plan = Plan(settings, sizes, rates, base, options.judged_texts)
        planned = plan.assets(round(factor * written.get("calls", 0)), factor * written.get("cost_expected", 0.0))
        yield f"\n{sizes.documents:,} documents, {sizes.queries:,} training queries"
        yield from table_of(list(planned), options.devices)
    yield ""
    yield from _generation(settings, written)


def _generation(settings: Settings, written: dict[str, Any]) -> Iterator[str]:
    """Yield what the sources' pairs will cost, as they are now."""
    generation = settings.generation
    if not isinstance(generation, OpenAIGeneration):
        yield f"generation is {generation.kind!r}: it asks no endpoint and costs nothing"
        return
    width = max(map(len, written))
    for name, value in written.items():
        yield f"{name.replace('_', ' '):{width}}  {value if isinstance(value, str) else format(value, ',')}"
    if not generation.budget.has_prices:
        yield "set generation.budget.price_per_million_prompt_tokens and ..._completion_tokens for the cost"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m conan_assets estimate", description=__doc__)
    parser.add_argument("profile", nargs="?", help="a shipped name or a path; default $CONAN_PROFILE")
    parser.add_argument("--device", choices=sorted(PEAK), help="by its data sheet, instead of this machine as measured")
    parser.add_argument("--devices", type=int, default=1, help="so many of them share the work evenly")
    parser.add_argument(
        "--documents", type=_number, nargs="+", help="plan for so many: 1M 10M 100M; all else grows too"
    )
    parser.add_argument("--queries", type=_number, help="with --documents: so many queries train")
    parser.add_argument(
        "--judged-texts", type=_number, default=0, help="texts that a checkpoint's benchmarks from the hub encode"
    )
    return parser


def _number(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kMB]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no number; write it as 2500, 300k, 1M or 1.5B")
    return round(float(found[1]) * MULTIPLES[found[2]])
