"""The one door to the generators: pairs for a corpus, written as the settings say."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from conan_assets.compute import IN_PROCESS, Compute
from conan_assets.data.document_groups import GROUPS_VERSION
from conan_assets.data.settings import UnaskedSource
from conan_assets.data.tables import WRITTEN_PAIRS
from conan_assets.llm import parsing
from conan_assets.llm.client import Asker
from conan_assets.llm.journal import JOURNAL, AnswerJournal
from conan_assets.synthesis import (
    extractive,
    gates,
    grading,
    held_out,
    passages,
    two_passages,
    writing,
    written_negatives,
)
from conan_assets.synthesis.described import describe_kinds, describe_questions
from conan_assets.synthesis.grading import Grader
from conan_assets.synthesis.settings import ExtractiveGeneration, GenerationSettings, NoGeneration, OpenAIGeneration
from conan_assets.synthesis.tasks import fingerprint_templates

if TYPE_CHECKING:
    from conan_assets.synthesis.round_trip import GateTeacher

EXAMPLES = 5


def generation_recipe(settings: GenerationSettings) -> dict[str, Any]:
    """Return what decides the pairs: the settings, the templates, and the versions of what writes and reads them."""
    if isinstance(settings, NoGeneration):
        return settings.recipe()
    if isinstance(settings, ExtractiveGeneration):
        return settings.recipe() | {
            "versions": [passages.PASSAGES_VERSION, extractive.EXTRACTIVE_VERSION, GROUPS_VERSION]
        }
    versions = [
        passages.PASSAGES_VERSION,
        writing.WRITING_VERSION,
        parsing.PARSING_VERSION,
        gates.GATES_VERSION,
        grading.GRADING_VERSION,
        held_out.HELD_OUT_VERSION,
        two_passages.TWO_PASSAGES_VERSION,
        written_negatives.WRITTEN_NEGATIVES_VERSION,
        GROUPS_VERSION,
    ]
    return settings.recipe() | {"versions": versions, "templates": fingerprint_templates(settings.prompt_language)}


def generate_pairs(
    settings: GenerationSettings,
    corpus: pl.DataFrame,
    pairs: pl.DataFrame,
    journal_folder: Path,
    languages: Mapping[str, str] | None = None,
    teacher: "GateTeacher | None" = None,
    documents: Mapping[str, UnaskedSource] = passages.NO_DOCUMENTS,
    compute: Compute = IN_PROCESS,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return (pairs, report): WRITTEN_PAIRS about passages of ``corpus``, of the train split but for ``documents``.

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
    documents
        The datasets without queries of their own, whose dev and test questions are written too.
    compute
        Who looks for near-equal documents where there are many.

    Raises
    ------
    EndpointError
        The endpoint refuses every call, or there is no API key.
    JournalError
        The journal is damaged or in use.
    """
    if isinstance(settings, NoGeneration):
        return pl.DataFrame(schema=dict(WRITTEN_PAIRS.columns)), {"generator": "none", "pairs": 0}
    chosen = passages.choose_passages(corpus, pairs, settings.seed, documents, compute)
    if isinstance(settings, ExtractiveGeneration):
        kept, report = extractive.extract_pairs(settings, chosen)
        examples: tuple[str, ...] = ()
    else:
        kept, report = _write(settings, corpus, chosen, journal_folder, languages or {}, teacher)
        examples = settings.examples
    if documents:
        kept, near = held_out.without_near_training(kept, corpus, compute)
        report |= {"pairs": kept.height, "near_a_training_passage": near, **held_out.counts(chosen, kept)}
    described = {"questions": describe_questions(kept, pairs, corpus, examples), "kinds": describe_kinds(kept, corpus)}
    return kept, report | described


def _write(
    settings: OpenAIGeneration,
    corpus: pl.DataFrame,
    chosen: pl.DataFrame,
    journal_folder: Path,
    languages: Mapping[str, str],
    teacher: "GateTeacher | None",
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return the pairs that a model wrote and that passed the gates, with the report of both."""
    with AnswerJournal(journal_folder / JOURNAL, settings.most_bytes_in_flight) as journal:
        written, report = writing.write_pairs(settings, chosen, journal)
    ask = Asker(settings, journal_folder, (report["prompt_tokens"], report["completion_tokens"]))
    needs = written.select(((pl.col("split") != "train") | two_passages.NEEDS_TWO).any()).item()
    grades = settings.gates.min_grade is not None or needs
    grader = Grader(settings, ask) if grades else None
    kept, gated = gates.apply_gates(settings.gates, written, corpus, languages, teacher, grader)
    if grader is not None:
        kept, found = held_out.with_other_positives(settings.gates, kept, corpus, chosen, teacher, grader)
        gated |= found
        kept = two_passages.with_second_positives(kept)
        negatives, told = written_negatives.write_negatives(settings, kept, corpus, languages, ask, grader)
        kept = pl.concat([kept, negatives])
        gated |= {"pairs": kept.height} | told
    shown = {
        "pairs_by_task": kept.group_by("task").len("pairs").sort("task").to_dicts(),
        "example_pairs": kept.head(EXAMPLES)
        .select("task", "query", "doc_id", "text", "score", "split", "grade", "kind", "asked_for", "answer_key")
        .to_dicts(),
        "example_prompt": _example_prompt(settings, chosen),
    }
    return kept, report | gated | (ask.report() if grader is not None else {}) | shown


def _example_prompt(settings: OpenAIGeneration, chosen: pl.DataFrame) -> str:
    """Return the first prompt as it is sent; every other differs by its passage and by what ``asked_for`` says."""
    first = passages.passages_to_ask_about(settings, chosen.head(1))
    return "\n".join(passages.prompt_about(settings, passage)[0]["content"] for passage in first)
