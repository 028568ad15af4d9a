"""Results of single tasks on disk, so that no evaluation runs a task again that another one has finished.

mteb's own cache tells runs apart by model and task alone and writes its files in place. Here a result lies under the
fingerprints of the model and of all that defines the task, and is written atomically; what is damaged is missing.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import mteb
import polars as pl
from mteb.abstasks import AbsTask
from mteb.results import TaskResult

from conan_assets.artifacts import fingerprint
from conan_assets.bucket.working_copy import bring, upload
from conan_assets.cleaning import mark_as_read
from conan_assets.evaluation.per_query import SCHEMA
from conan_assets.evaluation.report import EVALUATION_VERSION
from conan_assets.files import atomic_path
from conan_assets.integrity import digest_file, require_intact, seal, unseal
from conan_assets.progress import logger


@dataclass(frozen=True)
class TaskCost:
    """What a task took when it ran: seconds in all, texts that had to be encoded, seconds that encoding them took."""

    seconds: float
    texts_encoded: int
    encoding_seconds: float


class FinishedTask(NamedTuple):
    """A task's result, its scores per query, and what it took."""

    result: TaskResult
    queries: pl.DataFrame
    cost: TaskCost


class FinishedTasks:
    """The results of one model below ``root``."""

    def __init__(self, root: Path, model_fingerprint: str) -> None:
        self._folder = root / model_fingerprint
        mark_as_read(self._folder)

    def find(self, task: AbsTask) -> FinishedTask | None:
        """Return what is kept of ``task``, or None if it must be run."""
        scores_path, queries_path = self._paths(task)
        bring(queries_path, scores_path)
        if not scores_path.exists() or not queries_path.exists():
            return None
        try:
            kept = unseal(scores_path)
            require_intact(self._folder, {queries_path.name: kept["queries"]})
            result = TaskResult.model_validate(kept["result"])
            return FinishedTask(result, pl.read_parquet(queries_path).select(*SCHEMA), TaskCost(**kept["cost"]))
        except (ValueError, KeyError, TypeError, OSError, pl.exceptions.PolarsError) as error:
            logger.warning("%s cannot be used and is computed again: %s", scores_path, error)
            return None

    def save(self, task: AbsTask, finished: FinishedTask) -> None:
        """Keep what came out of ``task``."""
        scores_path, queries_path = self._paths(task)
        with atomic_path(queries_path) as path:
            finished.queries.write_parquet(path)
        kept = {
            "cost": asdict(finished.cost),
            "queries": digest_file(queries_path),
            "result": finished.result.model_dump(mode="json"),
        }
        with atomic_path(scores_path) as path:
            path.write_text(seal(kept), encoding="utf-8")
        upload(queries_path, scores_path)

    def _paths(self, task: AbsTask) -> tuple[Path, Path]:
        defined_by = (task.metadata.revision, list(task.eval_splits), list(task.hf_subsets), mteb.__version__)
        name = f"{task.metadata.name.replace('/', '__')}-{fingerprint(*defined_by, EVALUATION_VERSION)}"
        return self._folder / f"{name}.json", self._folder / f"{name}.queries.parquet"
