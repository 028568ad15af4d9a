"""The encoder as mteb sees it."""

import mteb
import numpy as np
import pytest
from mteb.results.task_result import TaskResult

from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.encoding.store import EmbeddingStore
from conan_assets.evaluation.bm25_model import BM25Model
from conan_assets.evaluation.search import top_k
from conan_assets.evaluation.settings import EvaluationError
from conan_assets.evaluation.stored_model import StoredModel
from conan_assets_tests.evaluation.plain import plain_model

pytestmark = pytest.mark.slow


def text_results(results):
    return {name: result for name, result in results.items() if result is not None}


def test_every_text_task_of_mteb_runs_and_scores_as_with_a_plain_sentence_transformer(encoder, store, tiny_model):
    ours = text_results(mteb.mock_run(StoredModel(encoder, store)))
    plain = text_results(mteb.mock_run(mteb.models.SentenceTransformerEncoderWrapper(plain_model(tiny_model))))
    failed = {name: result for name, result in ours.items() if not isinstance(result, TaskResult)}
    assert not failed
    assert len(ours) >= 28
    for name, result in ours.items():
        assert main_scores(result) == pytest.approx(main_scores(plain[name]), abs=1e-6), name


def main_scores(result: TaskResult) -> list[float]:
    return [scores["main_score"] for split in sorted(result.scores) for scores in result.scores[split]]


def test_bm25_runs_every_search_task_of_mteb():
    results = text_results(mteb.mock_run(BM25Model()))
    assert results
    assert all(isinstance(result, TaskResult) for result in results.values())


def test_name_and_revision_change_with_weights_prompt_length_and_type(encoder, store, tiny_model, tmp_path):
    others = [
        Encoder(EncoderSettings(tiny_model, dtype="float32", query_prompt="query: "), device="cpu"),
        Encoder(EncoderSettings(tiny_model, dtype="float32", max_tokens=8), device="cpu"),
        Encoder(EncoderSettings(tiny_model, dtype="bfloat16"), device="cpu"),
    ]
    models = [StoredModel(each, store) for each in (encoder, *others)]
    models.append(StoredModel(encoder, EmbeddingStore(tmp_path, dtype="float16")))
    assert len({model.mteb_model_meta.revision for model in models}) == 5
    assert all(encoder.weights_fingerprint in model.mteb_model_meta.name for model in models)


def test_a_reranking_task_without_candidates_is_refused(encoder, store):
    from datasets import Dataset
    from mteb.mocks import MockRerankingTask

    model = StoredModel(encoder, store)
    model.index(Dataset.from_dict({"id": ["a"], "text": ["apple"]}))
    queries = Dataset.from_dict({"id": ["q"], "text": ["pear"]})
    with pytest.raises(EvaluationError, match="lists no candidates"):
        model.search(queries, task_metadata=MockRerankingTask.metadata, hf_split="test", hf_subset="default", top_k=1)


def test_the_blockwise_search_finds_what_one_matrix_product_finds(encoder, store, monkeypatch):
    monkeypatch.setattr("conan_assets.evaluation.search.DOCUMENTS_PER_BLOCK", 7)
    monkeypatch.setattr("conan_assets.evaluation.search.QUERIES_PER_BLOCK", 4)
    texts = [f"text {number} about {'cats' if number % 3 else 'dogs'}" for number in range(50)]
    documents = store.embed(encoder, texts, "document")
    queries = store.embed(encoder, [f"question {number}" for number in range(9)], "query")
    scores, positions = top_k(queries, documents, 11)
    expected = queries.block(0, 9) @ documents.block(0, 50).T
    order = np.argsort(-expected, axis=1, kind="stable")[:, :11]
    assert np.allclose(scores, np.take_along_axis(expected, order, axis=1), atol=1e-5)
    assert np.allclose(np.take_along_axis(expected, positions, axis=1), scores, atol=1e-5)


def test_asking_for_more_documents_than_there_are_returns_all(encoder, store):
    documents = store.embed(encoder, ["one", "two", "three"], "document")
    _, positions = top_k(store.embed(encoder, ["two"], "query"), documents, 10)
    assert sorted(positions[0].tolist()) == [0, 1, 2]
