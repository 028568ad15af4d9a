"""Training pairs out of natural and generated ones: normalised, filtered, deduplicated, decontaminated, counted.

A pair is removed for the first reason that holds, in the order of :data:`conan_assets.data.rules.STEPS`:

1. format: a retrieval pair with a score of 0 is no positive; broken characters. Unicode is normalised.
2. length: the limits of the settings.
3. language: its document is not in the language of its source.
4. heuristics: its document is no prose, or the query itself.
5. near-duplicates: an earlier pair has the same two texts, or nearly the same (MinHash).
6. safety: a blocked word or pattern or personal data on either side.
7. decontamination: its query is one of an evaluation set (the same, normalised, nearly), or a dev or test split judges
   its two texts, in either order.
8. teacher score: an encoder finds its two texts too little alike (Conan-embedding, section 2.1: below 0.4).

Texts are compared in Unicode NFKC, lower case, white space collapsed. Texts lie on disk; memory grows by about 500
bytes a pair.
"""

import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from conan_assets.compute import IN_PROCESS, Compute
from conan_assets.data.blocks import read_blocks, write_blocks
from conan_assets.data.curation_report import count_reasons, report_of
from conan_assets.data.curation_settings import CurationSettings
from conan_assets.data.decontamination import EvaluationSets
from conan_assets.data.deduplication import duplicates, near_duplicates
from conan_assets.data.judged import Documents, JudgedPairs
from conan_assets.data.language import in_other_languages
from conan_assets.data.tables import PAIRS, TableError
from conan_assets.files import temporary_path
from conan_assets.progress import Progress

logger = logging.getLogger("conan_assets")

CURATION_VERSION = 5
"""Of all steps, near duplicates and decontamination among them: to be raised with the pairs that they keep, and with
what is written beside them."""

REMOVED = "removed.parquet"
"""``pair_id`` and ``reason`` of every removed pair, beside the training pairs."""

SCORED_PAIRS = 32_768


@dataclass(frozen=True)
class TeacherFloor:
    """The least score of a pair, and what gives it: queries and their documents in, a score each out."""

    score: Callable[[Sequence[str], Sequence[str]], np.ndarray]
    floor: float


def curate(
    raw_pairs: pl.LazyFrame,
    prompt_response_pairs: pl.LazyFrame,
    corpus: pl.LazyFrame,
    evaluation_queries: Mapping[str, Iterable[str]],
    settings: CurationSettings,
    target: Path,
    languages: Mapping[str, str] | None = None,
    teacher: TeacherFloor | None = None,
    compute: Compute = IN_PROCESS,
) -> dict[str, Any]:
    """Write the training pairs out of all train pairs to ``target``, REMOVED beside it, and return a report.

    Parameters
    ----------
    raw_pairs
        PAIRS of every split; the dev and test splits are what the training pairs are decontaminated against.
    prompt_response_pairs
        PAIRS written by a generator; may be empty.
    corpus
        CORPUS that the pairs' ``doc_id`` point into.
    evaluation_queries
        Queries by name of further evaluation sets, such as hub benchmarks.
    target
        Parquet file to write: PAIRS with ``split`` train, in their order. Working files lie beside it meanwhile.
    languages
        ISO 639-1 code by dataset, of the datasets whose documents must be in that language.
    teacher
        What scores retrieval pairs, and the least score to keep one.
    compute
        Who looks for near-duplicates where there are many texts.

    Returns
    -------
    dict
        Rows in and out, tables of what each step removed, of what each evaluation set holds, by origin and dataset;
        rejected examples.

    Raises
    ------
    TableError
        A pair points to a document that the corpus lacks, two pairs have the same id, or no pair is left.
    """
    started = time.monotonic()
    with _working_folder(target) as folder:
        documents = Documents(corpus, _document_ids(raw_pairs, prompt_response_pairs), settings, folder)
        sets = EvaluationSets(evaluation_queries, raw_pairs, documents)
        judged = JudgedPairs([raw_pairs, prompt_response_pairs], documents, settings, folder)
        del documents  # their ids are no longer needed and as large as all that is kept of the pairs
        contamination = _judge(judged, sets, settings, languages or {}, teacher, compute)
        counts = count_reasons(judged)
        _require_some(counts, len(judged))
        write_blocks(_kept(judged), target, pl.DataFrame(schema=dict(PAIRS.columns)))
        empty = pl.DataFrame(schema={"pair_id": pl.String, "reason": pl.String})
        write_blocks(_removed(judged), target.with_name(REMOVED), empty)
        report = report_of(judged, pl.scan_parquet(target), contamination, settings.examples_per_reason)
    report["seconds"] = round(time.monotonic() - started, 2)
    kept, judged_pairs = f"{report['rows_out']:,}", f"{report['rows_in']:,}"
    logger.info("training pairs: %s of %s kept; removed %s", kept, judged_pairs, _in_words(counts))
    return report


