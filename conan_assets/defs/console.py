"""What a terminal shows of a run that ends early: the message of the product's own error alone, one line at Ctrl-C.

The whole traceback stands in the run's log, which the UI shows.
"""

import copy
import logging
from collections.abc import Iterator
from pathlib import Path

from conan_assets.defs.dagster_internals import SerializableErrorInfo, format_consoles, watch_output_with

INTERRUPTED = {"DagsterExecutionInterruptedError", "KeyboardInterrupt"}
MEANT_FOR_USERS = {"DagsterAssetCheckFailedError", "Failure"}
"""Errors of Dagster that say what a user needs to know; of the product's own all do."""

GO_ON = (
    "Interrupted: what is finished is kept, and what a stage has saved on its way; the same command goes on from there."
)


class BriefErrors(logging.Formatter):
    """Formats as ``usual`` does, but for errors that need no traceback."""

    def __init__(self, usual: logging.Formatter) -> None:
        super().__init__()
        self._usual = usual

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record; of an event with an error its message, or its traceback where that is needed."""
        event = getattr(record, "dagster_meta", {}).get("dagster_event")
        error = getattr(event.event_specific_data, "error", None) if event is not None else None
        if event is None or error is None:
            return self._usual.format(record)
        reason = _reason(error)
        if reason is None and not event.is_run_failure:
            return self._usual.format(record)
        brief = copy.copy(record)
        brief.msg, brief.args = f"{event.message}\n\n{reason}\n" if reason else event.message, ()
        return self._usual.format(brief)


def _reason(error: SerializableErrorInfo) -> str | None:
    """Return what a user is told of an error without its traceback, or None if that is needed."""
    for cause in _causes(error):
        if cause.cls_name in INTERRUPTED:
            return GO_ON
        if cause.message.startswith("conan_assets.") or cause.cls_name in MEANT_FOR_USERS:
            return cause.message.partition(": ")[2].strip()
    return None


def _causes(error: SerializableErrorInfo | None) -> Iterator[SerializableErrorInfo]:
    while error is not None:
        yield error
        error = error.cause or error.context


def _is_news(record: logging.LogRecord) -> bool:
    """Return whether a record says more than that a step is left out because one before it failed."""
    return not record.dagster_meta["orig_message"].startswith("Dependencies for step ")  # type: ignore[attr-defined]


def be_brief() -> None:
    """Have the consoles of this process show less of runs; called when the graph is loaded, before a run begins."""
    format_consoles(BriefErrors, _is_news)
    watch_output_with(Path(__file__).with_name("output_watcher.py"))
