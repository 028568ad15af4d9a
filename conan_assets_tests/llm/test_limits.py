import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from conan_assets.llm.client import Client
from conan_assets.llm.journal import AnswerJournal
from conan_assets.llm.limits import BudgetSpentError, RateLimiter, Spending
from conan_assets.llm.settings import Budget, CallLimits, LanguageModel
from conan_assets_tests.llm.server import ChatServer, Reply, Script

pytestmark = pytest.mark.slow

WINDOW = 0.2


def starts(limits: CallLimits, calls: list[int]) -> list[float]:
    """Return when each of ``calls`` (tokens) was let through, all of them waiting at once."""

    async def run() -> list[float]:
        limiter = RateLimiter(limits, WINDOW)

        async def call(tokens: int) -> float:
            await limiter.wait(tokens)
            return time.monotonic()

        return list(await asyncio.gather(*(call(tokens) for tokens in calls)))

    return asyncio.run(run())


@hypothesis_settings(max_examples=12, deadline=None)
@given(st.integers(1, 4), st.lists(st.integers(1, 50), min_size=1, max_size=10))
def test_no_window_holds_more_requests_or_tokens_than_allowed(requests, calls):
    let_through = starts(CallLimits(requests_per_minute=requests, tokens_per_minute=60), calls)
    assert let_through == sorted(let_through)
    for first in let_through:
        within = [n for start, n in zip(let_through, calls, strict=True) if first <= start < first + WINDOW * 0.95]
        assert len(within) <= requests
        assert sum(within) <= 60


def test_a_call_of_more_tokens_than_a_minute_has_goes_alone():
    first, second, third = starts(CallLimits(tokens_per_minute=10), [5, 100, 5])
    assert second - first > WINDOW * 0.9
    assert third - second > WINDOW * 0.9


def test_without_limits_nobody_waits():
    let_through = starts(CallLimits(), [1_000] * 50)
    assert let_through[-1] - let_through[0] < WINDOW


def ask_for_a_moment(tmp_path, script: Script, prompts: int, **limits) -> ChatServer:
    """Ask ``prompts`` prompts, until 0.8 seconds after the first request, and return the server."""

    async def run(settings: LanguageModel, journal: AnswerJournal) -> None:
        async with Client(settings, journal) as client:
            asking = [
                asyncio.create_task(client.answer([{"role": "user", "content": f"prompt {number}"}]))
                for number in range(prompts)
            ]
            while not server.requests:
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.8)
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    with ChatServer(script) as server, AnswerJournal(tmp_path / "journal") as journal:
        calls = CallLimits(max_retries=5, **limits)
        asyncio.run(
            run(
                LanguageModel(
                    model="tiny",
                    base_url=server.base_url,
                    calls=calls,
                    max_completion_tokens=100,
                ),
                journal,
            )
        )
    return server


def test_an_endpoint_gets_no_more_requests_in_a_minute_than_allowed(tmp_path):
    server = ask_for_a_moment(tmp_path, lambda number, body: Reply("yes"), 12, requests_per_minute=5)
    assert len(server.requests) == 5


def test_an_endpoint_gets_no_more_tokens_in_a_minute_than_allowed(tmp_path):
    server = ask_for_a_moment(tmp_path, lambda number, body: Reply("yes"), 12, tokens_per_minute=350)
    assert len(server.requests) == 3


def test_retries_of_the_sdk_count_as_requests(tmp_path):
    busy = Reply(status=429, headers={"Retry-After": "0.01"})
    server = ask_for_a_moment(tmp_path, lambda number, body: busy, 1, requests_per_minute=3)
    assert len(server.requests) == 3


def test_the_same_prompt_asked_twice_at_once_is_sent_once(tmp_path):
    async def run(settings: LanguageModel, journal: AnswerJournal) -> list[str]:
        async with Client(settings, journal) as client:
            answers = await asyncio.gather(*(client.answer([{"role": "user", "content": "same"}]) for _ in range(5)))
        return [answer.content for answer in answers]

    slow = Reply("yes", delay_seconds=0.1)
    with ChatServer(lambda number, body: slow) as server, AnswerJournal(tmp_path / "journal") as journal:
        settings = LanguageModel(model="tiny", base_url=server.base_url)
        assert asyncio.run(run(settings, journal)) == ["yes"] * 5
    assert len(server.requests) == 1


def test_calls_wait_for_what_those_in_flight_give_back_and_the_budget_is_never_exceeded():
    async def run() -> tuple[int, int]:
        spending, refused = Spending(Budget(max_tokens=100)), 0

        async def call() -> None:
            nonlocal refused
            try:
                async with spending.reserved(20, 20):
                    await asyncio.sleep(0)
                    spending.add(10, 10)
            except BudgetSpentError:
                refused += 1

        await asyncio.gather(*(call() for _ in range(10)))
        return spending.prompt_tokens + spending.completion_tokens, refused

    spent, refused = asyncio.run(run())
    assert (spent, refused) == (80, 6)


def test_a_budget_that_is_spent_says_which_limit_and_how_much():
    async def run() -> None:
        spending = Spending(Budget(max_tokens=1_000))
        spending.add(900, 50)
        async with spending.reserved(40, 20):
            pass

    with pytest.raises(BudgetSpentError, match="max_tokens 1,000 allows no further call: 950 spent"):
        asyncio.run(run())
