"""What every asset of a programme takes, in the order of the graph, of its sizes and a device's rates."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Literal

from conan_assets.encoding.settings import EncoderSettings
from conan_assets.estimate.models import ModelShape
from conan_assets.estimate.rates import Rates
from conan_assets.estimate.sizes import Sizes
from conan_assets.evaluation.settings import LocalSuite
from conan_assets.search.settings import (
    BiEncoderTeacher,
    BM25Teacher,
    CrossEncoderTeacher,
    HybridTeacher,
    TeacherSettings,
)
from conan_assets.settings import Settings
from conan_assets.training.settings import CPU_ACTIVATIONS, TrainingSettings

SECONDS_OF_A_STEP = 1.0
"""What an asset takes before it does anything: it loads a model, checks what it reads, draws a picture."""
READ, CURATED, RANKED = 100_000, 12_000, 600_000
"""Rows a second of one core: read from a source, curated, written and read as a candidate (docs/scale.md)."""
INDEXED, LOOKED_AT = 38_000, 400e6
"""Of BM25, a second of one core: documents that it indexes, and that it looks at for all queries together."""
BYTES_OF_A_POSTING = 8
"""Of BM25's index, for every token of a document."""
BYTES_OF_A_PROCESS = 800 << 20
"""Of Python with torch, transformers and mteb and a small model, before it holds anything."""
BYTES_OF_A_CANDIDATE, BYTES_OF_A_READ_CANDIDATE = 20, 80
"""Of a row of teachers' scores and of hard negatives, as they lie on the disk and as a checkpoint reads the latter."""
BYTES_OF_A_CURATED_PAIR = 500
"""What curation remembers of a pair."""
KEY_BYTES = 16
"""Of a stored embedding, besides its components of two bytes."""
BYTES_OF_A_PARAMETER = 16
"""Weights, gradients and AdamW's two moments in float32."""


@dataclass(frozen=True)
class Planned:
    """What one asset takes.

    Attributes
    ----------
    rows
        Rows of its table; steps of a checkpoint; texts of a report.
    stored
        Bytes that it leaves on the disk, embeddings included.
    device_seconds, host_seconds
        Of the device that encodes, searches and trains, and of one core for the rest.
    memory
        Bytes of the host at its peak.
    requests, cost
        Of the LLM, and what they cost in the currency of the profile's prices.
    """

    asset: str
    rows: int
    stored: float
    device_seconds: float = 0.0
    host_seconds: float = 0.0
    memory: float = BYTES_OF_A_PROCESS
    requests: int = 0
    cost: float = 0.0


@dataclass(frozen=True)
class Work:
    """Seconds of a device and of one core, and bytes that are stored."""

    device: float = 0.0
    host: float = 0.0
    stored: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.device + other.device, self.host + other.host, self.stored + other.stored)


