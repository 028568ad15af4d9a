"""Pairs written by a model: a prompt for each passage, answers validated and corrected, failures counted."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from conan_assets.data.tables import PAIRS, check_table
from conan_assets.progress import Progress
from conan_assets.synthesis.answers import AnswerError, Written, parse_answer
from conan_assets.synthesis.client import Client, journal_key
from conan_assets.synthesis.connect import open_client
from conan_assets.synthesis.endpoint import CallError, EndpointError
from conan_assets.synthesis.journal import Journal
from conan_assets.synthesis.limits import BudgetSpentError
from conan_assets.synthesis.prompts import Messages, build_correction, build_prompt
from conan_assets.synthesis.settings import OpenAIGeneration

logger = logging.getLogger("conan_assets")

MAX_FAILURES_IN_A_ROW = 20
"""So many calls failing one after the other mean that the endpoint is down, whatever the single prompts say."""

EXAMPLES = 5


@dataclass(frozen=True)
class Passage:
    """What one prompt is about: its place in the order, the document, and the task."""

    number: int
    doc_id: str
    dataset: str
    text: str
    task: str


@dataclass
class Outcome:
    """Pairs by the number of their passage, and prompts without an answer by reason."""

    pairs: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    failures: list[dict[str, str]] = field(default_factory=list)
    failures_in_a_row: int = 0
    stopped: str = ""
    error: EndpointError | None = None

    @property
    def count(self) -> int:
        """Number of pairs."""
        return sum(len(rows) for rows in self.pairs.values())


def write_pairs(
    settings: OpenAIGeneration, passages: pl.DataFrame, journal: Journal
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return (pairs, report) written by the model of ``settings`` about ``passages``, until ``max_pairs``.

    The pairs are PAIRS with ``passage_id``, the document each was written from; the report holds no pairs.

    Answers in the journal are used without a call, so that a killed, repeated or raised run pays only for what is
    new, and the same journal gives the same pairs.

    Raises
    ------
    EndpointError
        The endpoint refuses every call, or has failed many times in a row. What was answered is in the journal.
    """
    return asyncio.run(_write_pairs(settings, passages, journal))


