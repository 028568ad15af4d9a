"""Classification data as retrieval samples: same class is positive, other classes are negative (A; B, stage 2)."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from conan_assets.training.columns import Lists, StringColumn, TrainingDataError, names, read_table, texts
from conan_assets.training.samples import RetrievalSamples

CANDIDATES_PER_SAMPLE = 100
OTHERS_PER_CLASS = 10_000


def read_classification(path: Path) -> RetrievalSamples:
    """Return a sample for every text that is not alone in its class.

    Its positives are all texts of the class (a step draws one that is not the text itself), its candidates texts of
    the other classes of its dataset in random order. Equal labels of two datasets are two classes.
    """
    table = read_table(path, {"text": texts, "label": names}, {"dataset": names})
    named = [table[name].dictionary_encode().indices.to_numpy() for name in ("label", "dataset") if name in table]
    classes, labels = np.unique(np.stack(named), axis=1, return_inverse=True)
    datasets = classes[1] if len(classes) > 1 else np.zeros(classes.shape[1], np.int32)
    members = np.bincount(labels)
    if len(members) < 2:
        raise TrainingDataError(f"{path}: column label holds one class only; a negative needs another")
    order = np.argsort(labels, kind="stable").astype(np.int32)
    class_starts = np.cumsum(members) - members
    kept = np.flatnonzero(members[labels] > 1)
    ids = pa.array([f"{path.name}:{row}" for row in range(len(labels))], pa.large_string())
    return RetrievalSamples(
        texts=StringColumn(table["text"]),
        text_ids=StringColumn(ids),
        sample_ids=StringColumn(ids.take(pa.array(kept))),
        queries=StringColumn(table["text"].take(pa.array(kept))),
        positives=Lists(class_starts[labels[kept]], members[labels[kept]], order),
        candidates=_draw_others(labels, datasets, kept),
    )


def _draw_others(labels: np.ndarray, datasets: np.ndarray, kept: np.ndarray) -> Lists:
    """Return texts of the dataset's other classes: a random window per sample of one shuffled list per class.

    ``datasets`` holds each label's dataset.
    """
    generator = np.random.default_rng(0)
    others = [
        np.flatnonzero((labels != label) & (datasets[labels] == dataset)) for label, dataset in enumerate(datasets)
    ]
    shuffled = [generator.permutation(rows)[:OTHERS_PER_CLASS].astype(np.int32) for rows in others]
    lists = Lists.of(np.array([len(rows) for rows in shuffled]), np.concatenate(shuffled))
    available = lists.lengths[labels[kept]]
    lengths = np.minimum(available, CANDIDATES_PER_SAMPLE)
    return Lists(lists.starts[labels[kept]] + generator.integers(available - lengths + 1), lengths, lists.values)
