"""``python -m conan_assets compare PROFILE``: train its base model in several ways and say which one is better.

Everything lies in ``comparison/`` below the profile's home, apart from its own assets: ``comparison.md`` and ``.png``
with the differences to the first way and their 95 % intervals over queries and seeds, ``comparison.json`` with every
figure, and what they were made from. What is finished is not made again.
"""

import argparse
import sys
from pathlib import Path

from conan_assets.bucket.working_copy import open_home
from conan_assets.compare.ways import load_comparison
from conan_assets.evaluation.settings import refuse_url
from conan_assets.settings import load_settings


def main(arguments: list[str] | None = None) -> None:
    """Run a comparison; print its table. SettingsError and TableError say what is wrong in what it was given."""
    parser = argparse.ArgumentParser(prog="python -m conan_assets compare", description=__doc__)
    parser.add_argument("profile", nargs="?", help="a shipped name or a path; default $CONAN_PROFILE")
    parser.add_argument("--ways", default="default", help="default, conan, nv_retriever, or a path of a YAML file")
    parser.add_argument("--steps", type=int, help="optimizer steps of every way, instead of the file's")
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of the file's")
    parser.add_argument("--budget", choices=("steps", "seconds"), default="steps", help="what all ways get as much of")
    parser.add_argument("--home", type=_folder, help="where everything is written, instead of there")
    options = parser.parse_args(arguments)
    from conan_assets.compare.run import run_all
    from conan_assets.compare.table import write_comparison
    from conan_assets.progress import logger

    settings = load_settings(options.profile)
    changes = {name: value for name in ("steps", "seeds") if (value := getattr(options, name)) is not None}
    comparison = load_comparison(options.ways, changes)
    home = options.home or open_home(settings.home) / "comparison"
    reference = next(iter(comparison.ways))
    runs = []
    for run in run_all(options.profile, comparison, options.budget == "seconds", home):
        runs.append(run)
        logger.info("%s, seed %d: %d steps, %.0f s", run.way, run.seed, run.steps, run.seconds)
        if run.steps:
            table = write_comparison(runs, reference, settings.dev_metric.metric, home)
    sys.stdout.write(table + "\n")


def _folder(text: str) -> Path:
    try:
        return Path(str(refuse_url(text)))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from error
