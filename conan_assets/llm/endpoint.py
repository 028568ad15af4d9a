"""One OpenAI-compatible server: the SDK's client, and errors that never hold the key."""

import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator
from urllib.parse import urlsplit, urlunsplit

from conan_assets.llm.settings import LanguageModel

API_KEY = "OPENAI_API_KEY"
BASE_URL = "OPENAI_BASE_URL"
OPENAI = "https://api.openai.com/v1"

BeforeRequest = Callable[[object], Awaitable[None]]


class EndpointError(RuntimeError):
    """The endpoint refuses every call: no key, a wrong key, no such model."""


class UnknownError(EndpointError):
    """The endpoint does not know what was named: the model, or a batch."""


class CallError(RuntimeError):
    """One call failed after the SDK's retries; ``reason`` is the name it is counted under."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


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
        self.client = AsyncOpenAI(
            api_key=self._key or "none",
            base_url=self._base_url or OPENAI,
            timeout=settings.calls.timeout_seconds,
            max_retries=settings.calls.max_retries,
            http_client=DefaultAsyncHttpxClient(event_hooks={"request": [before_request] if before_request else []}),
        )

    @property
    def name(self) -> str:
        """The base URL without what might be secret in it."""
        if self._base_url is None:
            return "OpenAI"
        parts = urlsplit(self._base_url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    def without_key(self, text: str) -> str:
        """Return ``text`` with the key cut out."""
        return text.replace(self._key, "***") if self._key else text

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the SDK's errors into EndpointError where no call can succeed, else into CallError."""
        import openai

        try:
            yield
        except openai.NotFoundError as error:
            raise UnknownError(self._refusal(error)) from None
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise EndpointError(self._refusal(error)) from None
        except openai.APIStatusError as error:
            raise CallError(f"status_{error.status_code}", self.without_key(str(error))) from None
        except openai.APITimeoutError as error:
            raise CallError("timeout", self.without_key(str(error))) from None
        except openai.APIError as error:
            raise CallError("connection", self.without_key(str(error))) from None
        except ValueError as error:
            raise CallError("no_completion", self.without_key(f"the answer is no JSON: {error}")) from None

    def _refusal(self, error: Exception) -> str:
        return self.without_key(f"{self.name} refuses the model {self._model!r}: {error}")
