"""One OpenAI-compatible server: the SDK's client, and errors that never hold the key."""

import contextlib
import os
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from conan_assets.llm.settings import LanguageModel
from conan_assets.redaction import HIDDEN, redacted

if TYPE_CHECKING:
    from httpx2 import Response

API_KEY = "OPENAI_API_KEY"
BASE_URL = "OPENAI_BASE_URL"
OPENAI = "https://api.openai.com/v1"

TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
MAX_FAILURES_IN_A_ROW = 20
"""So many, one after the other, mean that none will succeed, whatever the single ones say."""

RATE_LIMITED, NO_MONEY = 429, 402
NO_MONEY_CODES = {
    "insufficient_quota",
    "billing_not_active",
    "billing_hard_limit_reached",
    "insufficient_user_quota",
    "Arrearage",
}
"""Of statuses that otherwise mean something else: such a 429 does not go away."""

LONGEST_BODY = 300
_NAME = r"['\"`]?(temperature|max_tokens|max_completion_tokens)['\"`]?"
_NOT_TAKEN = (
    r"(?:not (?:supported|permitted|allowed)|do(?:es)?(?:n't| not) support|un(?:supported|known|recognized|expected))"
)
_REFUSED_PARAMETER = re.compile(
    rf"^(?:Error code: \d+ - )?\W*"
    rf"(?:.{{0,40}}{_NOT_TAKEN}[^.]{{0,30}}{_NAME}|(?:body\.)?{_NAME}[^.]{{0,30}}{_NOT_TAKEN})",
    re.IGNORECASE,
)

BeforeRequest = Callable[[object], Awaitable[None]]


class EndpointError(RuntimeError):
    """No call can succeed: the endpoint refuses all, or is not there."""


class RefusedError(EndpointError):
    """The endpoint refuses every call, now and later: no key, a wrong key, no such model, no money."""

    is_transient = False


class ParameterRefusedError(RefusedError):
    """The endpoint refuses a parameter that every call has, or its value."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(message)
        self.parameter = parameter


class UnknownError(RefusedError):
    """The endpoint does not know what was named: the model, or a batch."""


class CallError(RuntimeError):
    """One call failed after the SDK's retries; ``reason`` is the name it is counted under."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class NoCompletionError(CallError):
    """A reply of status 200 is no completion; the next one may be."""

    def __init__(self, message: str) -> None:
        super().__init__("no_completion", message)


class Endpoint:
    """The server that the settings and the environment name.

    Parameters
    ----------
    settings
        Model, base URL, time-out and retries.
    before_request
        Awaited before every request that leaves, the SDK's retries included; None to wait for nothing.

    Attributes
    ----------
    client
        The SDK's client.
    token_limit
        Parameter that limits an answer's tokens: OpenAI's newer models refuse ``max_tokens``, and other servers may
        ignore ``max_completion_tokens``.

    Raises
    ------
    EndpointError
        There is no API key and no endpoint that might need none.
    """

    def __init__(self, settings: LanguageModel, before_request: BeforeRequest | None = None) -> None:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        self._model = settings.model
        self._key = os.environ.get(API_KEY, "")
        self._base_url = settings.base_url or os.environ.get(BASE_URL) or None
        if not self._key and not self._base_url:
            raise EndpointError(
                f"set ${API_KEY} for OpenAI's endpoint, or generation.base_url (or ${BASE_URL}) for another"
            )
        self.token_limit = "max_tokens" if self._base_url else "max_completion_tokens"
        self.client = AsyncOpenAI(
            api_key=self._key or "none",
            base_url=self._base_url or OPENAI,
            timeout=settings.calls.timeout_seconds,
            max_retries=settings.calls.max_retries,
            http_client=DefaultAsyncHttpxClient(
                event_hooks={
                    "request": [before_request] if before_request else [],
                    "response": [_no_hope_without_money],
                }
            ),
        )

    @property
    def name(self) -> str:
        """The base URL without what might be secret in it."""
        if self._base_url is None:
            return "OpenAI"
        parts = urlsplit(self._base_url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    def without_key(self, text: str) -> str:
        """Return ``text`` without the key and the credentials of URLs."""
        return redacted(text.replace(self._key, HIDDEN) if self._key else text)

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the SDK's errors into EndpointError where no call can succeed, else into CallError."""
        import openai

        try:
            yield
        except openai.NotFoundError as error:
            raise UnknownError(self._refusal(error)) from None
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise RefusedError(self._refusal(error)) from None
        except openai.APIStatusError as error:
            told = str(error)
            if not isinstance(error.body, dict) or "message" not in error.body:
                told = f"{told}: {error.response.text[:LONGEST_BODY]}"
            raise self.error_of_status(error.status_code, error.body, told) from None
        except openai.APITimeoutError as error:
            raise CallError("timeout", self.without_key(str(error))) from None
        except openai.APIError as error:
            raise CallError("connection", self.without_key(str(error))) from None
        except (ValueError, RecursionError) as error:
            raise NoCompletionError(self.without_key(f"the answer is no JSON: {error}")) from None

    def error_of_status(self, status: int | None, body: object, message: str) -> CallError | EndpointError:
        """Return what a status and the error in the body of a reply mean."""
        about = body if isinstance(body, dict) else {}
        if status == NO_MONEY or not NO_MONEY_CODES.isdisjoint(map(str, (about.get("code"), about.get("type")))):
            return RefusedError(
                f"{self._refusal(message)}; nothing is left to pay with: pay, or set generation to another endpoint, "
                "then run again; the answers so far are kept"
            )
        parameter = _refused_parameter(about.get("param"), message) if status in (400, 422) else None
        if parameter is not None:
            setting = "max_completion_tokens" if parameter in TOKEN_LIMITS else parameter
            return ParameterRefusedError(
                parameter,
                f"{self._refusal(message)}; it refuses {parameter}: change generation.{setting} or leave it out",
            )
        return CallError(f"status_{status}", self.without_key(message))

    def rename_token_limit(self, refused: ParameterRefusedError, sent: str) -> bool:
        """Return whether the limit of tokens now has another name than was ``sent`` and ``refused``."""
        if refused.parameter == sent == self.token_limit:
            self.token_limit = TOKEN_LIMITS[1 - TOKEN_LIMITS.index(sent)]
        return refused.parameter == sent

    def _refusal(self, error: object) -> str:
        return self.without_key(f"{self.name} refuses the model {self._model!r}: {error}")


async def _no_hope_without_money(response: "Response") -> None:
    """Keep the SDK from trying again, with longer and longer waits, what waiting does not pay for."""
    if response.status_code == RATE_LIMITED:
        body = await response.aread()
        if any(code.encode() in body for code in NO_MONEY_CODES):
            response.headers["x-should-retry"] = "false"


def backoff_seconds(attempt: int) -> float:
    """Return how long to wait after a failed ``attempt``, from 0, before the next one."""
    return min(0.5 * 2.0**attempt, 8.0)


def _refused_parameter(named: object, message: str) -> str | None:
    """Return the parameter of every call that a refusal is about; None where it is about one prompt, or unclear."""
    if "context length" in message or "context_length" in message:
        return None
    if named in ("model", "temperature", *TOKEN_LIMITS):
        return str(named)
    found = _REFUSED_PARAMETER.search(message)
    return found[1] or found[2] if found and named is None else None
