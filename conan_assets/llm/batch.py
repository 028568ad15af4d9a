"""Prompts asked through a provider's Batch API: half the price at most providers, answered within a day.

1. Prompts that are asked for at the same time travel together, as many as a batch may hold.
2. The batch stands in the journal before it is created, and with its id as soon as there is one.
3. Its answers are recorded when it has ended. A run that was killed meanwhile finds the batch in the journal and
   waits for it, instead of paying for another.
"""

import asyncio
import json
import logging
import uuid
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import ValidationError

from conan_assets.llm.completions import Messages, is_same_model, record, request_body, to_answer
from conan_assets.llm.endpoint import (
    MAX_FAILURES_IN_A_ROW,
    CallError,
    Endpoint,
    EndpointError,
    NoCompletionError,
    ParameterRefusedError,
    UnknownError,
    backoff_seconds,
)
from conan_assets.llm.journal import Answer, AnswerJournal, Submission
from conan_assets.llm.settings import LanguageModel

if TYPE_CHECKING:
    from openai.types import Batch

logger = logging.getLogger("conan_assets")

PATH: Literal["/v1/chat/completions"] = "/v1/chat/completions"
NAME = "conan_assets"
"""Key of a batch's name in its metadata at the provider."""

ENDED = {"completed", "expired", "cancelled", "failed"}
GATHERING_SECONDS = 0.05

Failures = dict[str, CallError | EndpointError]
Result = TypeVar("Result")


