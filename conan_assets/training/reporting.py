"""Where a run's metrics and messages go besides ``metrics.jsonl``: trackers, and the Dagster run that started it."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers

PROJECT = "conan_assets"
PIPES_CONTEXT = "DAGSTER_PIPES_CONTEXT"
FOLDER = {"aim": "logging_dir", "tensorboard": "logging_dir", "wandb": "dir"}
"""The argument of a tracker for where its files go."""

logger = logging.getLogger("conan_assets")


class Trackers:
    """Accelerate's trackers by name; one that is not installed is left out.

    ``tensorboard``, ``aim`` and ``wandb`` write into the run's directory; ``wandb``, ``mlflow`` and ``comet_ml`` send
    to their servers as their own environment variables say.
    """

    def __init__(self, names: Sequence[str], directory: Path) -> None:
        installed = {str(tracker) for tracker in get_available_trackers()}
        for name in set(names) - installed:
            logger.info("training: %s is not installed, so nothing is reported to it", name)
        self._trackers = [_start(name, directory) for name in names if name in installed]

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Report the metrics of ``step``, counted over all stages."""
        for tracker in self._trackers:
            tracker.log(dict(metrics), step=step)

    def close(self) -> None:
        """Let the trackers finish."""
        for tracker in self._trackers:
            tracker.finish()


def _start(name: str, directory: Path) -> GeneralTracker:
    kind = LOGGER_TYPE_TO_CLASS[name]
    tracker = kind(PROJECT, **({FOLDER[name]: str(directory)} if name in FOLDER else {}))
    tracker.start()
    return tracker


@contextlib.contextmanager
def report_to_dagster() -> Iterator[Callable[[Mapping[str, object]], None]]:
    """Send the first process's log lines to the Dagster run that launched it through Pipes, if one did.

    Yields what sends that run a message of its own, which ``get_custom_messages()`` returns there.
    """
    if PIPES_CONTEXT not in os.environ or os.environ.get("RANK", "0") != "0":
        yield lambda _: None
        return
    from dagster_pipes import open_dagster_pipes

    with open_dagster_pipes() as pipes:
        handlers = list(pipes.log.handlers)
        for handler in handlers:
            logger.addHandler(handler)
        try:
            yield pipes.report_custom_message
        finally:
            for handler in handlers:
                logger.removeHandler(handler)
