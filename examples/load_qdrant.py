"""Load a release's vectors of the corpus into Qdrant, and let one name, an alias, stand for the newest of them.

    python examples/load_qdrant.py conan_home/corpus_embeddings http://127.0.0.1:6333

Each version is a collection of its own. What is searched is the alias, so after a re-training nothing else is changed:
the new collection is filled beside the old one, the alias is switched in one step, and the old one goes.
"""

import sys
import uuid
from pathlib import Path

import pyarrow.parquet as pq
from qdrant_client import QdrantClient, models

ALIAS = "corpus"


def load(folder: Path, client: QdrantClient) -> str:
    """Fill a collection named for the version that ``folder`` is of, switch the alias to it, and return its name."""
    parts = sorted(folder.glob("part-*.parquet"))
    collection = f"{ALIAS}_{folder.resolve().parent.name}"
    before = [each.collection_name for each in client.get_aliases().aliases if each.alias_name == ALIAS]
    if collection in before:
        return collection
    if client.collection_exists(collection):  # of a load that was interrupted
        client.delete_collection(collection)
    size = pq.read_schema(parts[0]).field("vector").type.list_size
    client.create_collection(collection, models.VectorParams(size=size, distance=models.Distance.DOT))
    for part in parts:
        for batch in pq.ParquetFile(part).iter_batches(1_000):
            rows = batch.to_pydict()
            client.upsert(
                collection,
                models.Batch(
                    ids=[str(uuid.uuid5(uuid.NAMESPACE_URL, doc_id)) for doc_id in rows["doc_id"]],
                    vectors=rows["vector"],
                    payloads=[{"doc_id": doc_id} for doc_id in rows["doc_id"]],
                ),
            )
    forget = [models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=ALIAS)) for _ in before]
    use = models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=collection, alias_name=ALIAS))
    client.update_collection_aliases([*forget, use])
    for old in before:
        client.delete_collection(old)
    return collection


if __name__ == "__main__":
    source, place = Path(sys.argv[1]), sys.argv[2]
    print(load(source, QdrantClient(url=place) if "://" in place else QdrantClient(path=place)))
