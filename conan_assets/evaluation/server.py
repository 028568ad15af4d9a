"""A server of embeddings: ask it for vectors, and say in plain words what is wrong with it."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
import openai

from conan_assets.encoding.encoder import Role
from conan_assets.evaluation.settings import ServerSettings
from conan_assets.progress import Progress
from conan_assets.redaction import redacted

API_KEY = "OPENAI_API_KEY"
SECONDS_TO_ANSWER = 5.0
LOG_SHOWN = 2_000
WAY_OUT = "start it as serving.md beside the release says, or correct release.server.base_url"


class ServerError(RuntimeError):
    """A server does not give embeddings; the message names it, what it said, and what to do."""


class Server:
    """What answers at one address. The API key, where one is needed, is read from ``$OPENAI_API_KEY``.

    Parameters
    ----------
    url
        The address, with the port.
    prompts
        What goes before queries and documents, by role.
    """

    def __init__(self, settings: ServerSettings, url: str, prompts: Mapping[str, str]) -> None:
        self.url = redacted(url)
        self._settings = settings
        self._prompts = prompts
        key = os.environ.get(API_KEY, "").strip() or "none"
        self._client = openai.OpenAI(base_url=url, api_key=key, timeout=settings.timeout_seconds)

    def answers(self) -> bool:
        """Whether it is ready to be asked."""
        path = "/health" if self._settings.protocol == "tei" else "/models"
        try:
            self._client.with_options(timeout=SECONDS_TO_ANSWER, max_retries=0).get(path, cast_to=object)
        except openai.APIConnectionError:
            return False
        except openai.APIStatusError as error:
            return error.status_code < 500
        return True

    @cached_property
    def model(self) -> str:
        """The model that is asked: the one of the settings, or the only one that the server lists."""
        if self._settings.model is not None:
            return self._settings.model
        with self._errors():
            listed = [model.id for model in self._client.models.list()]
        if len(listed) != 1:
            raise ServerError(
                f"the server at {self.url} lists {len(listed)} models ({', '.join(listed) or 'none'}): name the one "
                "that is the release in release.server.model"
            )
        return listed[0]

    def embed(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """Return the vectors that it gives for queries or documents, float32 of shape (len(texts), dim), as they come.

        Raises
        ------
        ServerError
            It is not there, takes too long, refuses, or answers with something else than a vector a text.
        """
        progress = Progress(f"asking {self.url} for {role} vectors", len(texts))
        rows: list[list[float]] = []
        for start in range(0, len(texts), self._settings.batch_size):
            batch = texts[start : start + self._settings.batch_size]
            with self._errors():
                answer = self._ask_tei(batch, role) if self._settings.protocol == "tei" else self._ask(batch, role)
            rows += _checked(answer, len(batch), self.url)
            progress.advance(len(batch))
        if len({len(row) for row in rows}) > 1:
            raise ServerError(f"the server at {self.url} gives vectors of different lengths")
        return np.array(rows, np.float32)

    def _ask(self, texts: Sequence[str], role: Role) -> object:
        answer = self._client.embeddings.create(
            model=self.model,
            input=[self._prompts[role] + text for text in texts],
            encoding_format="float",
            extra_body=self._settings.request,
        )
        return [row.embedding for row in sorted(answer.data, key=lambda row: row.index)]

    def _ask_tei(self, texts: Sequence[str], role: Role) -> object:
        named = {"prompt_name": role} if self._prompts[role] else {}
        body: dict[str, Any] = {"inputs": list(texts), "truncate": True, **named, **self._settings.request}
        return self._client.post("/embed", body=body, cast_to=object)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn the SDK's errors into ServerError."""
        seconds = self._settings.timeout_seconds
        try:
            yield
        except openai.APITimeoutError:
            raise ServerError(
                f"the server at {self.url} did not answer within {seconds:g} s: raise release.server.timeout_seconds "
                "or lower release.server.batch_size"
            ) from None
        except openai.APIConnectionError as error:
            raise ServerError(f"no server answers at {self.url} ({error.__cause__ or error}): {WAY_OUT}") from None
        except openai.APIError as error:
            said = redacted(str(error))[:LOG_SHOWN]
            raise ServerError(
                f"the server at {self.url} refuses: {said}; is it the right address (release.server.base_url) and "
                "protocol, and does it take release.server.request?"
            ) from None
        except (ValueError, TypeError, AttributeError) as error:
            raise ServerError(f"the server at {self.url} does not answer with embeddings: {error}") from None


def _checked(answer: object, count: int, url: str) -> list[list[float]]:
    """Return an answer that holds a list of numbers a text; raise ServerError for any other."""
    is_right = (
        isinstance(answer, list)
        and len(answer) == count
        and all(isinstance(row, list) and row and isinstance(row[0], int | float) for row in answer)
    )
    if not is_right:
        raise ServerError(f"the server at {url} does not give a vector for each of {count} texts: {str(answer)[:200]}")
    return cast(list[list[float]], answer)
