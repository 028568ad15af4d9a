"""What mteb itself makes of a task with a plain SentenceTransformer: what our figures must equal.

Embeddings of unit length are what is stored, mined with and scored here, so the plain model ends in a Normalize module.
"""

import mteb
from mteb.abstasks import AbsTask
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Normalize

ONE_PREDICTION = 1e-3


def plain_model(model: str, max_tokens: int | None = None) -> SentenceTransformer:
    """Return the model as sentence-transformers loads it, with a Normalize module at its end."""
    plain = SentenceTransformer(model, device="cpu")
    plain.append(Normalize())
    plain.max_seq_length = max_tokens or plain.max_seq_length
    return plain


def plain_scores(model: SentenceTransformer, task: AbsTask) -> dict[tuple[str, str, str], float]:
    """Return every score of mteb by split, subset and metric."""
    results = mteb.evaluate(model, task, cache=None, co2_tracker=False, show_progress_bar=False)
    return {
        (split, scores["hf_subset"], metric): value
        for split, subsets in results.task_results[0].scores.items()
        for scores in subsets
        for metric, value in scores.items()
    }


def assert_equal_to_plain(rows: list[dict], plain: dict[tuple[str, str, str], float]) -> None:
    """Assert that a task's rows hold mteb's own scores, to the decimals that a report has.

    Batches of other texts differ in the last bit of an embedding, and that may turn one of a classifier's predictions.
    """
    assert rows
    for row in rows:
        tolerance = ONE_PREDICTION if row.type == "Classification" else 1e-6
        expected = plain[row.split, row.subset, row.metric]
        assert abs(row.value - expected) <= tolerance, (row.task, row.metric, row.value, expected)