class BatchCalls:
    """Every prompt waits for those asked at the same time, and for the batch they make.

    Parameters
    ----------
    settings
        Model, endpoint and the limits of a batch.
    journal
        Open journal.
    counts
        Where batches are counted.

    Attributes
    ----------
    endpoint
        The server.
    concurrency
        None: all prompts there are may be asked at once.
    """

    def __init__(self, settings: LanguageModel, journal: AnswerJournal, counts: Counter[str]) -> None:
        self.endpoint = Endpoint(settings)
        self.concurrency = None
        self._settings = settings
        self._journal = journal
        self._counts = counts
        self._waiting: dict[str, tuple[Messages, asyncio.Future[Answer]]] = {}
        self._sending: set[asyncio.Task[None]] = set()

    async def ask(self, key: str, messages: Messages) -> Answer:
        """Return the endpoint's answer, recorded in the journal; raise CallError or EndpointError."""
        if not self._waiting:
            task = asyncio.create_task(self._send_soon())
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[key] = messages, future
        return await future

    def stop(self) -> set[asyncio.Task[Any]]:
        """Return no task to wait for: what was sent goes on at the provider, and the journal knows it."""
        return set()

    async def _send_soon(self) -> None:
        """Answer whatever is asked for within a moment; the futures get what goes wrong."""
        await asyncio.sleep(GATHERING_SECONDS)
        waiting, self._waiting = self._waiting, {}
        failures: Failures = {}
        error: Exception | None = None
        try:
            failures = await self._answer({key: messages for key, (messages, _) in waiting.items()})
        except Exception as raised:  # whatever it is, the prompts must not wait for ever
            error = raised
        for key, (_, future) in waiting.items():
            if future.done():  # nobody waits for it any longer
                continue
            if (answer := self._journal.find(key)) is not None:
                future.set_result(answer)
            else:
                future.set_exception(error or failures[key])

    async def _answer(self, prompts: dict[str, Messages]) -> Failures:
        """Record the answers to ``prompts``, from batches that are under way and from new ones."""
        under_way = self._journal.uncollected(prompts, self.endpoint.name)
        await _all(self._resume(submission, prompts) for submission in under_way)
        sent = self.endpoint.token_limit
        failures = await self._submit_all(prompts)
        refused = (failure for failure in failures.values() if isinstance(failure, ParameterRefusedError))
        if any(self.endpoint.rename_token_limit(failure, sent) for failure in refused):
            failures |= await self._submit_all(prompts)
        return failures

    async def _submit_all(self, prompts: dict[str, Messages]) -> Failures:
        """Send those of ``prompts`` that have no answer; return why some still have none."""
        unanswered = {key: messages for key, messages in prompts.items() if self._journal.find(key) is None}
        failures = await _all(self._submit(part, prompts) for part in self._parts(unanswered))
        return {key: failure for part in failures for key, failure in part.items()}

    def _parts(self, prompts: dict[str, Messages]) -> Iterator[dict[str, bytes]]:
        """Yield the lines of one batch after the other, each within the limits of a batch."""
        limits = self._settings.batch
        lines: dict[str, bytes] = {}
        size = 0
        for key, messages in prompts.items():
            body = request_body(self._settings, messages, self.endpoint.token_limit)
            request = {"custom_id": key, "method": "POST", "url": PATH, "body": body}
            line = json.dumps(request, ensure_ascii=False).encode() + b"\n"
            if lines and (len(lines) == limits.max_requests or size + len(line) > limits.max_file_megabytes * 1e6):
                yield lines
                lines, size = {}, 0
            lines[key] = line
            size += len(line)
        if lines:
            yield lines

    async def _submit(self, lines: dict[str, bytes], prompts: dict[str, Messages]) -> Failures:
        with self.endpoint.errors():
            file = await self.endpoint.client.files.create(
                file=(f"{NAME}.jsonl", b"".join(lines.values())), purpose="batch"
            )
        file_id = _text_of(file, "id")
        name, model = uuid.uuid4().hex, self._settings.answering_model
        submission = Submission(name, self.endpoint.name, tuple(lines), model=model)
        self._journal.note(submission)
        batch = await self._create(submission.name, file_id)
        self._journal.note(replace(submission, batch_id=batch.id))
        self._counts["batches"] += 1
        logger.info("batch %s: %s prompts sent", batch.id, f"{len(lines):,}")
        return await self._finish(submission, batch.id, prompts)

    async def _resume(self, submission: Submission, prompts: dict[str, Messages]) -> None:
        """Wait for a batch of an earlier run, unless the run was killed before the provider had it."""
        batch_id = submission.batch_id or await self._find(submission.name)
        if batch_id is None:
            self._journal.note(replace(submission, collected=True))
            return
        logger.info("batch %s: taken up again", batch_id)
        self._counts["batches_taken_up_again"] += 1
        try:
            await self._finish(submission, batch_id, prompts)
        except UnknownError:
            logger.warning("batch %s: %s no longer has it, its prompts are asked anew", batch_id, self.endpoint.name)
            self._journal.note(replace(submission, collected=True))

    async def _create(self, name: str, file_id: str) -> "Batch":
        """Create a batch once: an error may hide that it was created, so it is looked for before another attempt."""
        batches = self.endpoint.client.with_options(max_retries=0).batches
        for attempt in range(self._settings.calls.max_retries + 1):
            try:
                with self.endpoint.errors():
                    batch = await batches.create(
                        completion_window="24h", endpoint=PATH, input_file_id=file_id, metadata={NAME: name}
                    )
                _text_of(batch, "id")
                return batch
            except CallError:
                batch_id = await self._find(name)
                if batch_id is not None:
                    return await self._look(batch_id)
                if attempt == self._settings.calls.max_retries:
                    raise
                await asyncio.sleep(backoff_seconds(attempt))
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _find(self, name: str) -> str | None:
        """Return the id of the provider's batch of that name."""
        with self.endpoint.errors():
            async for batch in self.endpoint.client.batches.list(limit=100):
                if (batch.metadata or {}).get(NAME) == name:
                    return batch.id
        return None

    async def _look(self, batch_id: str) -> "Batch":
        with self.endpoint.errors():
            batch = await self.endpoint.client.batches.retrieve(batch_id)
        _text_of(batch, "status")
        return batch

    async def _finish(self, submission: Submission, batch_id: str, prompts: dict[str, Messages]) -> Failures:
        """Wait until the batch has ended, record its answers, and return why the other prompts have none."""
        batch = await self._ended(batch_id)
        reason = "no_result" if batch.status == "completed" else f"batch_{batch.status}"
        failures: Failures = {key: CallError(reason, f"batch {batch_id} holds no answer") for key in submission.keys}
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id is not None:
                with self.endpoint.errors():
                    content = await self.endpoint.client.files.content(file_id)
                failures |= self._record(content.content.splitlines(), submission, prompts)
        self._journal.note(replace(submission, batch_id=batch_id, collected=True))
        if batch.status == "failed":
            reasons = "; ".join(problem.message or "" for problem in (batch.errors and batch.errors.data) or [])
            raise EndpointError(
                self.endpoint.without_key(f"{self.endpoint.name} refuses the batch {batch_id}: {reasons}")
            )
        return failures

    async def _ended(self, batch_id: str) -> "Batch":
        failures_in_a_row = 0
        while True:
            try:
                batch = await self._look(batch_id)
            except CallError as error:
                failures_in_a_row += 1
                if failures_in_a_row == MAX_FAILURES_IN_A_ROW:
                    raise EndpointError(
                        f"the batch {batch_id} could not be looked at {failures_in_a_row} times in a row ({error}); it "
                        "goes on at the provider: run again to collect it"
                    ) from None
            else:
                failures_in_a_row = 0
                if batch.status in ENDED:
                    return batch
                done = batch.request_counts.completed if batch.request_counts else 0
                logger.info("batch %s: %s, %s prompts answered", batch_id, batch.status, f"{done:,}")
            await asyncio.sleep(self._settings.batch.poll_seconds)

    def _record(self, lines: Iterable[bytes], submission: Submission, prompts: dict[str, Messages]) -> Failures:
        """Record the answers in the lines of an output or error file; return the failures among them by key."""
        failures: Failures = {}
        known = set(submission.keys)
        for line in filter(bytes.strip, lines):
            try:
                result = json.loads(line)
                key = str(result["custom_id"])
            except (ValueError, KeyError, TypeError, RecursionError):
                logger.warning("a batch's result cannot be read: %.80r", line)
                continue
            if key not in known:
                logger.warning("a batch's result answers no prompt of it: %.80r", line)
                continue
            try:
                self._take(key, result, submission, prompts)
            except (CallError, EndpointError) as error:
                failures[key] = error
        lost = [error for key, error in failures.items() if key not in prompts]
        if lost:
            logger.warning("%s prompts of another run have no answer, the last one since: %s", len(lost), lost[-1])
        return failures

    def _take(self, key: str, result: dict[str, Any], submission: Submission, prompts: dict[str, Messages]) -> None:
        """Record the answer in one line of a batch's results; raise CallError or EndpointError when it is none."""
        from openai.types.chat import ChatCompletion

        error, response = result.get("error"), result.get("response")
        if error:
            about = error if isinstance(error, dict) else {"message": str(error)}
            raise CallError(
                str(about.get("code") or "batch_error"), self.endpoint.without_key(str(about.get("message") or ""))
            )
        response = response if isinstance(response, dict) else {}
        body, status = response.get("body"), response.get("status_code")
        if status != 200:
            problem = body.get("error") if isinstance(body, dict) else None
            raise self.endpoint.error_of_status(status, problem, json.dumps(body, ensure_ascii=False)[:300])
        try:
            completion = ChatCompletion.model_validate(body)
        except ValidationError as invalid:
            raise NoCompletionError(str(invalid)[:300]) from None
        if key in prompts:
            record(self._journal, self._settings, prompts[key], to_answer(completion, prompts[key]))
            return
        answer = to_answer(completion, [])  # asked by a run with other prompts, which will look for it
        asked = submission.model or self._settings.answering_model
        if answer.model and not is_same_model(asked, answer.model):
            raise EndpointError(f"the model {asked!r} was asked by another run and {answer.model!r} answers")
        self._journal.record(key, answer)


async def _all(batches: Iterable[Coroutine[None, None, Result]]) -> list[Result]:
    """Return what every batch comes to; raise the first error only when all have ended: they are paid for."""
    results = await asyncio.gather(*batches, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


def _text_of(reply: object, name: str) -> str:
    """Return an attribute that a reply must have; the SDK does not check what a server sends."""
    value = getattr(reply, name, None)
    if not isinstance(value, str):
        raise NoCompletionError(f"the reply has no {name}: {str(reply)[:200]!r}")
    return value
