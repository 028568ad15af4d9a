import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from conan_assets.training.losses import cosent, cosines, drop_false_negatives, info_nce, kl_distillation, margin_mse


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


TEACHER = torch.tensor(
    [[0.9, 0.5, 0.2, 0.1], [0.6, 0.7, math.nan, 0.3], [0.8, math.nan, math.nan, math.nan]], dtype=torch.float64
)


def naive_kl(student: Tensor, teacher: Tensor, temperature: float, teacher_temperature: float) -> list[float]:
    losses = []
    for outputs, targets in zip(student.tolist(), teacher.tolist(), strict=True):
        known = [j for j, target in enumerate(targets) if not math.isnan(target)]
        p = [math.exp(targets[j] / teacher_temperature) for j in known]
        q = [math.exp(outputs[j] / temperature) for j in known]
        losses.append(sum(a / sum(p) * math.log(a / sum(p) / (b / sum(q))) for a, b in zip(p, q, strict=True)))
    return losses


def naive_margin_mse(student: Tensor, teacher: Tensor) -> list[float]:
    losses = []
    for outputs, targets in zip(student.tolist(), teacher.tolist(), strict=True):
        known = [j for j, target in enumerate(targets) if j > 0 and not math.isnan(target)]
        squares = [((outputs[0] - outputs[j]) - (targets[0] - targets[j])) ** 2 for j in known]
        losses.append(sum(squares) / max(1, len(squares)))
    return losses


@pytest.mark.parametrize("temperatures", [(0.1, 0.2), (1.0, 1.0)])
def test_kl_distillation_equals_its_formula(temperatures: tuple[float, float]):
    student = torch.tanh(embeddings(3, 4))
    expected = naive_kl(student, TEACHER, *temperatures)
    assert kl_distillation(student, TEACHER, *temperatures).tolist() == pytest.approx(expected)


def test_kl_distillation_is_zero_where_student_and_teacher_agree():
    assert kl_distillation(TEACHER.nan_to_num(), TEACHER, 0.1, 0.1).tolist() == pytest.approx([0, 0, 0])


def test_margin_mse_equals_its_formula():
    student = torch.tanh(embeddings(3, 4))
    assert margin_mse(student, TEACHER).tolist() == pytest.approx(naive_margin_mse(student, TEACHER))


def test_documents_above_the_positive_by_the_margin_are_dropped():
    scores = torch.tensor([[0.5, 0.59, 0.61, 0.2]])
    kept = drop_false_negatives(scores, torch.tensor([0]), torch.zeros(1, 4), 0.1)
    assert kept.isfinite().tolist() == [[True, True, False, True]]


def of_kl(left: Tensor, right: Tensor) -> Tensor:
    return kl_distillation(cosines(left, right[:4]), TEACHER, 0.5, 0.5).mean()


def of_margin_mse(left: Tensor, right: Tensor) -> Tensor:
    return margin_mse(cosines(left, right[:4]), TEACHER).mean()


@pytest.mark.parametrize("loss", [of_info_nce, of_cosent, of_kl, of_margin_mse])
def test_gradients_are_those_of_the_loss(loss: Callable[[Tensor, Tensor], Tensor]):
    left, right = embeddings(3, 6).requires_grad_(), embeddings(5, 6, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(loss, (left, right))


def test_a_document_that_counts_zero_times_gets_no_gradient():
    scores = torch.zeros(1, 3, requires_grad=True)
    info_nce(scores, torch.tensor([0]), torch.tensor([[0.0, 1.0, 0.0]]).log(), 0.1).sum().backward()
    assert scores.grad is not None
    assert scores.grad[0, 2] == 0
    assert scores.grad[0, 1] > 0
