"""Requests and tokens per minute, and the budget of tokens and money."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator

from conan_assets.llm.settings import Budget, CallLimits

WINDOW_SECONDS = 60.0


class BudgetSpentError(RuntimeError):
    """The next call could exceed the budget; the message says which limit and what was spent."""


class RateLimiter:
    """Wait until a call of so many tokens fits into the last minute.

    Parameters
    ----------
    limits
        Requests and tokens per minute; null is no limit.
    window_seconds
        Length of the "minute".
    """

    def __init__(self, limits: CallLimits, window_seconds: float = WINDOW_SECONDS) -> None:
        self._limits = limits
        self._window = window_seconds
        self._calls: deque[tuple[float, int]] = deque()
        self._turn = asyncio.Lock()

    async def wait(self, tokens: int) -> None:
        """Return when a call of ``tokens`` tokens may start; callers are served in their order."""
        async with self._turn:
            while (delay := self._delay(tokens)) > 0:
                await asyncio.sleep(delay)
            self._calls.append((time.monotonic(), tokens))

    def _delay(self, tokens: int) -> float:
        now = time.monotonic()
        while self._calls and self._calls[0][0] <= now - self._window:
            self._calls.popleft()
        requests, allowed = self._limits.requests_per_minute, self._limits.tokens_per_minute
        too_many = requests is not None and len(self._calls) >= requests
        too_long = allowed is not None and self._calls and sum(spent for _, spent in self._calls) + tokens > allowed
        return self._calls[0][0] + self._window - now if too_many or too_long else 0.0


class Spending:
    """Tokens and money spent, and what the calls in flight may still spend.

    Parameters
    ----------
    budget
        Limits and prices.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._in_flight = self._reserved_prompt_tokens = self._reserved_completion_tokens = 0
        self._changed = asyncio.Condition()
        self.prompt_tokens = self.completion_tokens = 0

    @property
    def cost(self) -> float:
        """Money spent, in the currency of the prices."""
        return self._budget.price(self.prompt_tokens, self.completion_tokens)

    @contextlib.asynccontextmanager
    async def reserved(self, prompt_tokens: int, completion_tokens: int) -> AsyncIterator[None]:
        """Set aside what one call may spend at most, for as long as it lasts.

        Waits for calls in flight to give back what they did not need; raises BudgetSpentError when none is in flight
        and the budget does not have it.
        """
        async with self._changed:
            while (spent := self._limit_exceeded_by(prompt_tokens, completion_tokens)) is not None:
                if not self._in_flight:
                    raise BudgetSpentError(spent)
                await self._changed.wait()
            self._set_aside(1, prompt_tokens, completion_tokens)
        try:
            yield
        finally:
            self._set_aside(-1, -prompt_tokens, -completion_tokens)
            async with self._changed:
                self._changed.notify_all()

    def add(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Count what an answer used."""
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens

    def _set_aside(self, calls: int, prompt_tokens: int, completion_tokens: int) -> None:
        self._in_flight += calls
        self._reserved_prompt_tokens += prompt_tokens
        self._reserved_completion_tokens += completion_tokens

    def _limit_exceeded_by(self, prompt_tokens: int, completion_tokens: int) -> str | None:
        prompt = self.prompt_tokens + self._reserved_prompt_tokens + prompt_tokens
        completion = self.completion_tokens + self._reserved_completion_tokens + completion_tokens
        max_tokens, max_cost = self._budget.max_tokens, self._budget.max_cost
        if max_tokens is not None and prompt + completion > max_tokens:
            spent = self.prompt_tokens + self.completion_tokens
            return f"max_tokens {max_tokens:,} allows no further call: {spent:,} spent"
        if max_cost is not None and self._budget.price(prompt, completion) > max_cost:
            return f"max_cost {max_cost} allows no further call: {self.cost:.4f} spent"
        return None
