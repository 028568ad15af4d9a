"""Pairs written by a model: a prompt for each passage, answers validated and corrected, failures counted."""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import polars as pl

from conan_assets.data.tables import WRITTEN_PAIRS, check_table
from conan_assets.llm.client import Client, run_in_order
from conan_assets.llm.completions import Messages, journal_key
from conan_assets.llm.endpoint import MAX_FAILURES_IN_A_ROW, CallError, EndpointError
from conan_assets.llm.journal import AnswerJournal, JournalError
from conan_assets.llm.limits import BudgetSpentError
from conan_assets.llm.parsing import AnswerError
from conan_assets.progress import Progress
from conan_assets.synthesis.passages import Passage, asked_for, kind_of, passages_to_ask_about, prompt_about
from conan_assets.synthesis.settings import OpenAIGeneration
from conan_assets.synthesis.tasks import Written, build_correction, read_pairs

logger = logging.getLogger("conan_assets")

WRITING_VERSION = 1
"""Raise it when other pairs are written for the same prompts and answers."""


EXAMPLES = 5


@dataclass
class _Writing:
    """What is written so far: pairs by the number of their passage, and passages without any by reason."""

    pairs: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    failures: list[dict[str, str]] = field(default_factory=list)
    failures_in_a_row: int = 0
    stopped: str = ""
    error: EndpointError | JournalError | None = None

    @property
    def count(self) -> int:
        """Number of pairs."""
        return sum(len(rows) for rows in self.pairs.values())


