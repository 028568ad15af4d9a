"""The only place that reaches below Dagster's public interface; its version is capped at the minor that was tried."""

from dagster._core.errors import DagsterPipesExecutionError
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord
from dagster._core.storage.runs import SqliteRunStorage
from dagster._utils.error import SerializableErrorInfo

__all__ = ["AssetCheckExecutionRecord", "DagsterPipesExecutionError", "SerializableErrorInfo", "SqliteRunStorage"]
