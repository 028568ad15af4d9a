"""The losses, as pure functions of cosines; equations are those of Conan-embedding (A) and of the papers named.

Losses of a query come one per query, so that whoever calls can average them and name the query that went wrong.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def cosines(left: Tensor, right: Tensor) -> Tensor:
    """Return the cosine of every row of ``left`` (n, dim) and every row of ``right`` (m, dim), shape (n, m)."""
    return normalize(left, dim=1) @ normalize(right, dim=1).T


def info_nce(
    scores: Tensor, positive: Tensor, log_weights: Tensor, temperature: float
) -> Tensor:
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