def write_pairs(
    settings: OpenAIGeneration, passages: pl.DataFrame, journal: AnswerJournal
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return (pairs, report) written by the model of ``settings`` about ``passages``, until ``max_pairs``.

    The pairs are WRITTEN_PAIRS that no gate has looked at; the report holds no pairs.

    Answers in the journal are used without a call, so that a killed, repeated or raised run pays only for what is
    new, and the same journal gives the same pairs.

    Raises
    ------
    EndpointError
        The endpoint refuses every call, or many passages in a row got no valid answer. What was answered is in the
        journal.
    """
    return run_in_order(_write_pairs(settings, passages, journal))


async def _write_pairs(
    settings: OpenAIGeneration, passages: pl.DataFrame, journal: AnswerJournal
) -> tuple[pl.DataFrame, dict[str, Any]]:
    writing = _Writing()
    progress = Progress("writing pairs", settings.max_pairs)
    async with Client(settings, journal) as client:
        todo = passages_to_ask_about(settings, passages)
        while not writing.stopped:
            wanted = settings.max_pairs - writing.count
            wave = list(islice(todo, -(-wanted // settings.pairs_per_passage)))
            await _write_wave(settings, client, wave, writing, progress)
            if writing.count >= settings.max_pairs:
                writing.stopped = f"max_pairs {settings.max_pairs:,} is reached"
            elif not wave:
                writing.stopped = writing.stopped or "no passage is left"
    if writing.error:
        raise writing.error
    rows = [row for number in sorted(writing.pairs) for row in writing.pairs[number]][: settings.max_pairs]
    pairs = check_table(
        pl.DataFrame(rows, schema=dict(WRITTEN_PAIRS.columns)), WRITTEN_PAIRS, "pairs written by a model"
    )
    logger.info("%s pairs written; stopped: %s", f"{pairs.height:,}", writing.stopped)
    return pairs, _report(settings, client, writing, progress.seconds)


async def _write_wave(
    settings: OpenAIGeneration, client: Client, wave: list[Passage], writing: _Writing, progress: Progress
) -> None:
    """Write about every passage of ``wave`` with as many workers as prompts may be asked at once.

    What ends the run lets the calls in flight finish: they are paid for.
    """
    passages = iter(wave)

    async def work() -> None:
        for passage in passages:
            if writing.stopped:
                return
            try:
                written = await _write_one(settings, client, passage, writing)
            except BudgetSpentError as error:
                writing.stopped = str(error)
                return
            except (EndpointError, JournalError) as error:
                writing.stopped, writing.error = str(error), error
                return
            progress.advance(written, f"{client.spending.prompt_tokens + client.spending.completion_tokens:,} tokens")

    await asyncio.gather(*(work() for _ in range(min(client.concurrency or len(wave), len(wave)))))


async def _write_one(settings: OpenAIGeneration, client: Client, passage: Passage, writing: _Writing) -> int:
    """Add the pairs of one passage, or the reason why there are none, to ``writing``; return how many pairs."""
    try:
        written, key = await _valid_answer(settings, client, prompt_about(settings, passage), passage.task)
    except (AnswerError, CallError) as error:
        writing.failures.append({"reason": error.reason, "doc_id": passage.doc_id, "message": str(error)[:300]})
        _count_failure(settings, writing, error)
        return 0
    writing.failures_in_a_row = 0
    about = {
        "generator": settings.model,
        "asked_for": asked_for(settings, passage),
        "kind": kind_of(settings, passage),
        "answer_key": key,
    }
    rows = [
        about | _row(passage, item, f"{passage.doc_id}:llm:{key}:{position}")
        for position, item in enumerate(written[: settings.pairs_per_passage])
    ]
    writing.pairs[passage.number] = rows
    return len(rows)


def _count_failure(settings: OpenAIGeneration, writing: _Writing, error: AnswerError | CallError) -> None:
    """End the run after many failures in a row; a batch that expires holds many, and its other answers count."""
    writing.failures_in_a_row += 1
    if writing.failures_in_a_row < MAX_FAILURES_IN_A_ROW or (settings.mode == "batch" and writing.pairs):
        return
    if isinstance(error, AnswerError):
        what, way_out = "passages got no valid answer", "change the model or its settings and run again"
    else:
        what, way_out = "calls failed", "run again when the endpoint works"
    raise EndpointError(
        f"the last {MAX_FAILURES_IN_A_ROW} {what}, the last one with {error.reason}: {error}; "
        f"the answers so far are kept: {way_out}"
    )


async def _valid_answer(
    settings: OpenAIGeneration, client: Client, messages: Messages, task: str
) -> tuple[Sequence[Written], str]:
    """Return the pairs of the first valid answer and its key, showing the model what was wrong with the others."""
    for attempt in range(settings.calls.max_corrections + 1):
        answer = await client.answer(messages)
        try:
            return read_pairs(answer, task, messages), journal_key(settings, messages)
        except AnswerError as error:
            client.counts[f"invalid_{error.reason}"] += 1
            if attempt == settings.calls.max_corrections or not error.is_correctable:
                raise
            said = answer.content or answer.refusal or ""
            messages = build_correction(messages, said, str(error), settings.prompt_language)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _row(passage: Passage, item: Written, identifier: str) -> dict[str, Any]:
    return {
        "pair_id": identifier,
        "dataset": passage.dataset,
        "origin": "llm",
        "split": passage.split,
        "query_id": identifier,
        "passage_id": passage.doc_id,
        "second_passage_id": passage.second_id,
        "document_group": passage.group,
        **item.columns(passage.doc_id),
    }


def _report(settings: OpenAIGeneration, client: Client, writing: _Writing, seconds: float) -> dict[str, Any]:
    reasons = Counter(failure["reason"] for failure in writing.failures)
    return {
        "generator": "openai",
        "model": settings.model,
        "endpoint": client.endpoint,
        "mode": settings.mode,
        "stopped": writing.stopped,
        "passages_answered": len(writing.pairs),
        "passages_failed": len(writing.failures),
        "failed_by_reason": [{"reason": reason, "passages": count} for reason, count in reasons.most_common()],
        "failed_examples": writing.failures[:EXAMPLES],
        **dict(sorted(client.counts.items())),
        "prompt_tokens": client.spending.prompt_tokens,
        "completion_tokens": client.spending.completion_tokens,
        "cost": round(client.spending.cost, 6),
        "seconds": round(seconds, 2),
        "pairs_per_second": round(writing.count / max(seconds, 1e-9), 2),
    }
