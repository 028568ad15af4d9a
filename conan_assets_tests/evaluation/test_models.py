"""The encoder as mteb sees it."""

import mteb
import pytest
from mteb.results.task_result import TaskResult

from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.encoding.store import EmbeddingStore
from conan_assets.evaluation.models import EncoderModel
from conan_assets.evaluation.settings import EvaluationError
from conan_assets_tests.evaluation.conftest import bm25
from conan_assets_tests.evaluation.plain import plain_model

pytestmark = pytest.mark.slow


def text_results(results):
    return {name: result for name, result in results.items() if result is not None}


def test_every_text_task_of_mteb_runs_and_scores_as_with_a_plain_sentence_transformer(encoder, store, tiny_model):
    ours = text_results(mteb.mock_run(EncoderModel(encoder, store)))
    plain = text_results(mteb.mock_run(mteb.models.SentenceTransformerEncoderWrapper(plain_model(tiny_model))))
    failed = {name: result for name, result in ours.items() if not isinstance(result, TaskResult)}
    assert not failed
    assert len(ours) >= 28
    for name, result in ours.items():
        assert main_scores(result) == pytest.approx(main_scores(plain[name]), abs=1e-6), name


def main_scores(result: TaskResult) -> list[float]:
    return [scores["main_score"] for split in sorted(result.scores) for scores in result.scores[split]]


def test_bm25_runs_every_search_task_of_mteb():
    results = text_results(mteb.mock_run(bm25()))
    assert results
    assert all(isinstance(result, TaskResult) for result in results.values())


def test_name_and_revision_change_with_weights_prompt_length_and_type(encoder, store, tiny_model, tmp_path):
    others = [
        Encoder(EncoderSettings(tiny_model, dtype="float32", query_prompt="query: "), device="cpu"),
        Encoder(EncoderSettings(tiny_model, dtype="float32", max_tokens=8), device="cpu"),
        Encoder(EncoderSettings(tiny_model, dtype="bfloat16"), device="cpu"),
    ]
    models = [EncoderModel(each, store) for each in (encoder, *others)]
    models.append(EncoderModel(encoder, EmbeddingStore(tmp_path, dtype="float16")))
    assert len({model.mteb_model_meta.revision for model in models}) == 5
    assert all(encoder.weights_fingerprint in model.mteb_model_meta.name for model in models)


def test_a_reranking_task_without_candidates_is_refused(encoder, store):
    from datasets import Dataset
    from mteb.mocks import MockRerankingTask

    model = EncoderModel(encoder, store)
    model.index(Dataset.from_dict({"id": ["a"], "text": ["apple"]}))
    queries = Dataset.from_dict({"id": ["q"], "text": ["pear"]})
    with pytest.raises(EvaluationError, match="lists no candidates"):
        model.search(queries, task_metadata=MockRerankingTask.metadata, hf_split="test", hf_subset="default", top_k=1)
