"""How much of a GPU is used, in at most 8 minutes: ``python -m benchmarks.gpu [--tokens 512] [--steps 12]``.

Encoding, a training step with and without the gradient cache, and exact search, each beside sentence-transformers and
beside the rate of bare bfloat16 products on this device; models of the shapes of all-MiniLM-L6-v2 ("22M") and e5-large
("335M") with random weights, texts of made-up words. It needs no network, no data frames and no index: torch,
transformers, sentence-transformers, accelerate, peft, numpy, pyarrow and pydantic. On a CPU, where it only shows that
it runs, give ``--tokens 32 --texts 64 --steps 4 --documents 5000 --shapes 22M``.

Ends with one line of JSON: tokens per second of each, and the share of the bare rate that their arithmetic is.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer
from sentence_transformers.util import semantic_search
from transformers import BertConfig, BertModel, BertTokenizerFast

from benchmarks.training import bare_product_rate, in_own_process
from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.search.groups import Groups
from conan_assets.search.nearest import find_nearest
from conan_assets.search.settings import SearchSettings
from conan_assets.search.vectors import ArrayVectors

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
POSITIONS = 512
WORDS = [f"w{number}" for number in range(20_000)]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TRAINERS = ("ours", "st_plain_bfloat16", "st_cached_bfloat16")
BEST_OF, NEIGHBOURS, DIM = 3, 100, 384


class Shape(NamedTuple):
    """Of a BERT: components, layers, attention heads, and components of a feed-forward layer."""

    hidden: int
    layers: int
    heads: int
    inner: int

    def operations(self, tokens: int) -> float:
        """Return the operations of a token's forward pass in texts of so many tokens, those of attention included."""
        parameters = self.layers * (4 * self.hidden**2 + 2 * self.hidden * self.inner)
        return 2.0 * parameters + 4.0 * self.layers * tokens * self.hidden


SHAPES = {"22M": Shape(384, 6, 12, 1_536), "335M": Shape(1_024, 24, 16, 4_096)}


def build_model(folder: Path, shape: Shape) -> str:
    """Save a model of random weights that knows the words; return its folder."""
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(SPECIAL + WORDS)}, model_max_length=POSITIONS)
    config = BertConfig(
        vocab_size=30_522,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.inner,
        max_position_embeddings=POSITIONS,
    )
    BertModel(config).save_pretrained(folder / "transformer")
    tokenizer.save_pretrained(folder / "transformer")
    transformer = Transformer(str(folder / "transformer"), max_seq_length=POSITIONS)
    SentenceTransformer(modules=[transformer, Pooling(shape.hidden)], device="cpu").save(str(folder / "model"))
    return str(folder / "model")


def made_texts(count: int, tokens: int) -> list[str]:
    """Return texts of ``tokens`` tokens, those at their ends included."""
    drawn = np.random.default_rng(0).integers(len(WORDS), size=(count, tokens - 2))
    return [" ".join(WORDS[word] for word in row) for row in drawn]


def write_samples(folder: Path, texts: list[str], negatives: int) -> None:
    """Write training files: each text is the query of one sample, whose documents are those that follow it."""
    folder.mkdir()
    ids = [f"t{number}" for number in range(len(texts))]
    pq.write_table(pa.table({"text_id": ids, "text": texts}), folder / "texts.parquet")
    around = [[ids[(number + step) % len(ids)] for step in range(1, negatives + 2)] for number in range(len(ids))]
    columns = {
        "sample_id": ids,
        "query": texts,
        "positives": [row[:1] for row in around],
        "candidates": [row[1:] for row in around],
    }
    pq.write_table(pa.table(columns), folder / "retrieval.parquet")


def seconds_of(work: Callable[[], object]) -> float:
    """Return the least seconds of several runs after one that warms up."""
    taken = []
    for _ in range(BEST_OF + 1):
        started = time.perf_counter()
        work()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return min(taken[1:])


def measure_encoding(model: str, texts: list[str], tokens: int, shape: Shape, rate: float) -> dict[str, Any]:
    """Return tokens per second in bfloat16 and the share of the bare rate, ours and sentence-transformers'."""
    ours = Encoder(EncoderSettings(model, dtype="bfloat16"), DEVICE)
    theirs = SentenceTransformer(model, device=DEVICE, model_kwargs={"dtype": torch.bfloat16})
    seconds = {"ours": seconds_of(lambda: ours.encode(texts, "document"))}
    for size in (32, 128):
        encode = lambda size=size: theirs.encode(texts, batch_size=size, show_progress_bar=False)  # noqa: E731
        seconds[f"sentence-transformers, batches of {size}"] = seconds_of(encode)
    total = len(texts) * tokens
    return {
        name: {"tokens_per_second": total / taken, "share": shape.operations(tokens) * total / taken / rate}
        for name, taken in seconds.items()
    }


def measure_training(
    model: str, folder: Path, options: argparse.Namespace, shape: Shape, rate: float
) -> dict[str, Any]:
    """Return tokens per second of whole steps and the share of the bare rate, by trainer."""
    given = {"model": model, "max_tokens": options.tokens, "steps": options.steps, "batch_size": options.batch_size}
    found = {}
    for name in TRAINERS:
        result = in_own_process(name, folder, argparse.Namespace(), **given)
        tokens = result["samples_per_second"] * (2 + options.negatives) * options.tokens
        share = 3 * shape.operations(options.tokens) * tokens / rate
        found[name] = {"tokens_per_second": tokens, "share": share, "peak_mb": result["peak_rss_mb"]}
    return found


def measure_search(documents: int, queries: int) -> dict[str, float]:
    """Return the seconds of an exact search in float32: ours, sentence-transformers', and the bare products."""
    generator = np.random.default_rng(0)
    left, right = (generator.normal(size=(rows, DIM)).astype(np.float32) for rows in (queries, documents))
    settings, none = SearchSettings(device=DEVICE, screening="none"), Groups.empty(queries)
    on_device = torch.from_numpy(left).to(DEVICE), torch.from_numpy(right).to(DEVICE)
    find = lambda: find_nearest(settings, ArrayVectors(left), ArrayVectors(right), NEIGHBOURS, none, None)  # noqa: E731
    return {
        "ours": seconds_of(find),
        "sentence-transformers": seconds_of(lambda: semantic_search(*on_device, top_k=NEIGHBOURS)),
        "bare products": seconds_of(lambda: on_device[0] @ on_device[1].T),
    }


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    for name, default in {"tokens": 512, "texts": 4_096, "steps": 12, "batch_size": 32, "documents": 500_000}.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    options = parser.parse_args()
    options.negatives = 3
    rate = bare_product_rate(DEVICE)
    name = torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"
    report: dict[str, Any] = {"device": name, "bare_bfloat16_tflops": rate / 1e12}
    texts = made_texts(options.texts, options.tokens)
    for shape_name in options.shapes:
        with tempfile.TemporaryDirectory() as temporary:
            folder, shape = Path(temporary), SHAPES[shape_name]
            model = build_model(folder, shape)
            write_samples(folder / "data", texts, options.negatives)
            encoding = measure_encoding(model, texts, options.tokens, shape, rate)
            report[shape_name] = {
                "encoding": encoding,
                "training": measure_training(model, folder, options, shape, rate),
            }
            print(json.dumps({shape_name: report[shape_name]}), flush=True)
    report["search_seconds"] = measure_search(options.documents, queries=2_000)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
