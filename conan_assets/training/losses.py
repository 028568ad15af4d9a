"""The losses, as pure functions of cosines; equations are those of Conan-embedding (A) and of the papers named.

Losses of a query come one per query, so that whoever calls can average them and name the query that went wrong.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def cosines(left: Tensor, right: Tensor) -> Tensor:
    """Return the cosine of every row of ``left`` (n, dim) and every row of ``right`` (m, dim), shape (n, m)."""
    return normalize(left, dim=1) @ normalize(right, dim=1).T


def info_nce(scores: Tensor, positive: Tensor, log_weights: Tensor, temperature: float) -> Tensor:
    """Return each query's InfoNCE loss, shape (queries,): A 3.2 and 3.3, equations 1 and 3.

    ``-log( e^{s_p / tau} / (e^{s_p / tau} + sum_j w_j e^{s_j / tau}) )``

    Parameters
    ----------
    scores
        Cosines of queries and documents, shape (queries, documents).
    positive
        The column of each query's positive, shape (queries,).
    log_weights
        Logarithm of how many times a document stands among the query's negatives, shape (queries, documents):
        0 for once, minus infinity for documents that are no negatives of it. The positive's own entry is not read.
    temperature
        tau.
    """
    target = positive[:, None]
    logits = scores / temperature + log_weights.scatter(1, target, 0.0)
    return logits.logsumexp(dim=1) - logits.gather(1, target)[:, 0]


def cosent(scores: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return the CoSENT loss of STS pairs, a scalar: A 3.3, equation 2.

    ``log(1 + sum over pairs a, b with label_a > label_b of e^{(cos_b - cos_a) / tau})``. Equal labels add nothing.

    Parameters
    ----------
    scores
        Cosine of each pair, shape (pairs,).
    labels
        Graded similarity of each pair on any scale, shape (pairs,).
    temperature
        tau.
    """
    differences = (scores[None, :] - scores[:, None]) / temperature
    disordered = differences[labels[:, None] > labels[None, :]]
    return torch.cat([disordered.new_zeros(1), disordered]).logsumexp(dim=0)


def drop_false_negatives(scores: Tensor, positive: Tensor, log_weights: Tensor, margin: float) -> Tensor:
    """Return ``log_weights`` without documents that score above the query's positive by more than ``margin``.

    Parameters
    ----------
    scores, positive, log_weights
        As in :func:`info_nce`.
    margin
        0.1 in Qwen3-Embedding (arXiv 2506.05176).
    """
    suspicious = scores.detach() > scores.detach().gather(1, positive[:, None]) + margin
    return log_weights.masked_fill(suspicious, -torch.inf)


def kl_distillation(student: Tensor, teacher: Tensor, temperature: float, teacher_temperature: float) -> Tensor:
    """Return the divergence of the student's from the teacher's ranking of each query's documents, shape (queries,).

    ``KL(p || q) = sum_j p_j log(p_j / q_j)`` with ``p = softmax(teacher / teacher_temperature)`` and
    ``q = softmax(student / temperature)`` over a query's positive and negatives.

    Parameters
    ----------
    student, teacher
        Scores of each query's positive (first) and negatives, shape (queries, 1 + n); NaN in ``teacher`` for none.
    temperature, teacher_temperature
        Divisors of the student's and of the teacher's scores.
    """
    missing = teacher.isnan()
    targets = _log_softmax(teacher.nan_to_num() / teacher_temperature, missing)
    outputs = _log_softmax(student / temperature, missing)
    return (targets.exp() * (targets - outputs)).masked_fill(missing, 0.0).sum(dim=1)


def margin_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Return each query's squared difference of margins, shape (queries,): MarginMSE (arXiv 2010.02666), equation 2.

    The mean over negatives of ``((s_p - s_n) - (t_p - t_n))^2``; zero for a query without negatives.

    Parameters
    ----------
    student, teacher
        As in :func:`kl_distillation`, on the same scale.
    """
    margins = teacher[:, :1] - teacher[:, 1:]
    missing = margins.isnan()
    squares = (student[:, :1] - student[:, 1:] - margins).masked_fill(missing, 0.0).square()
    return squares.sum(dim=1) / (~missing).sum(dim=1).clamp(min=1)


def _log_softmax(scores: Tensor, missing: Tensor) -> Tensor:
    """Return the row-wise log-softmax over what is not missing; 0 elsewhere and in rows where all is missing."""
    floor = torch.finfo(scores.dtype).min
    return scores.masked_fill(missing, floor).log_softmax(dim=1).masked_fill(missing, 0.0)
