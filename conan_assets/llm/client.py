"""Who asks a language model: never the same prompt twice, never more than the budget."""

import asyncio
import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future, wait
from contextvars import copy_context
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from conan_assets.llm.batch import BatchCalls
from conan_assets.llm.chat import ChatCalls
from conan_assets.llm.completions import Messages, estimate_tokens, journal_key
from conan_assets.llm.endpoint import MAX_FAILURES_IN_A_ROW, CallError, EndpointError
from conan_assets.llm.journal import JOURNAL, Answer, AnswerJournal
from conan_assets.llm.limits import BudgetSpentError, Spending
from conan_assets.llm.settings import LanguageModel

logger = logging.getLogger("conan_assets")

SECONDS_TO_SEE_A_SIGNAL = 0.1


Result = TypeVar("Result")

Ask = Callable[[Sequence[Messages]], Sequence[Answer | None]]
"""Sends chat prompts and returns the answers in order, None where there is none."""


class Client:
    """Answers from the journal, else from an endpoint; use as an asynchronous context manager.

    Parameters
    ----------
    settings
        Model, parameters, limits and budget.
    journal
        Open journal; every answer is recorded in it before it is returned.

    Attributes
    ----------
    endpoint
        Name of the server.
    concurrency
        Prompts worth asking at once; None for all there are.
    spending
        Tokens and money spent, answers from the journal included.
    counts
        Answers by where they come from, and batches.

    Raises
    ------
    EndpointError
        There is no API key and no endpoint that might need none.
    """

    def __init__(self, settings: LanguageModel, journal: AnswerJournal) -> None:
        self.counts: Counter[str] = Counter()
        self.spending = Spending(settings.budget)
        self._settings = settings
        self._journal = journal
        self._calls = (
            BatchCalls(settings, journal, self.counts) if settings.mode == "batch" else ChatCalls(settings, journal)
        )
        self.endpoint = self._calls.endpoint.name
        self.concurrency = self._calls.concurrency
        self._in_flight: dict[str, asyncio.Task[Answer]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let the calls that have left finish, which are paid for, and end the others, as when a run is interrupted."""
        tasks, left = list(self._in_flight.values()), self._calls.stop()
        for task in set(tasks) - left:
            task.cancel()
        if left:
            seconds = self._settings.calls.timeout_seconds
            logger.warning("waiting up to %.0f s for %s calls in flight, which are paid for", seconds, len(left))
            _, late = await asyncio.wait(left, timeout=seconds)
            for task in late:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._calls.endpoint.client.close()

    async def answer(self, messages: Messages) -> Answer:
        """Return the answer to ``messages``.

        Raises
        ------
        BudgetSpentError
            The call could exceed the budget; it was not made.
        CallError
            The call failed after the SDK's retries; asking again later may help.
        EndpointError
            The endpoint refuses every call.
        """
        key = journal_key(self._settings, messages)
        answer = self._journal.find(key)
        if answer is None:
            if key not in self._in_flight:
                self._in_flight[key] = asyncio.create_task(self._pay(key, messages))
                self._in_flight[key].add_done_callback(lambda _: self._in_flight.pop(key))
            return await asyncio.shield(self._in_flight[key])
        self.counts["answers_from_journal"] += 1
        self.spending.add(answer.prompt_tokens, answer.completion_tokens)
        return answer

    async def _pay(self, key: str, messages: Messages) -> Answer:
        async with self.spending.reserved(estimate_tokens(messages), self._settings.max_completion_tokens):
            answer = await self._calls.ask(key, messages)
            self.counts["answers_from_endpoint"] += 1
            self.spending.add(answer.prompt_tokens, answer.completion_tokens)
            return answer


class Asker:
    """Answers prompts in order, however often it is called within one budget.

    Answers are recorded in the journal, and none is asked for twice; like everywhere, recorded ones count as spent.

    Parameters
    ----------
    settings
        Endpoint, model and budget.
    journal_folder
        Folder of the journal.
    spent
        Prompt and completion tokens that the budget has paid for already.
    """

    def __init__(self, settings: LanguageModel, journal_folder: Path, spent: tuple[int, int] = (0, 0)) -> None:
        self._settings = settings
        self._journal = journal_folder / JOURNAL
        self._unanswered: Counter[str] = Counter()
        self._failures_in_a_row = 0
        self._prompt_tokens, self._completion_tokens = spent

    def __call__(self, prompts: Sequence[Messages]) -> list[Answer | None]:
        """Return the answers, None where a call failed or the budget was spent.

        Raises EndpointError if the endpoint refuses all, or if none of many calls succeeds.
        """
        with AnswerJournal(self._journal, self._settings.most_bytes_in_flight) as journal:
            return run_in_order(self._answers(journal, prompts))

    def report(self) -> dict[str, Any]:
        """Return what all calls used, with what was spent before, and how many prompts have no answer by reason."""
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._completion_tokens,
            "cost": round(self._settings.budget.price(self._prompt_tokens, self._completion_tokens), 6),
            "unanswered_by_reason": dict(self._unanswered),
        }

    async def _answers(self, journal: AnswerJournal, prompts: Sequence[Messages]) -> list[Answer | None]:
        async with Client(self._settings, journal) as client:
            spent = client.spending
            spent.add(self._prompt_tokens, self._completion_tokens)
            answers = await asyncio.gather(*(self._answer(client, messages) for messages in prompts))
            self._prompt_tokens, self._completion_tokens = spent.prompt_tokens, spent.completion_tokens
        return list(answers)

    async def _answer(self, client: Client, messages: Messages) -> Answer | None:
        try:
            answer = await client.answer(messages)
        except CallError as error:
            self._unanswered[error.reason] += 1
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW and self._settings.mode == "chat":
                raise EndpointError(
                    f"the last {MAX_FAILURES_IN_A_ROW} calls failed, the last one with {error.reason}: {error}; the "
                    "answers so far are kept: run again when the endpoint works"
                ) from error
        except BudgetSpentError:
            self._unanswered["budget_spent"] += 1
        else:
            self._failures_in_a_row = 0
            return answer
        return None


def run_in_order(work: Coroutine[Any, Any, Result]) -> Result:
    """Run ``work`` in a thread of its own, so that an interrupt of this one cancels it and lets it clean up.

    A signal may raise anything anywhere in the main thread, in the midst of an event loop too. A second interrupt does
    not wait for the clean-up.
    """
    done: Future[Result] = Future()
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    async def run() -> Result:
        task = asyncio.current_task()
        assert task is not None, "asyncio.run makes one"
        running.append((asyncio.get_running_loop(), task))
        return await work

    def target() -> None:
        try:
            done.set_result(asyncio.run(run()))
        except BaseException as error:  # whatever it is, the thread that waits raises it
            done.set_exception(error)

    threading.Thread(target=copy_context().run, args=(target,), name="language model", daemon=True).start()
    try:
        _wait_for(done)
    except BaseException:
        for loop, task in running:
            with contextlib.suppress(RuntimeError):  # it has just ended
                loop.call_soon_threadsafe(task.cancel)
        _wait_for(done)
        raise
    return done.result()


def _wait_for(done: Future[Result]) -> None:
    """Wait so that a signal is seen: polars has system calls restarted, so a wait without an end is not interrupted."""
    while not done.done():
        wait([done], SECONDS_TO_SEE_A_SIGNAL)
