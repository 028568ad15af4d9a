"""Inverse cloze: a sentence of a passage is the query that the passage answers (Lee et al. 2019, ICT)."""

import hashlib
import logging
import re
import time
from typing import Any

import polars as pl

from conan_assets.data.tables import WRITTEN_PAIRS, check_table
from conan_assets.synthesis.settings import ExtractiveGeneration

logger = logging.getLogger("conan_assets")

EXTRACTIVE_VERSION = 1
"""Raise it when other sentences become queries."""

SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？；])\s*|\n\s*\n")
NOTE = "No LLM is asked: the queries are sentences copied from their passages (inverse cloze), not questions."


def extract_pairs(settings: ExtractiveGeneration, passages: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return (pairs, report): one sentence of each passage as its query, until ``max_pairs``.

    Parameters
    ----------
    settings
        Seed, number of pairs and the lengths of a usable sentence.
    passages
        Columns ``doc_id``, ``dataset``, ``text``, ``group`` and ``split``, in the order to take them.
    """
    logger.warning("%s", NOTE)
    started = time.monotonic()
    rows: list[dict[str, Any]] = []
    without_sentence = 0
    for doc_id, dataset, text, group, split in passages.select(
        "doc_id", "dataset", "text", "group", "split"
    ).iter_rows():
        if len(rows) == settings.max_pairs:
            break
        sentences = usable_sentences(text, settings)
        if not sentences:
            without_sentence += 1
            continue
        sentence = sentences[_draw(settings.seed, doc_id, len(sentences))]
        rows.append({**_pair(doc_id, dataset, sentence), "split": split, "document_group": group})
    pairs = check_table(pl.DataFrame(rows, schema=dict(WRITTEN_PAIRS.columns)), WRITTEN_PAIRS, "extractive generator")
    report = {
        "generator": "extractive",
        "note": NOTE,
        "pairs": pairs.height,
        "passages_available": passages.height,
        "passages_without_usable_sentence": without_sentence,
        "seconds": round(time.monotonic() - started, 2),
        "example_pairs": pairs.head(5).select("query", "doc_id").to_dicts(),
    }
    return pairs, report


def split_sentences(text: str) -> list[str]:
    """Return the sentences of an English or Chinese text, white space collapsed."""
    return [" ".join(sentence.split()) for sentence in SENTENCE_END.split(text) if sentence and sentence.strip()]


def usable_sentences(text: str, settings: ExtractiveGeneration) -> list[str]:
    """Return the sentences of the right length, none where one sentence is the whole text."""
    sentences = split_sentences(text)
    fits = [s for s in sentences if settings.min_sentence_chars <= len(s) <= settings.max_sentence_chars]
    return fits if len(sentences) > 1 else []


def _draw(seed: int, doc_id: str, count: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:sentence:{doc_id}".encode()).digest()[:8]) % count


def _pair(doc_id: str, dataset: str, sentence: str) -> dict[str, Any]:
    return {
        "pair_id": f"{doc_id}|extractive",
        "task": "retrieval",
        "dataset": dataset,
        "origin": "extractive",
        "query_id": f"{doc_id}|extractive",
        "query": sentence,
        "doc_id": doc_id,
        "text": None,
        "score": 1.0,
        "passage_id": doc_id,
        "generator": "extractive",
    }
