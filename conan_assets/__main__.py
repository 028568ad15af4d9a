"""A profile for documents, what it would cost, whether what it wrote is intact, what is in it, which training helps.

``python -m conan_assets init FOLDER`` writes a profile for a folder of documents;
``python -m conan_assets --estimate [PROFILE]`` prints what writing a profile's pairs would send and cost;
``python -m conan_assets verify [PROFILE]`` checks every file below its storage root;
``python -m conan_assets look ...`` shows what was mined for a query, what curation did to it, or what was found for it;
``python -m conan_assets compare [PROFILE]`` trains in several ways and compares them.
"""

import argparse
import sys

import polars as pl

from conan_assets.compare.command import main as compare
from conan_assets.data.sources import load_source
from conan_assets.data.tables import TableError
from conan_assets.files import ArtifactError
from conan_assets.init.command import main as set_up
from conan_assets.llm.journal import JournalError
from conan_assets.look.command import main as look
from conan_assets.look.home import LookError
from conan_assets.settings import Settings, SettingsError, load_settings
from conan_assets.synthesis.estimate import estimate_generation
from conan_assets.synthesis.settings import OpenAIGeneration
from conan_assets.verification import verify


def main(arguments: list[str] | None = None) -> None:
    """Write a profile, print an estimate, what is damaged or made in a home, or a comparison; exit on failure."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments[:1] == ["init"]:
            set_up(arguments[1:])
        elif arguments[:1] == ["compare"]:
            compare(arguments[1:])
        elif arguments[:1] == ["look"]:
            look(arguments[1:])
        elif arguments[:1] == ["verify"]:
            _verify(arguments)
        else:
            _estimate(arguments)
    except (SettingsError, TableError, JournalError, ArtifactError, LookError) as error:
        sys.exit(str(error))


def _verify(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m conan_assets", description="Check every file of a home.")
    parser.add_argument("verify", help="read every file and compare it with the digest that was written with it")
    parser.add_argument("profile", nargs="?", help="a shipped name or a path; default $CONAN_PROFILE")
    parser.add_argument("--repair", action="store_true", help="set damaged parts aside: the next run makes them again")
    options = parser.parse_args(arguments)
    home = load_settings(options.profile).home
    problems = list(verify(home))
    for problem in problems:
        print(problem.message)
    left = [problem for problem in problems if problem.repair is None or not options.repair]
    for problem in problems:
        if options.repair and problem.repair is not None:
            problem.repair()
    if not problems:
        print(f"{home} is intact")
    if len(left) < len(problems):
        print(f"{len(problems) - len(left)} damaged parts were set aside: run again to make them anew")
    if left:
        sys.exit(
            f"{len(left)} damaged parts: --repair sets aside what can be made again; then run again to make it anew"
        )


def _estimate(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m conan_assets", description=__doc__)
    parser.add_argument("profile", nargs="?", help="a shipped name or a path; default $CONAN_PROFILE")
    parser.add_argument("--estimate", action="store_true", required=True, help="print tokens and cost; nothing is sent")
    _print_estimate(load_settings(parser.parse_args(arguments).profile))


def _print_estimate(settings: Settings) -> None:
    generation = settings.generation
    if not isinstance(generation, OpenAIGeneration):
        print(f"generation is {generation.kind!r}: it asks no endpoint and costs nothing")
        return
    loaded = [load_source(name, source) for name, source in settings.sources.items()]
    corpus, pairs = (pl.concat(tables) for tables in zip(*loaded, strict=True))
    estimate = estimate_generation(generation, corpus, pairs, settings.home / "journal", settings.documents)
    width = max(map(len, estimate))
    for name, value in estimate.items():
        print(f"{name.replace('_', ' '):{width}}  {value if isinstance(value, str) else format(value, ',')}")
    if not generation.budget.has_prices:
        print("set generation.budget.price_per_million_prompt_tokens and ..._completion_tokens for the cost")


if __name__ == "__main__":
    main()