class Plan:
    """The assets of a programme and what they take; texts that an earlier asset encoded are not encoded again."""

    def __init__(self, settings: Settings, sizes: Sizes, rates: Rates, base: ModelShape, judged_texts: int = 0) -> None:
        self._settings = settings
        self._sizes = sizes
        self._rates = rates
        self._base = base
        self._judged_texts = judged_texts
        self._encoded: set[tuple[object, str]] = set()

    def assets(self, requests: int = 0, cost: float = 0.0) -> Iterator[Planned]:
        """Yield every asset; ``requests`` and ``cost`` are those of the pairs that an LLM writes."""
        settings, sizes = self._settings, self._sizes
        pairs = round(sizes.queries * sizes.positives) + sizes.sentence_pairs
        yield self._read("raw_corpus", sizes.documents, sizes.document_bytes)
        yield self._read("raw_pairs", pairs, sizes.pair_bytes)
        written = sizes.written_queries
        yield Planned("prompt_response_pairs", written, written * sizes.pair_bytes, requests=requests, cost=cost)
        memory = self._text_memory() + pairs * BYTES_OF_A_CURATED_PAIR
        yield Planned("training_pairs", pairs, pairs * sizes.pair_bytes, 0.0, pairs / CURATED, memory)
        yield self._checkpoint(0, (settings.pretraining,) if settings.pretraining else ())
        yield self._report(0)
        for name, teacher in settings.teachers.items():
            yield self._teacher(f"teacher_scores/{name}", teacher)
        for number in range(1, settings.rounds + 1):
            yield self._negatives(number)
            yield self._checkpoint(number, settings.training)
            yield self._report(number)

    def _read(self, name: str, rows: int, row_bytes: float) -> Planned:
        memory = BYTES_OF_A_PROCESS + (rows * self._sizes.text_bytes if name == "raw_corpus" else 0)
        return Planned(name, rows, rows * row_bytes, 0.0, SECONDS_OF_A_STEP + rows / READ, memory)

    def _teacher(self, name: str, teacher: TeacherSettings) -> Planned:
        sizes, work, memory = self._sizes, Work(), self._text_memory()
        rows = sizes.queries * teacher.depth
        if isinstance(teacher, BiEncoderTeacher | HybridTeacher):
            work += self._encode_and_search(teacher.encoder, teacher.encoder)
        if isinstance(teacher, BM25Teacher | HybridTeacher):
            work += Work(host=self._seconds_of_bm25(sizes.queries))
            memory += sizes.documents * sizes.tokens("document", None) * BYTES_OF_A_POSTING
        if isinstance(teacher, CrossEncoderTeacher):
            tokens = rows * (sizes.tokens("query", None) + sizes.tokens("document", teacher.max_tokens))
            work += self._encode(tokens, self._shape(teacher.model))
            work += self._encode_and_search(teacher.first_stage, teacher.first_stage) if teacher.first_stage else Work()
        return self._ranked(name, rows, work, memory)

    def _negatives(self, number: int) -> Planned:
        work = self._encode_and_search(self._model_before(number), self._settings.base_model)
        return self._ranked(f"round_{number}/hard_negatives", self._candidates, work, self._text_memory())

    def _ranked(self, name: str, rows: int, work: Work, memory: float) -> Planned:
        stored, host = work.stored + rows * BYTES_OF_A_CANDIDATE, SECONDS_OF_A_STEP + rows / RANKED + work.host
        return Planned(name, rows, stored, work.device, host, memory)

    def _checkpoint(self, number: int, stages: tuple[TrainingSettings, ...]) -> Planned:
        steps = [steps_of(stage, self._sizes) for stage in stages]
        tokens = sum(count * self._tokens_of_step(stage) for count, stage in zip(steps, stages, strict=True))
        weights = self._base.parameters + self._base.embeddings
        memory: float = BYTES_OF_A_PROCESS
        if stages:
            memory += weights * BYTES_OF_A_PARAMETER + 2 * CPU_ACTIVATIONS
            memory += self._candidates * BYTES_OF_A_READ_CANDIDATE if number else 0
        device, host = tokens / self._rates.trained, SECONDS_OF_A_STEP + tokens / self._rates.tokenized
        return Planned(f"round_{number}/checkpoint", sum(steps), 4 * weights, device, host, memory)

    def _report(self, number: int) -> Planned:
        suites = [suite for report in self._settings.suites.values() for suite in report.values()]
        tokens = self._judged_texts * self._sizes.tokens("document", self._settings.base_model.max_tokens)
        work, texts = self._encode(tokens, self._base), self._judged_texts
        if any(isinstance(suite, LocalSuite) for suite in suites):
            work += self._encode_and_search(self._model_before(number + 1), self._settings.base_model, "judged")
            work += Work(host=self._seconds_of_bm25(self._sizes.judged_queries))
            texts += self._sizes.judged_queries + self._sizes.documents
        host = SECONDS_OF_A_STEP * (1 + len(suites)) + texts / READ + work.host
        return Planned(f"round_{number}/reports", texts, work.stored, work.device, host, self._text_memory())

    def _model_before(self, number: int) -> object:
        """Return what tells the model that round ``number`` mines with from others."""
        if number == 1 and self._settings.pretraining is None:
            return self._settings.base_model
        return f"round {number - 1}"

    def _encode_and_search(
        self, model: object, encoder: EncoderSettings, asked: Literal["training", "judged"] = "training"
    ) -> Work:
        """Return the work of encoding what is not stored yet and of exact search."""
        sizes = self._sizes
        shape = self._shape(encoder.model)
        queries = sizes.queries if asked == "training" else sizes.judged_queries
        texts = {
            "document": sizes.documents * sizes.tokens("document", encoder.max_tokens),
            asked: queries * sizes.tokens("query", encoder.max_query_tokens or encoder.max_tokens),
        }
        new = [kind for kind in texts if (model, kind) not in self._encoded]
        self._encoded.update((model, kind) for kind in new)
        rows = sum(sizes.documents if kind == "document" else queries for kind in new)
        searched = sizes.documents * queries * shape.width / self._rates.multiplied
        stored = rows * (2 * shape.width + KEY_BYTES)
        return self._encode(sum(texts[kind] for kind in new), shape) + Work(device=searched, stored=stored)

    def _encode(self, tokens: float, shape: ModelShape) -> Work:
        device = tokens * shape.parameters / self._base.parameters / self._rates.encoded
        return Work(device, tokens / self._rates.tokenized)

    def _seconds_of_bm25(self, queries: int) -> float:
        return self._sizes.documents / INDEXED + self._sizes.documents * queries / LOOKED_AT

    @property
    def _candidates(self) -> int:
        """The rows of a round's hard negatives."""
        mining = self._settings.mining
        return self._sizes.queries * mining.depth * len(mining.candidates)

    def _shape(self, model: str) -> ModelShape:
        """Return a model's shape, that of the base model where it is not here."""
        return self._base if model == self._settings.base_model.model else ModelShape.of(model, self._base)

    def _tokens_of_step(self, stage: TrainingSettings) -> float:
        sizes, limit = self._sizes, stage.max_tokens
        documents = 1 + stage.negatives_per_query
        pairs = min(_sentence_pairs_of_step(stage, sizes), sizes.sentence_pairs)
        a_query = sizes.tokens("query", limit) + documents * sizes.tokens("document", limit)
        return stage.retrieval_batch_size * a_query + 2 * pairs * sizes.tokens("document", limit)

    def _text_memory(self) -> float:
        """Return the bytes of a stage that holds the corpus as a table and as a list."""
        return BYTES_OF_A_PROCESS + 2 * self._sizes.documents * self._sizes.text_bytes + 24 * self._sizes.queries


def steps_of(stage: TrainingSettings, sizes: Sizes) -> int:
    """Return the optimizer steps of a stage, without an early stop."""
    batches = max(sizes.queries, 1) / min(stage.retrieval_batch_size, max(sizes.queries, 1))
    steps = ceil(stage.epochs * batches)
    return min(steps, stage.max_steps or steps)


def _sentence_pairs_of_step(stage: TrainingSettings, sizes: Sizes) -> int:
    if stage.sts_batch_size == "even":
        return round(stage.retrieval_batch_size * sizes.sentence_pairs / max(sizes.queries, 1))
    return stage.sts_batch_size
