"""A profile for documents, what it would cost, whether what it wrote is intact, what is in it, which training helps.

``python -m conan_assets init FOLDER`` writes a profile for a folder of documents;
``python -m conan_assets estimate [PROFILE]`` prints what every asset would take, and what an LLM would be sent;
``python -m conan_assets verify [PROFILE]`` checks every file below its storage root;
``python -m conan_assets look ...`` shows what was mined for a query, what curation did to it, or what was found for it;
``python -m conan_assets compare [PROFILE]`` trains in several ways and compares them.
"""

import argparse
import sys

import conan_assets.environment  # noqa: F401  # before torch is loaded
from conan_assets.bucket.working_copy import open_home
from conan_assets.compare.command import main as compare
from conan_assets.data.tables import TableError
from conan_assets.estimate.command import main as estimate
from conan_assets.files import ArtifactError
from conan_assets.init.command import main as set_up
from conan_assets.llm.journal import JournalError
from conan_assets.look.command import main as look
from conan_assets.look.home import LookError
from conan_assets.settings import SettingsError, load_settings
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
        elif arguments[:1] == ["estimate"]:
            estimate(arguments[1:])
        else:
            sys.exit(__doc__)
    except (SettingsError, TableError, JournalError, ArtifactError, LookError) as error:
        sys.exit(str(error))


def _verify(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m conan_assets", description="Check every file of a home.")
    parser.add_argument("verify", help="read every file and compare it with the digest that was written with it")
    parser.add_argument("profile", nargs="?", help="a shipped name or a path; default $CONAN_PROFILE")
    parser.add_argument("--repair", action="store_true", help="set damaged parts aside: the next run makes them again")
    options = parser.parse_args(arguments)
    home = load_settings(options.profile).home
    problems = list(verify(open_home(home)))
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


if __name__ == "__main__":
    main()
