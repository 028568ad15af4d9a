import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from conan_assets.training.losses import cosent, cosines, info_nce


def embeddings(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


POSITIVE = torch.tensor([0, 1, 0])
COUNTS = torch.tensor([[0, 1, 2, 1], [1, 0, 0, 1], [0, 0, 1, 3]], dtype=torch.float64)
LABELS = torch.tensor([0.2, 0.9, 0.9, 0.1, 0.5], dtype=torch.float64)


def naive_info_nce(queries: Tensor, documents: Tensor, temperature: float) -> list[float]:
    losses = []
    for i, query in enumerate(queries):
        cosine = [float(query @ doc / query.norm() / doc.norm()) for doc in documents]
        positive = math.exp(cosine[POSITIVE[i]] / temperature)
        negatives = sum(float(COUNTS[i, j]) * math.exp(cosine[j] / temperature) for j in range(len(documents)))
        losses.append(-math.log(positive / (positive + negatives)))
    return losses


def naive_cosent(scores: Tensor, temperature: float) -> float:
    total = 1.0
    for i, higher in enumerate(LABELS):
        for j, lower in enumerate(LABELS):
            if higher > lower:
                total += math.exp(float(scores[j] - scores[i]) / temperature)
    return math.log(total)


def test_cosines_equal_their_definition():
    left, right = embeddings(3, 5), embeddings(4, 5, seed=1)
    expected = [[float(a @ b / a.norm() / b.norm()) for b in right] for a in left]
    torch.testing.assert_close(cosines(left, right), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("temperature", [0.02, 1.0])
def test_info_nce_equals_its_formula(temperature: float):
    queries, documents = embeddings(3, 8), embeddings(4, 8, seed=1)
    loss = info_nce(cosines(queries, documents), POSITIVE, COUNTS.log(), temperature)
    assert loss.tolist() == pytest.approx(naive_info_nce(queries, documents, temperature))


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_cosent_equals_its_formula(temperature: float):
    scores = torch.tanh(embeddings(5))
    assert float(cosent(scores, LABELS, temperature)) == pytest.approx(naive_cosent(scores, temperature))


def test_cosent_of_equal_labels_is_zero():
    assert float(cosent(embeddings(4), torch.ones(4), 0.05)) == 0.0


def of_info_nce(left: Tensor, right: Tensor) -> Tensor:
    return info_nce(cosines(left, right[:4]), POSITIVE, COUNTS.log(), 0.5).mean()


def of_cosent(left: Tensor, right: Tensor) -> Tensor:
    return cosent(torch.cosine_similarity(right, right.roll(1, 0)) + left.sum(), LABELS, 0.5)


@pytest.mark.parametrize("loss", [of_info_nce, of_cosent])
def test_gradients_are_those_of_the_loss(loss: Callable[[Tensor, Tensor], Tensor]):
    left, right = embeddings(3, 6).requires_grad_(), embeddings(5, 6, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(loss, (left, right))


def test_a_document_that_counts_zero_times_gets_no_gradient():
    scores = torch.zeros(1, 3, requires_grad=True)
    info_nce(scores, torch.tensor([0]), torch.tensor([[0.0, 1.0, 0.0]]).log(), 0.1).sum().backward()
    assert scores.grad is not None
    assert scores.grad[0, 2] == 0
    assert scores.grad[0, 1] > 0
