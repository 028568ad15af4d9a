"""Results of single tasks on disk, so that a killed evaluation goes on where it stopped.

mteb's own cache tells runs apart by model and task alone and writes its files in place. Here a result lies under the
fingerprint of the model, names the revision of its data, and is written atomically; what cannot be read is missing.
"""

from pathlib import Path

import mteb
import polars as pl
from mteb.abstasks import AbsTask
from mteb.results import TaskResult

from conan_assets.artifacts import atomic_path
from conan_assets.progress import logger


class FinishedTasks:
    """The results of one model below ``root``."""

    def __init__(self, root: Path, model_fingerprint: str) -> None:
        self._folder = root / model_fingerprint

    def find(self, task: AbsTask) -> tuple[TaskResult, pl.DataFrame] | None:
        """Return the result and the scores per query of ``task``, or None if it must be run."""
        scores_path, queries_path = self._paths(task)
        if not scores_path.exists() or not queries_path.exists():
            return None
        try:
            result = TaskResult.from_disk(scores_path)
            queries = pl.read_parquet(queries_path)
        except (ValueError, KeyError, OSError, pl.exceptions.PolarsError) as error:
            logger.warning("%s cannot be read and is computed again: %s", scores_path, error)
            return None
        same_data = result.dataset_revision == task.metadata.revision and set(result.scores) == set(task.eval_splits)
        return (result, queries) if same_data and result.mteb_version == mteb.__version__ else None

    def save(self, task: AbsTask, result: TaskResult, queries: pl.DataFrame) -> None:
        """Keep the result and the scores per query of ``task``."""
        scores_path, queries_path = self._paths(task)
        with atomic_path(queries_path) as path:
            queries.write_parquet(path)
        with atomic_path(scores_path) as path:
            result.to_disk(path)

    def _paths(self, task: AbsTask) -> tuple[Path, Path]:
        name = task.metadata.name.replace("/", "__")
        return self._folder / f"{name}.json", self._folder / f"{name}.queries.parquet"
