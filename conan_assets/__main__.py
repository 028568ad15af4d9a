"""``python -m conan_assets --estimate [PROFILE]``: what writing a profile's pairs would send and cost."""

import argparse
import sys

import polars as pl

from conan_assets.data.sources import load_source
from conan_assets.data.tables import TableError
from conan_assets.llm.journal import JournalError
from conan_assets.settings import Settings, SettingsError, load_settings
from conan_assets.synthesis.estimate import estimate_generation
from conan_assets.synthesis.settings import OpenAIGeneration


def main(arguments: list[str] | None = None) -> None:
    """Print the estimate of a profile; exit with a message when it cannot be made."""
    parser = argparse.ArgumentParser(prog="python -m conan_assets", description=__doc__)
    parser.add_argument("profile", nargs="?", help="a shipped name or a path; default $CONAN_PROFILE")
    parser.add_argument("--estimate", action="store_true", required=True, help="print tokens and cost; nothing is sent")
    options = parser.parse_args(arguments)
    try:
        _print_estimate(load_settings(options.profile))
    except (SettingsError, TableError, JournalError) as error:
        sys.exit(str(error))


def _print_estimate(settings: Settings) -> None:
    generation = settings.generation
    if not isinstance(generation, OpenAIGeneration):
        print(f"generation is {generation.kind!r}: it asks no endpoint and costs nothing")
        return
    loaded = [load_source(name, source) for name, source in settings.sources.items()]
    corpus, pairs = (pl.concat(tables) for tables in zip(*loaded, strict=True))
    estimate = estimate_generation(generation, corpus, pairs, settings.home / "journal")
    width = max(map(len, estimate))
    for name, value in estimate.items():
        print(f"{name.replace('_', ' '):{width}}  {value if isinstance(value, str) else format(value, ',')}")
    if not generation.budget.has_prices:
        print("set generation.budget.price_per_million_prompt_tokens and ..._completion_tokens for the cost")


if __name__ == "__main__":
    main()
