"""Encode texts of mixed length: ``python -m benchmarks.encoding [--texts 1500] [--repeats 3]``.

Our encoder against ``SentenceTransformer.encode`` with all-MiniLM-L6-v2 on first lines and documents of the Python
documentation, each type in turn in one process, ``--repeats`` times; the best run of each counts.

Ends with one line of JSON: texts per second of each; ``ratio`` (ours in its default type over sentence-transformers'
default, float32), ``ratio_same_dtype`` (both in our default type), ``ratio_float32``; ``least_cosine`` and
``mean_cosine`` of our default type's embeddings to sentence-transformers' float32 ones; ``matmul_share``, the
arithmetic of our encoding over the measured rate of bare bfloat16 products.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from benchmarks.training import MODEL, bare_product_rate
from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.models import locate_model
from conan_assets.encoding.precision import fastest_dtype
from conan_assets.encoding.settings import EncoderSettings

Encode = Callable[[Sequence[str]], np.ndarray]


def read_texts(count: int) -> list[str]:
    """Return first lines and documents in a fixed random order."""
    from conan_assets.data.python_docs import read_python_docs
    from conan_assets.data.settings import PythonDocsSource

    corpus, pairs = read_python_docs("docs", PythonDocsSource(kind="python_docs"))
    texts = corpus["text"].to_list() + pairs["query"].unique(maintain_order=True).to_list()
    order = np.random.default_rng(0).permutation(len(texts))
    return [texts[i] for i in order[:count]]


def st_encode(dtype: torch.dtype, max_tokens: int) -> Encode:
    """Return sentence-transformers' way, with its default batch size."""
    model = SentenceTransformer(str(locate_model(MODEL)), model_kwargs={"dtype": dtype})
    model.max_seq_length = max_tokens
    return lambda texts: model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)


def our_encode(dtype: torch.dtype, max_tokens: int) -> Encode:
    """Return our way."""
    settings = EncoderSettings(MODEL, max_tokens=max_tokens, dtype="bfloat16" if dtype == torch.bfloat16 else "float32")
    encoder = Encoder(settings)
    return lambda texts: encoder.encode(texts, "document")


def compare(texts: list[str], max_tokens: int, repeats: int) -> dict[str, float]:
    """Run all encoders in turn and return the figures of the last line."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    fast = fastest_dtype(device, 384)
    encoders = {
        "st": st_encode(torch.float32, max_tokens),
        "st_same_dtype": st_encode(fast, max_tokens),
        "ours": our_encode(fast, max_tokens),
        "ours_float32": our_encode(torch.float32, max_tokens),
    }
    vectors = {name: encode(texts[:64]) for name, encode in encoders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(repeats):
        for name, encode in encoders.items():
            started = time.perf_counter()
            vectors[name] = encode(texts)
            seconds[name].append(time.perf_counter() - started)
            print(f"{name:>14} {len(texts) / seconds[name][-1]:8.1f} texts per second", flush=True)
    speed = {name: len(texts) / min(runs) for name, runs in seconds.items()}
    cosines = (vectors["st"] * vectors["ours"]).sum(axis=1)
    return {
        **{f"texts_per_second_{name}": value for name, value in speed.items()},
        "ratio": speed["ours"] / speed["st"],
        "ratio_same_dtype": speed["ours"] / speed["st_same_dtype"],
        "ratio_float32": speed["ours_float32"] / speed["st"],
        "least_cosine": float(cosines.min()),
        "mean_cosine": float(cosines.mean()),
        "matmul_share": arithmetic(texts, max_tokens) * speed["ours"] / len(texts) / bare_product_rate(device),
    }


def arithmetic(texts: list[str], max_tokens: int) -> float:
    """Return the operations that the texts' tokens take in the model's matrices, padding not counted."""
    model = SentenceTransformer(str(locate_model(MODEL)), device="cpu")
    ids = model.tokenizer(texts, truncation=True, max_length=max_tokens)["input_ids"]
    parameters = sum(value.numel() for name, value in model.named_parameters() if "embeddings" not in name)
    return 2.0 * parameters * sum(len(row) for row in ids)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encoding", description=__doc__)
    parser.add_argument("--texts", type=int, default=1_500)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(json.dumps(compare(read_texts(arguments.texts), arguments.max_tokens, arguments.repeats)))


if __name__ == "__main__":
    main()
