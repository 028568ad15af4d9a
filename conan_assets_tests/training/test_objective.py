from dataclasses import replace

import numpy as np
import pytest
import torch

from conan_assets.training.batches import Batch, StsBatch
from conan_assets.training.losses import cosent, cosines, info_nce
from conan_assets.training.objective import batch_loss, matryoshka_shares
from conan_assets.training.retrieval_batch import RetrievalBatch
from conan_assets.training.settings import DynamicNegativeSettings, TrainingSettings

RETRIEVAL = RetrievalBatch(
    samples=np.array([0, 1]),
    queries=np.array([0, 1]),
    documents=np.array([2, 3, 4]),
    positive=np.array([0, 1]),
    negatives=np.array([[2, -1], [0, 2]]),
    swapped_in=np.array([[False, False], [True, False]]),
    counts=np.array([[0, 1, 1], [1, 0, 2]], np.float32),
    teacher=np.array([[0.9, 0.3, np.nan], [0.8, 0.7, 0.1]], np.float32),
)
STS = StsBatch(np.array([0, 5, 1]), np.array([5, 1, 2]), np.array([1.0, 0.0, 0.5], np.float32), np.arange(3))
BATCH = Batch([(0, str(i)) for i in range(6)], 5, RETRIEVAL, STS)
UNGUARDED = TrainingSettings(dynamic_negatives=DynamicNegativeSettings(guard=False))


def embeddings(seed: int = 0) -> torch.Tensor:
    return torch.randn(6, 8, generator=torch.Generator().manual_seed(seed))


def test_the_total_is_retrieval_plus_beta_times_sts():
    vectors = embeddings()
    loss = batch_loss(vectors, BATCH, UNGUARDED)
    retrieval = info_nce(
        cosines(vectors[:2], vectors[2:5]), torch.tensor([0, 1]), torch.tensor(RETRIEVAL.counts).log(), 0.02
    )
    pairs = torch.cosine_similarity(vectors[[0, 5, 1]], vectors[[5, 1, 2]])
    sts = cosent(pairs, torch.tensor([1.0, 0.0, 0.5]), 0.05)
    torch.testing.assert_close(loss.total, retrieval.mean() + 0.8 * sts)
    assert loss.parts.keys() == {"info_nce", "cosent"}


def test_own_scores_are_the_positive_and_the_own_negatives():
    vectors = embeddings()
    scores = batch_loss(vectors, BATCH, UNGUARDED).scores
    every = cosines(vectors[:2], vectors[2:5])
    expected = torch.stack([torch.tensor([every[0, 0], every[0, 2], torch.nan]), every[1, [1, 0, 2]]])
    assert scores is not None
    torch.testing.assert_close(scores, expected, equal_nan=True)


def test_a_swapped_in_negative_above_the_positive_is_left_out_of_the_loss():
    vectors = embeddings()
    vectors[2] = vectors[1]
    guarded = batch_loss(vectors, BATCH, replace(UNGUARDED, dynamic_negatives=DynamicNegativeSettings()))
    without = replace(RETRIEVAL, counts=np.array([[0, 1, 1], [0, 0, 2]], np.float32))
    expected = batch_loss(vectors, replace(BATCH, retrieval=without), UNGUARDED)
    torch.testing.assert_close(guarded.total, expected.total)
    assert batch_loss(vectors, BATCH, UNGUARDED).total > guarded.total


def test_a_false_negative_margin_leaves_out_documents_of_any_kind():
    vectors = embeddings()
    vectors[3] = vectors[0]
    guarded = batch_loss(vectors, BATCH, replace(UNGUARDED, false_negative_margin=0.1)).parts["info_nce"]
    assert guarded < batch_loss(vectors, BATCH, UNGUARDED).parts["info_nce"]


def test_matryoshka_is_the_weighted_mean_over_lengths():
    vectors = embeddings()
    settings = replace(UNGUARDED, matryoshka_dims=(4, 8), matryoshka_weights=(3.0, 1.0))
    expected = (
        0.75 * batch_loss(vectors[:, :4], BATCH, UNGUARDED).total + 0.25 * batch_loss(vectors, BATCH, UNGUARDED).total
    )
    torch.testing.assert_close(batch_loss(vectors, BATCH, settings).total, expected)


def test_the_full_length_is_always_among_matryoshka_dims():
    settings = TrainingSettings(matryoshka_dims=(64, 16, 512))
    assert matryoshka_shares(128, settings) == {16: 1 / 3, 64: 1 / 3, 128: 1 / 3}


def test_distillation_joins_at_its_weight():
    vectors = embeddings()
    settings = replace(UNGUARDED, losses={"info_nce": 1.0, "kl_distillation": 0.5, "margin_mse": 2.0})
    loss = batch_loss(vectors, BATCH, settings)
    expected = loss.parts["info_nce"] + 0.5 * loss.parts["kl_distillation"] + 2.0 * loss.parts["margin_mse"]
    assert float(loss.total) == pytest.approx(float(expected))
    assert loss.parts["margin_mse"] > 0


def test_broken_embeddings_do_not_hide_in_the_distillation_losses():
    vectors = embeddings()
    vectors[4] = torch.nan
    for name in ("kl_distillation", "margin_mse"):
        assert not batch_loss(vectors, BATCH, replace(UNGUARDED, losses={name: 1.0})).total.isfinite()


@pytest.mark.parametrize(
    "settings",
    [
        UNGUARDED,
        replace(
            UNGUARDED,
            temperature=0.5,
            losses={"info_nce": 1.0, "kl_distillation": 1.0, "margin_mse": 1.0, "cosent": 0.8},
        ),
        replace(UNGUARDED, temperature=0.5, matryoshka_dims=(2, 4)),
    ],
)
def test_the_gradient_of_the_whole_objective_is_right(settings: TrainingSettings):
    vectors = embeddings().double().requires_grad_()
    assert torch.autograd.gradcheck(lambda inputs: batch_loss(inputs, BATCH, settings).total, (vectors,))