@contextlib.contextmanager
def _working_folder(target: Path) -> Iterator[Path]:
    folder = temporary_path(target)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _document_ids(*pairs: pl.LazyFrame) -> pl.DataFrame:
    return pl.concat([part.select("doc_id") for part in pairs]).drop_nulls().unique().collect(engine="streaming")


def _judge(
    judged: JudgedPairs,
    sets: EvaluationSets,
    settings: CurationSettings,
    languages: Mapping[str, str],
    teacher: TeacherFloor | None,
    compute: Compute,
) -> list[dict[str, Any]]:
    """Add the reasons that take more than a pair's own two texts, in order; return what evaluation sets removed."""
    if languages:
        judged.remove("other_language", in_other_languages(judged, languages))
    judged.remove("duplicate", duplicates(judged))
    if settings.near_duplicates is not None:
        judged.remove("near_duplicate", near_duplicates(judged, settings.near_duplicates, compute))
    contamination = sets.find(judged, settings.near_duplicates, compute)
    if teacher is not None:
        judged.remove("low_teacher_score", _below_floor(judged, teacher))
    return contamination


def _below_floor(judged: JudgedPairs, teacher: TeacherFloor) -> pl.Series:
    """Return the ``row`` of every retrieval pair that the teacher scores below its floor."""
    pairs = judged.left("low_teacher_score", "row", "task", "document").filter(pl.col("task") == "retrieval")
    below, progress = [pl.Series("row", [], pl.UInt32)], Progress("scoring pairs", pairs.height)
    for block in pairs.iter_slices(SCORED_PAIRS):
        queries = judged.queries.gather(block["row"].to_numpy().astype(np.int64))
        documents = judged.passages.gather(block["document"].to_numpy().astype(np.int64))
        scores = teacher.score(queries.to_list(), documents.to_list())
        below.append(block["row"].filter(pl.Series(scores < teacher.floor)))
        progress.advance(block.height)
    return pl.concat(below)


def _kept(judged: JudgedPairs) -> Iterator[pl.DataFrame]:
    """Yield the pairs to keep; queries of one dataset with equal text get the id of the first of them.

    So each of them knows the other's positives.
    """
    asked = judged.frame.filter(pl.col("reasons") == 0).select("row", "dataset", "task", "query_key")
    kept = asked.select("row")
    asked = asked.filter(pl.struct("dataset", "task", "query_key").is_duplicated())
    renamed = asked.select("row", first=pl.col("row").first().over("dataset", "task", "query_key"))
    renamed = renamed.filter(pl.col("row") != pl.col("first"))
    names = judged.rows(renamed["first"].unique(), "query_id").rename({"row": "first", "query_id": "asked_as"})
    renamed = renamed.join(names, on="first").select("row", "asked_as")
    for block in read_blocks(judged.lazy.with_row_index("row")):
        here = block.join(kept, on="row", how="semi", maintain_order="left")
        named = here.join(renamed, on="row", how="left", maintain_order="left")
        yield named.with_columns(query_id=pl.coalesce("asked_as", "query_id"))


def _removed(judged: JudgedPairs) -> Iterator[pl.DataFrame]:
    """Yield ``pair_id`` and ``reason`` of the pairs that are removed."""
    reasons = judged.frame.select("row", judged.reason.cast(pl.String)).drop_nulls("reason")
    for block in read_blocks(judged.lazy.select("pair_id").with_row_index("row")):
        yield block.join(reasons, on="row", maintain_order="left").select("pair_id", "reason")


def _require_some(counts: pl.DataFrame, pairs: int) -> None:
    if counts["removed"].sum() == pairs:
        raise TableError(
            f"none of {pairs:,} train pairs is left after curation: {_in_words(counts)}; "
            "loosen the limits under `curation`, or give a source that trains"
        )


def _in_words(counts: pl.DataFrame) -> dict[str, int]:
    return dict(counts.filter(pl.col("removed") > 0).select("reason", "removed").iter_rows())