async def _write_pairs(
    settings: OpenAIGeneration, passages: pl.DataFrame, journal: Journal
) -> tuple[pl.DataFrame, dict[str, Any]]:
    outcome = Outcome()
    progress = Progress("writing pairs", settings.max_pairs)
    async with open_client(settings, journal) as client:
        todo = about(settings, passages)
        while not outcome.stopped:
            wanted = settings.max_pairs - outcome.count
            wave = _take(todo, -(-wanted // settings.pairs_per_passage))
            await _write_wave(settings, client, wave, outcome, progress)
            if outcome.count >= settings.max_pairs:
                outcome.stopped = f"max_pairs {settings.max_pairs:,} is reached"
            elif not wave:
                outcome.stopped = outcome.stopped or "no passage is left"
    if outcome.error:
        raise outcome.error
    rows = [row for number in sorted(outcome.pairs) for row in outcome.pairs[number]][: settings.max_pairs]
    schema = dict(PAIRS.columns) | {"passage_id": pl.String}
    pairs = check_table(pl.DataFrame(rows, schema=schema), PAIRS, "pairs written by a model")
    logger.info("%s pairs written; stopped: %s", f"{pairs.height:,}", outcome.stopped)
    return pairs, _report(settings, client, outcome, progress.seconds)


def about(settings: OpenAIGeneration, passages: pl.DataFrame) -> Iterator[Passage]:
    """Yield what to write about, in order: the passages cut to length, the tasks in turn."""
    for number, (doc_id, dataset, text) in enumerate(passages.select("doc_id", "dataset", "text").iter_rows()):
        task = settings.tasks[number % len(settings.tasks)]
        yield Passage(number, doc_id, dataset, text[: settings.max_passage_chars], task)


def prompt_of(settings: OpenAIGeneration, passage: Passage) -> Messages:
    """Return the first prompt about a passage."""
    seed = f"{settings.seed}:{passage.doc_id}"
    return build_prompt(passage.task, settings.prompt_language, passage.text, settings.pairs_per_passage, seed)


def _take(passages: Iterator[Passage], count: int) -> list[Passage]:
    return [passage for passage, _ in zip(passages, range(count), strict=False)]


async def _write_wave(
    settings: OpenAIGeneration, client: Client, wave: list[Passage], outcome: Outcome, progress: Progress
) -> None:
    """Write about every passage of ``wave`` with as many workers as prompts may be asked at once.

    What ends the run lets the calls in flight finish: they are paid for.
    """
    passages = iter(wave)

    async def work() -> None:
        for passage in passages:
            if outcome.stopped:
                return
            try:
                written = await _write_one(settings, client, passage, outcome)
            except (BudgetSpentError, EndpointError) as error:
                outcome.stopped = str(error)
                if isinstance(error, EndpointError):
                    outcome.error = error
                return
            progress.advance(written, f"{client.spending.prompt_tokens + client.spending.completion_tokens:,} tokens")

    await asyncio.gather(*(work() for _ in range(min(client.concurrency or len(wave), len(wave)))))


async def _write_one(settings: OpenAIGeneration, client: Client, passage: Passage, outcome: Outcome) -> int:
    """Add the pairs of one passage, or the reason why there are none, to ``outcome``; return how many pairs."""
    try:
        written, key = await _valid_answer(settings, client, prompt_of(settings, passage), passage.task)
    except (AnswerError, CallError) as error:
        outcome.failures.append({"reason": error.reason, "doc_id": passage.doc_id, "message": str(error)[:300]})
        if settings.mode == "chat":
            _count_failed_call(outcome, error)
        return 0
    outcome.failures_in_a_row = 0
    rows = [
        _row(passage, item, f"{passage.doc_id}:llm:{key}:{position}")
        for position, item in enumerate(written[: settings.pairs_per_passage])
    ]
    outcome.pairs[passage.number] = rows
    return len(rows)


def _count_failed_call(outcome: Outcome, error: AnswerError | CallError) -> None:
    if isinstance(error, AnswerError):
        outcome.failures_in_a_row = 0
        return
    outcome.failures_in_a_row += 1
    if outcome.failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
        raise EndpointError(
            f"the last {MAX_FAILURES_IN_A_ROW} calls failed, the last one with {error.reason}: {error}; "
            "the answers so far are kept: run again when the endpoint works"
        )


async def _valid_answer(
    settings: OpenAIGeneration, client: Client, messages: Messages, task: str
) -> tuple[Sequence[Written], str]:
    """Return the pairs of the first valid answer and its key, showing the model what was wrong with the others."""
    for attempt in range(settings.calls.max_corrections + 1):
        answer = await client.answer(messages)
        try:
            return parse_answer(answer, task), journal_key(settings, messages)
        except AnswerError as error:
            client.counts[f"invalid_{error.reason}"] += 1
            if attempt == settings.calls.max_corrections:
                raise
            messages = build_correction(messages, answer.content, str(error), settings.prompt_language)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _row(passage: Passage, item: Written, identifier: str) -> dict[str, Any]:
    return {
        "pair_id": identifier,
        "dataset": passage.dataset,
        "origin": "llm",
        "split": "train",
        "query_id": identifier,
        "passage_id": passage.doc_id,
        **item.columns(passage.doc_id),
    }


def _report(settings: OpenAIGeneration, client: Client, outcome: Outcome, seconds: float) -> dict[str, Any]:
    reasons = Counter(failure["reason"] for failure in outcome.failures)
    return {
        "generator": "openai",
        "model": settings.model,
        "endpoint": client.endpoint.name,
        "mode": settings.mode,
        "stopped": outcome.stopped,
        "passages_answered": len(outcome.pairs),
        "passages_failed": len(outcome.failures),
        "failed_by_reason": [{"reason": reason, "passages": count} for reason, count in reasons.most_common()],
        "failed_examples": outcome.failures[:EXAMPLES],
        **dict(sorted(client.counts.items())),
        "prompt_tokens": client.spending.prompt_tokens,
        "completion_tokens": client.spending.completion_tokens,
        "cost": round(client.spending.cost, 6),
        "seconds": round(seconds, 2),
        "pairs_per_second": round(outcome.count / max(seconds, 1e-9), 2),
    }
