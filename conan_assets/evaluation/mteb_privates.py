"""All that is used of mteb beyond its public interface, tried with the versions that pyproject.toml allows."""

from collections.abc import Iterable
from typing import Any, TypeVar

from datasets import Dataset
from mteb._create_dataloaders import create_dataloader
from mteb.abstasks import AbsTask
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.get_tasks import _TASKS_REGISTRY
from mteb.types import PromptType

TEXTS_PER_BATCH = 1_024

Task = TypeVar("Task", bound=AbsTask)


def registered_task(base: type[Task], metadata: TaskMetadata, **members: object) -> Task:
    """Return a task of one's own, an instance of ``base``, that mteb knows by its name: aggregation looks it up."""
    task_class = type(metadata.name, (base,), {"metadata": metadata, **members})
    _TASKS_REGISTRY[metadata.name] = task_class
    task: Task = task_class()
    return task


def document_texts(corpus: Dataset) -> list[str]:
    """Return the text of every document, its title before its text, as mteb and mining put them together."""
    titles = corpus["title"] if "title" in corpus.column_names else [None] * len(corpus)
    return [f"{title or ''} {text}".strip() for title, text in zip(titles, corpus["text"], strict=True)]


def query_texts(queries: Dataset, metadata: TaskMetadata) -> list[str]:
    """Return the text of every query; mteb puts instructions and conversations into it."""
    loader = create_dataloader(
        queries, task_metadata=metadata, prompt_type=PromptType.query, batch_size=TEXTS_PER_BATCH
    )
    return loaded_texts(loader)


def loaded_texts(loader: Iterable[Any]) -> list[str]:
    """Return all texts that a data loader of mteb yields."""
    return [text for batch in loader for text in batch["text"]]
