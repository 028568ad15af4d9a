"""``python -m conan_assets.settings [PROFILE]``: check a profile, and that what it names is there."""

import argparse
import json
import sys

from conan_assets.bucket.working_copy import open_home
from conan_assets.files import ArtifactError
from conan_assets.settings import Settings, SettingsError, load_settings
from conan_assets.settings.inputs import check_inputs


def main() -> None:
    """Print the JSON schema of a profile, or check one."""
    parser = argparse.ArgumentParser(prog="python -m conan_assets.settings", description="Check a profile.")
    parser.add_argument("profile", nargs="?", help="a shipped name or a path; default $CONAN_PROFILE")
    parser.add_argument("--json-schema", action="store_true", help="print the schema of a profile and exit")
    parser.add_argument("--alone", action="store_true", help="check the profile without looking for what it names")
    arguments = parser.parse_args()
    if arguments.json_schema:
        print(json.dumps(Settings.model_json_schema(), indent=2))
        return
    try:
        settings = load_settings(arguments.profile)
        if not arguments.alone:
            check_inputs(settings)
            open_home(settings.home)
    except (SettingsError, ArtifactError) as error:
        sys.exit(str(error))
    print(f"profile {settings.name!r} is valid; rounds: {settings.rounds}, sources: {len(settings.sources)}")


if __name__ == "__main__":
    main()
