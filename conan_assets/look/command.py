"""Read what a run made of single queries. QUERY is the id of one, or a part of its text.

``look ROUND [QUERY] [PROFILE]``: the documents mined for it in a round, with their scores, who found them, and why each
was kept or removed; without a query a dozen that are worth reading.
``look pairs [QUERY] [PROFILE]``: its pairs that curation kept and removed, with reasons; without a query examples.
``look report ROUND [QUERY] [PROFILE]``: what a round's checkpoint puts above the relevant document; without a query for
the worst of every task.
"""

import argparse
import sys

from conan_assets.look.home import Home, LookError
from conan_assets.settings import load_settings


def main(arguments: list[str] | None = None) -> None:
    """Print what was asked for. SettingsError, ArtifactError and LookError say what is wrong in what was given."""
    parser = argparse.ArgumentParser(
        prog="python -m conan_assets look", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments = sys.argv[1:] if arguments is None else arguments
    parser.add_argument("what", metavar="ROUND | pairs | report ROUND", help="1 or round_1 for the first round")
    if arguments[:1] == ["report"]:
        parser.add_argument("round", help="0 for the base model")
    parser.add_argument("query", nargs="?", help="its id, or a part of its text")
    parser.add_argument("profile", nargs="?", help="a shipped name or a path; default $CONAN_PROFILE")
    parser.add_argument("--show", type=int, default=5, help="documents or queries of a kind (default 5)")
    parser.add_argument("--chars", type=int, default=400, help="characters of each text (default 400)")
    options = parser.parse_args(arguments)
    home = Home(load_settings(options.profile))
    asked = options.query, options.show, options.chars
    if options.what == "pairs":
        from conan_assets.look.pairs import look_at_pairs

        told = look_at_pairs(home, *asked)
    elif options.what == "report":
        from conan_assets.look.reported import look_at_report

        told = look_at_report(home, _number(options.round), *asked)
    else:
        from conan_assets.look.mined import look_at_round

        told = look_at_round(home, _number(options.what), *asked)
    sys.stdout.write(told + "\n")


def _number(text: str) -> int:
    number = text.removeprefix("round_")
    if not number.isdecimal():
        raise LookError(f"{text!r} is no round: give a number such as 1, or 'pairs', or 'report' and a number")
    return int(number)
