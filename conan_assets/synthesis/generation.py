"""The one door to the generators: pairs for a corpus, written as the settings say."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from conan_assets.data.tables import PAIRS
from conan_assets.synthesis.extractive import extract_pairs
from conan_assets.synthesis.journal import Journal
from conan_assets.synthesis.passages import choose_passages
from conan_assets.synthesis.settings import ExtractiveGeneration, NoGeneration, OpenAIGeneration

if TYPE_CHECKING:
    from conan_assets.synthesis.round_trip import GateTeacher

JOURNAL = "answers.jsonl"
EXAMPLES = 5


def generate_pairs(
    settings: NoGeneration | ExtractiveGeneration | OpenAIGeneration,
    corpus: pl.DataFrame,
    pairs: pl.DataFrame,
    journal_folder: Path,
    languages: Mapping[str, str] | None = None,
    teacher: "GateTeacher | None" = None,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return (pairs, report): PAIRS of the train split about passages of ``corpus``.

    Parameters
    ----------
    settings
        Which generator writes, and how much.
    corpus
        CORPUS of every dataset.
    pairs
        PAIRS of every split: which datasets train, and which documents are kept out because they are judged by.
    journal_folder
        Where answers are recorded; keep it across runs, whatever changes, and nothing is paid for twice.
    languages
        ISO 639-1 code by dataset, of the datasets that name their language.
    teacher
        Searches for the passages that questions written by a model ask for; None leaves its gates out.

    Raises
    ------
    EndpointError
        The endpoint refuses every call, or there is no API key.
    JournalError
        The journal is damaged or in use.
    """
    if isinstance(settings, NoGeneration):
        return pl.DataFrame(schema=dict(PAIRS.columns)), {"generator": "none", "pairs": 0}
    passages = choose_passages(corpus, pairs, settings.seed)
    if isinstance(settings, ExtractiveGeneration):
        return extract_pairs(settings, passages)
    from conan_assets.synthesis.gates import apply_gates
    from conan_assets.synthesis.llm import write_pairs

    with Journal(journal_folder / JOURNAL) as journal:
        written, report = write_pairs(settings, passages, journal)
    kept, gated = apply_gates(settings.gates, written, corpus, languages or {}, teacher)
    kept = kept.select(*PAIRS.columns)
    shown = {
        "pairs_by_task": kept.group_by("task").len("pairs").sort("task").to_dicts(),
        "example_pairs": kept.head(EXAMPLES).select("task", "query", "doc_id", "text", "score").to_dicts(),
    }
    return kept, report | gated | shown
