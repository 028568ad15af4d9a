"""`corpus_embeddings`: every document's vector with its id, loaded into a real index that an alias names."""

import runpy
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from qdrant_client import QdrantClient
from sentence_transformers import SentenceTransformer

from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.parquet import write_vectors
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.encoding.store import EmbeddingStore
from conan_assets.settings import Settings
from conan_assets_tests.defs.conftest import metadata, run, table

EXAMPLE = Path(__file__).parents[2] / "examples" / "load_qdrant.py"


def with_vectors(settings: Settings, **changes: object) -> Settings:
    release = settings.release.model_copy(update={"corpus_embeddings": True})
    return settings.model_copy(update={"release": release, **changes})


@pytest.mark.slow
def test_every_document_has_its_vector_of_the_release_and_none_is_encoded_twice(copied: Settings):
    programme = with_vectors(copied)
    first = metadata(run(programme, "corpus_embeddings"))["corpus_embeddings"]
    assert (first["rows"].value, first["parts"].value, first["encoded"].value) == (64, 1, 0)
    folder = copied.home / "corpus_embeddings"
    written = pq.read_table(folder)
    corpus = table(copied, "raw_corpus")
    assert written["doc_id"].to_pylist() == corpus["doc_id"].to_list()
    texts = [f"{title} {text}" for title, text in corpus.select("title", "text").iter_rows()]
    released = SentenceTransformer(str(copied.home / "released_model"), device="cpu")
    vectors = np.array(written["vector"].to_pylist(), np.float32)
    assert np.allclose(vectors, released.encode(texts, prompt_name="document"), atol=2e-3)
    assert written.schema.metadata[b"release"].decode() == (copied.home / "released_model").resolve().name
    assert metadata(run(programme, "corpus_embeddings"))["corpus_embeddings"]["reused"].value


@pytest.mark.slow
def test_after_another_release_the_alias_alone_decides_what_is_searched(copied: Settings, tmp_path: Path):
    load = runpy.run_path(str(EXAMPLE))["load"]
    released = SentenceTransformer(str(copied.home / "released_model"), device="cpu")
    query = released.encode("which owl lives at the pond?", prompt_name="query")
    client = QdrantClient(path=str(tmp_path / "qdrant"))

    def found() -> list[str]:
        points = client.query_points("corpus", query.tolist(), limit=3, with_payload=True).points
        return [str(point.payload["doc_id"]) for point in points]

    run(with_vectors(copied), "corpus_embeddings")
    first = load(copied.home / "corpus_embeddings", client)
    before = found()
    vectors = pl.read_parquet(copied.home / "corpus_embeddings" / "*.parquet")
    scores = np.array(vectors["vector"].to_list()) @ query
    assert before == vectors["doc_id"].gather(np.argsort(-scores)[:3]).to_list()
    run(with_vectors(copied, name="another"), "+corpus_embeddings")
    second = load(copied.home / "corpus_embeddings", client)
    assert second != first
    assert [each.name for each in client.get_collections().collections] == [second]
    assert found() == before
    assert load(copied.home / "corpus_embeddings", client) == second


def test_vectors_are_written_in_a_file_a_block(tiny_model: str, tmp_path: Path):
    blocks = [
        ({"doc_id": [f"{letter}{i}" for i in range(3)]}, [f"{letter} text {i}" for i in range(3)]) for letter in "ab"
    ]
    encoder = Encoder(EncoderSettings(tiny_model, dtype="float32"), device="cpu")
    counts = write_vectors(encoder, EmbeddingStore(tmp_path / "store"), blocks, tmp_path, {"release": "r1"})
    assert counts == {"rows": 6, "parts": 2, "encoded": 6}
    assert sorted(path.name for path in tmp_path.glob("*.parquet")) == ["part-00000.parquet", "part-00001.parquet"]
    assert pq.read_table(tmp_path / "part-00001.parquet")["doc_id"].to_pylist() == ["b0", "b1", "b2"]
    assert pq.read_schema(tmp_path / "part-00000.parquet").field("vector").type.list_size == 32
