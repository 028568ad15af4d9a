"""What a server answers, beside what the released model gives: the same vectors, and the same documents found."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from conan_assets.encoding.encoder import Encoder, Role
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.evaluation.sampled_task import SampledTask
from conan_assets.evaluation.server import Server, ServerError
from conan_assets.evaluation.settings import ServerSettings

LENGTHS = (0.99, 1.01)
"""How long a vector of length 1 may be where a server computes in half precision."""
LOOKED_AT = 16


@dataclass(frozen=True, kw_only=True)
class ServedVectors:
    """The cosines of a role's served vectors to the release's, and the lengths of the served ones."""

    role: Role
    texts: int
    lowest_cosine: float
    mean_cosine: float
    shortest: float
    longest: float


@dataclass(frozen=True, kw_only=True)
class ServedReport:
    """What came of asking a server; nDCG@10 is of one sample with both vectors; ``drift`` says what is off."""

    server: str
    vectors: list[ServedVectors]
    queries: int
    documents: int
    ndcg_at_10_of_the_release: float
    ndcg_at_10_served: float
    drift: list[str]


def compare_served(server: Server, release: Path, task: SampledTask, limits: ServerSettings) -> ServedReport:
    """Ask a server for the vectors of a sample and compare them with those of the released model in float32.

    Raises
    ------
    ServerError
        It gives no embeddings, or some of another dimension.
    """
    encoder = Encoder(EncoderSettings(str(release), dtype="float32"))
    texts: dict[Role, Sequence[str]] = {"query": task.queries, "document": task.documents}
    served, expected = {}, {}
    for role, each in texts.items():
        served[role], expected[role] = server.embed(each, role), encoder.encode(each, role)
        if served[role].shape != expected[role].shape:
            raise ServerError(
                f"the server at {server.url} gives vectors of {served[role].shape[1]} components, the release "
                f"{expected[role].shape[1]}: it serves another model, or cuts its vectors"
            )
    vectors = [_vectors(role, served[role], expected[role]) for role in texts]
    drift = [_of_lengths(row) for row in vectors if not LENGTHS[0] <= row.shortest <= row.longest <= LENGTHS[1]]
    for row in vectors:
        if row.lowest_cosine < limits.lowest_cosine:
            cause = _cause(encoder, row.role, texts[row.role], served[row.role], limits.lowest_cosine)
            drift.append(f"{_of_cosines(row)}, below {limits.lowest_cosine}: {cause}")
    ours = task.ndcg(expected["query"], expected["document"])
    theirs = task.ndcg(served["query"], served["document"])
    if theirs < ours - limits.largest_drop:
        drift.append(f"nDCG@10 is {100 * theirs:.2f} points with served vectors, {100 * ours:.2f} with the release's")
    return ServedReport(
        server=server.url,
        vectors=vectors,
        queries=len(task.queries),
        documents=len(task.documents),
        ndcg_at_10_of_the_release=ours,
        ndcg_at_10_served=theirs,
        drift=drift,
    )


def _cosines(served: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the cosine of each served row to the expected one of length 1, -1 where it is no number."""
    lengths = np.maximum(np.linalg.norm(served, axis=1), np.finfo(np.float32).tiny)
    cosines: np.ndarray = np.nan_to_num((served * expected).sum(axis=1) / lengths, nan=-1.0)
    return cosines


def _vectors(role: Role, served: np.ndarray, expected: np.ndarray) -> ServedVectors:
    cosines, lengths = _cosines(served, expected), np.nan_to_num(np.linalg.norm(served, axis=1))
    return ServedVectors(
        role=role,
        texts=len(served),
        lowest_cosine=float(cosines.min()),
        mean_cosine=float(cosines.mean()),
        shortest=float(lengths.min()),
        longest=float(lengths.max()),
    )


def _of_cosines(row: ServedVectors) -> str:
    return (
        f"the cosine of {row.role} vectors to the release's is {row.lowest_cosine:.4f} at the lowest and "
        f"{row.mean_cosine:.4f} in the mean"
    )


def _of_lengths(row: ServedVectors) -> str:
    return (
        f"{row.role} vectors have lengths from {row.shortest:.3f} to {row.longest:.3f} and not 1, by which an index of "
        "dot products would rank"
    )


def _cause(encoder: Encoder, role: Role, texts: Sequence[str], served: np.ndarray, lowest_cosine: float) -> str:
    """Return what is wrong with the prompt, if the served vectors are those of another one."""
    some, right = texts[:LOOKED_AT], encoder.prompt(role)
    other: Role = "document" if role == "query" else "query"
    causes = {
        encoder.prompt(other): f"the prompt of the {other} is put before them",
        right + right: "their prompt is put twice",
        "": "their prompt is left out",
    }
    bare = Encoder(replace(encoder.settings, query_prompt=""))
    for prompt, cause in causes.items():
        guessed = bare.encode([prompt + text for text in some], "query")
        if prompt != right and _cosines(served[: len(some)], guessed).min() >= lowest_cosine:
            return cause
    return "another pooling, other weights, or texts cut elsewhere"
