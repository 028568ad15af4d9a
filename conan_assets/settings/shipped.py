"""Profiles by name: those that come with the package, and files of one's own."""

from pathlib import Path

PROFILES = Path(__file__).parents[1] / "profiles"
LONGEST_NAME = 200
"""Characters of a profile's name that an error shows."""


def locate_profile(profile: str) -> Path:
    """Return the file of a shipped profile, or of the one at a path.

    Raises
    ------
    FileNotFoundError
        There is none; the message names the shipped ones.
    """
    shipped = PROFILES / f"{profile}.yaml"
    if _is_file(shipped):
        return shipped
    path = Path(profile).expanduser()
    if _is_file(path):
        return path
    names = ", ".join(sorted(file.stem for file in PROFILES.glob("*.yaml")))
    where = "" if path.is_absolute() else f" in {Path.cwd()}"
    raise FileNotFoundError(
        f"there is no profile {profile[:LONGEST_NAME]!r}{where}: set $CONAN_PROFILE to one of {names}, "
        "or to a path of a YAML file"
    )


def _is_file(path: Path) -> bool:
    """Return whether a file is there; no name that is too long or holds NUL names one."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
