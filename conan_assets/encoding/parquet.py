"""Embeddings as Parquet with the ids of their texts: what an index of vectors is loaded from."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from conan_assets.encoding.store import EmbeddingStore

if TYPE_CHECKING:
    from conan_assets.encoding.encoder import Encoder

VECTOR = "vector"

Block = tuple[Mapping[str, Sequence[str]], Sequence[str]]
"""Columns of ids, and the texts they stand for."""


def write_vectors(
    encoder: "Encoder", store: EmbeddingStore, blocks: Iterable[Block], folder: Path, about: Mapping[str, str]
) -> dict[str, int]:
    """Write a file a block, ``part-00000.parquet`` and so on, and return how many rows, parts and new embeddings.

    Memory holds one block. A text whose embedding is stored is not encoded again.

    Parameters
    ----------
    blocks
        Documents and their ids, which become columns beside ``vector``: as many float32 as the model has components,
        of length 1.
    about
        Written into the metadata of every file's schema.
    """
    rows = parts = encoded = 0
    for columns, texts in blocks:
        embeddings = store.embed(encoder, texts, "document")
        flat = pa.array(embeddings.block(0, len(texts)).reshape(-1))
        vectors = pa.FixedSizeListArray.from_arrays(flat, embeddings.shape[1])
        table = pa.table({**columns, VECTOR: vectors}).replace_schema_metadata(about)
        pq.write_table(table, folder / f"part-{parts:05}.parquet", compression="zstd")
        rows, parts, encoded = rows + len(texts), parts + 1, encoded + embeddings.encoded
    return {"rows": rows, "parts": parts, "encoded": encoded}
