"""The finished outputs of a programme, and its queries by id or by a part of their text."""

import shutil
import textwrap

import polars as pl

from conan_assets.artifacts import Artifact, ArtifactStore
from conan_assets.bucket.working_copy import open_home
from conan_assets.cleaning import TABLE
from conan_assets.markdown import shortened
from conan_assets.settings import Settings

MOST_NAMED = 10
INDENT = " " * 4


class LookError(ValueError):
    """There is nothing to look at under that name; the message says what there is."""


class Home:
    """The finished outputs of a programme."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._artifacts = ArtifactStore(open_home(settings.home) / "assets")

    def artifact(self, key: str, holding: str) -> Artifact:
        """Return the current version of an asset, which holds a file of that name.

        Raises
        ------
        ArtifactError
            There is none, or it is damaged.
        LookError
            An earlier version of the package made it, which did not write that file.
        """
        artifact = self._artifacts.require_intact(self._artifacts.current(key))
        if not (artifact.path / holding).exists():
            raise LookError(f"{key} was made by an earlier version, which kept less to look at: materialize it again")
        return artifact

    def table(self, key: str, name: str = TABLE) -> pl.LazyFrame:
        """Scan a table of the current version of an asset; raise what :meth:`artifact` does."""
        return pl.scan_parquet(self.artifact(key, name).path / name)

    def rounds(self, asset: str, holding: str) -> dict[int, Artifact]:
        """Return the current version of an asset of every round that has one."""
        keys = {number: f"round_{number}/{asset}" for number in range(self.settings.rounds + 1)}
        return {number: self.artifact(key, holding) for number, key in keys.items() if self._artifacts.has(key)}

    def require_round(self, number: int, first: int) -> None:
        """Raise LookError unless the programme has a round ``number``, from ``first`` on."""
        if not first <= number <= self.settings.rounds:
            raise LookError(
                f"{self.settings.name} has no round {number} to look at: its rounds are {first} to "
                f"{self.settings.rounds}"
            )


def find_query(queries: pl.LazyFrame, wanted: str, where: str) -> str:
    """Return the id of the one query that has ``wanted`` as its id, with or without its dataset, or in its text.

    Parameters
    ----------
    queries
        ``query_id`` and ``query``.
    where
        What these queries are, for messages.

    Raises
    ------
    LookError
        None has, or several have; the message names the first of them.
    """
    named = (pl.col("query_id") == wanted) | pl.col("query_id").str.ends_with(f":{wanted}")
    holds = pl.col("query").str.to_lowercase().str.contains(wanted.lower(), literal=True)
    for matching in (named, holds):
        found = queries.filter(matching).select("query_id", "query").unique("query_id").sort("query_id").collect()
        if found.height == 1:
            return str(found["query_id"].item())
        if found.height > 1:
            listed = "".join(f"\n{INDENT}{id_}  {shortened(text, 80)}" for id_, text in found.head(MOST_NAMED).rows())
            more = f"\n{INDENT}and {found.height - MOST_NAMED:,} more" if found.height > MOST_NAMED else ""
            raise LookError(f"{wanted!r} fits {found.height:,} {where}: give the id of one of them{listed}{more}")
    raise LookError(f"{wanted!r} is neither the id of any of the {where} nor in the text of one")


def paragraph(text: str, longest: int) -> str:
    """Return a text on indented lines of the terminal's width, at most ``longest`` characters of it."""
    width = max(40, shutil.get_terminal_size().columns)
    return textwrap.fill(shortened(text, longest), width, initial_indent=INDENT, subsequent_indent=INDENT)
