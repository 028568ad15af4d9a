"""Small training data over the letters that the tiny model knows."""

import random
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from conan_assets.encoding.settings import EncoderSettings
from conan_assets.training.config import TrainingConfig
from conan_assets.training.settings import TrainingSettings

Sample = tuple[str, str, list[str], list[str]]


def write_texts(folder: Path, texts: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table = {"text_id": pa.array(texts, pa.string()), "text": pa.array(texts.values(), pa.string())}
    pq.write_table(pa.table(table), folder / "texts.parquet")


def write_retrieval(folder: Path, samples: Sequence[Sample], name: str = "retrieval.parquet") -> None:
    """Write (sample_id, query, positives, candidates) rows."""
    ids = pa.list_(pa.string())
    columns = {"sample_id": pa.string(), "query": pa.string(), "positives": ids, "candidates": ids}
    table = {name: pa.array([row[i] for row in samples], dtype) for i, (name, dtype) in enumerate(columns.items())}
    pq.write_table(pa.table(table), folder / name)


def write_sts(folder: Path, pairs: Sequence[tuple[str, str, float]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    columns = {"text_a": pa.string(), "text_b": pa.string(), "score": pa.float32()}
    table = {name: pa.array([row[i] for row in pairs], dtype) for i, (name, dtype) in enumerate(columns.items())}
    pq.write_table(pa.table(table), folder / "sts.parquet")


def write_random_data(folder: Path, samples: int = 24, pool: int = 12, sts: int = 0, seed: int = 0) -> None:
    """Write queries that are words of their positive, pools of other documents, and STS pairs by shared words."""
    generator = random.Random(seed)
    words = ["".join(generator.choices("abcdefghijklmnopqrstuvwxyz", k=4)) for _ in range(60)]
    texts = {f"t{i}": " ".join(generator.choices(words, k=generator.randint(2, 9))) for i in range(3 * samples)}
    write_texts(folder, texts)
    rows: list[Sample] = []
    for i in range(samples):
        others = [f"t{j}" for j in generator.sample(range(3 * samples), pool) if j != i]
        rows.append((f"s{i}", " ".join(texts[f"t{i}"].split()[:2]), [f"t{i}"], others))
    write_retrieval(folder, rows)
    pairs = []
    for _ in range(sts):
        left, kept = generator.choices(words, k=5), generator.randint(0, 5)
        pairs.append((" ".join(left), " ".join(left[:kept] + generator.choices(words, k=5 - kept)), float(kept)))
    write_sts(folder, pairs)


def make_config(directory: Path, model: str, *stages: TrainingSettings) -> TrainingConfig:
    return TrainingConfig(directory, EncoderSettings(model), stages)
