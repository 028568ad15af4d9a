"""The one door to the generators: pairs for a corpus, written as the settings say."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from conan_assets.data.tables import PAIRS
from conan_assets.llm import parsing
from conan_assets.llm.client import Asker
from conan_assets.llm.journal import JOURNAL, AnswerJournal
from conan_assets.synthesis import extractive, gates, grading, passages, writing
from conan_assets.synthesis.grading import Grader
from conan_assets.synthesis.settings import ExtractiveGeneration, GenerationSettings, NoGeneration
from conan_assets.synthesis.tasks import fingerprint_templates

if TYPE_CHECKING:
    from conan_assets.synthesis.round_trip import GateTeacher

EXAMPLES = 5


def generation_recipe(settings: GenerationSettings) -> dict[str, Any]:
    """Return what decides the pairs: the settings, the templates, and the versions of what writes and reads them."""
    if isinstance(settings, NoGeneration):
        return settings.recipe()
    if isinstance(settings, ExtractiveGeneration):
        return settings.recipe() | {"versions": [passages.PASSAGES_VERSION, extractive.EXTRACTIVE_VERSION]}
    versions = [
        passages.PASSAGES_VERSION,
        writing.WRITING_VERSION,
        parsing.PARSING_VERSION,
        gates.GATES_VERSION,
        grading.GRADING_VERSION,
    ]
    return settings.recipe() | {"versions": versions, "templates": fingerprint_templates(settings.prompt_language)}


def generate_pairs(
    settings: GenerationSettings,
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
    chosen = passages.choose_passages(corpus, pairs, settings.seed)
    if isinstance(settings, ExtractiveGeneration):
        return extractive.extract_pairs(settings, chosen)
    with AnswerJournal(journal_folder / JOURNAL, settings.most_bytes_in_flight) as journal:
        written, report = writing.write_pairs(settings, chosen, journal)
    ask = Asker(settings, journal_folder, (report["prompt_tokens"], report["completion_tokens"]))
    grader = Grader(settings, ask) if settings.gates.min_grade is not None else None
    kept, gated = gates.apply_gates(settings.gates, written, corpus, languages or {}, teacher, grader)
    kept = kept.select(*PAIRS.columns)
    shown = {
        "pairs_by_task": kept.group_by("task").len("pairs").sort("task").to_dicts(),
        "example_pairs": kept.head(EXAMPLES).select("task", "query", "doc_id", "text", "score").to_dicts(),
    }
    return kept, report | gated | (ask.report() if grader is not None else {}) | shown
