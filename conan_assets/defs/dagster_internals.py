"""The only place that reaches below Dagster's public interface; its version is capped at the minor that was tried."""

import logging
from collections.abc import Callable
from pathlib import Path

import dagster._loggers as _loggers
from dagster._core.errors import DagsterPipesExecutionError
from dagster._core.execution import compute_logs
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord
from dagster._core.storage.runs import SqliteRunStorage
from dagster._utils.error import SerializableErrorInfo  # type: ignore[attr-defined]

__all__ = [
    "AssetCheckExecutionRecord",
    "DagsterPipesExecutionError",
    "SerializableErrorInfo",
    "SqliteRunStorage",
    "format_consoles",
    "watch_output_with",
]


def format_consoles(
    formatter: Callable[[logging.Formatter], logging.Formatter], shows: Callable[[logging.LogRecord], bool]
) -> None:
    """Have every console that runs of this process open from now on show such records alone, by ``formatter``.

    Parameters
    ----------
    formatter
        Is put around the usual one.
    shows
        Whether a record is shown.
    """
    open_console = _loggers.create_console_logger  # type: ignore[attr-defined]

    def open_formatted(name: str, level: str | int) -> logging.Logger:
        console = open_console(name, level)
        for handler in console.handlers:
            handler.setFormatter(formatter(handler.formatter or logging.Formatter()))
            handler.addFilter(shows)
        return console

    _loggers.create_console_logger = open_formatted  # type: ignore[attr-defined]


def watch_output_with(script: Path) -> None:
    """Have a script of ours watch over the processes that copy the output of this process's runs."""
    compute_logs.watch_orphans.__file__ = str(script)  # type: ignore[attr-defined]
