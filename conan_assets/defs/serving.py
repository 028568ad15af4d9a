"""Stage 8, production: `served_model` asks a server for the release's vectors, `corpus_embeddings` fills an index."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from conan_assets.artifacts import Artifact
from conan_assets.data.blocks import read_blocks
from conan_assets.data.tables import DOCUMENT_TEXT
from conan_assets.defs.automation import RELEASE_KEY
from conan_assets.defs.checkpoints import checkpoint_encoder, dev_metric_pairs
from conan_assets.defs.corpus import judged_key
from conan_assets.defs.gpu import on_the_gpu
from conan_assets.defs.limits import retried
from conan_assets.defs.metadata import markdown_table
from conan_assets.defs.reuse import Report, code_version, reuse_or_build
from conan_assets.defs.storage import Storage
from conan_assets.encoding.settings import ENCODING_VERSION
from conan_assets.evaluation.report import ReleaseReport, parse
from conan_assets.evaluation.settings import ServerSettings
from conan_assets.files import naming_a_full_disk, point
from conan_assets.settings import Settings

if TYPE_CHECKING:
    from conan_assets.encoding.encoder import Encoder
    from conan_assets.evaluation.served import ServedReport

CORPUS_EMBEDDINGS = "corpus_embeddings"
PARTS = "parts"
VECTORS_VERSION = 1
"""Raise it when the same embeddings are written in another way."""


def build_serving_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """Return what follows a release, as the profile asks for it: the comparison with a server, vectors for an index."""
    server = settings.release.server
    assets = [] if server is None else [_build_served_model(settings, server)]
    return [*assets, *([_build_corpus_embeddings(settings)] if settings.release.corpus_embeddings else [])]


def _build_served_model(settings: Settings, server: ServerSettings) -> dg.AssetsDefinition:
    @dg.asset(
        ins={"raw_pairs": dg.AssetIn(judged_key(settings))},
        group_name="outcome",
        deps=[RELEASE_KEY],
        kinds={"openai" if server.protocol == "openai" else "rust"},
    )
    @retried
    @on_the_gpu
    def served_model(
        context: dg.AssetExecutionContext, storage: Storage, raw_corpus: pl.LazyFrame, raw_pairs: pl.LazyFrame
    ) -> dg.MaterializeResult[None]:
        """Ask the server of the profile for vectors and fail unless they are the release's; asked anew each time."""
        from conan_assets.encoding.prompts import prompts_of
        from conan_assets.encoding.settings import EncoderSettings
        from conan_assets.evaluation.sampled_task import sample_task
        from conan_assets.evaluation.served import compare_served
        from conan_assets.evaluation.server_process import running_server

        released = storage.current(RELEASE_KEY)
        refused = parse(ReleaseReport, released.report, released.key).refused_for_servers
        if refused:
            raise dg.Failure(f"no server gives the vectors of this release: {refused}; set release.server to null")
        folder = storage.release_of(released.fingerprint)
        pairs = dev_metric_pairs(settings, raw_pairs)
        documents = raw_corpus.select("doc_id", text=DOCUMENT_TEXT).collect()
        task = sample_task(pairs if len(pairs) else raw_pairs.collect(), documents, server)
        with running_server(server, folder, prompts_of(EncoderSettings(str(folder)))._asdict()) as running:
            report = compare_served(running, folder, task, server)
        seen = _seen(report)
        if report.drift:
            raise dg.Failure(f"{report.server} does not answer as {folder} does: {'; '.join(report.drift)}", seen)
        return dg.MaterializeResult(metadata={**seen, "release": released.fingerprint})

    return served_model


def _build_corpus_embeddings(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        group_name="outcome",
        deps=[RELEASE_KEY],
        kinds={"parquet"},
        code_version=code_version(encoding=ENCODING_VERSION, vectors=VECTORS_VERSION),
    )
    @retried
    @on_the_gpu
    def corpus_embeddings(
        context: dg.AssetExecutionContext, storage: Storage, raw_corpus: pl.LazyFrame
    ) -> dg.MaterializeResult[None]:
        """Write the released model's vectors of the whole corpus as Parquet with ids, ready for an index."""
        from conan_assets.encoding.parquet import write_vectors

        released = storage.current(RELEASE_KEY)

        def build(directory: Path) -> Report:
            encoder = _released_encoder(settings, storage, released)
            about = {
                "model": settings.name,
                "release": released.fingerprint,
                "query_prompt": encoder.prompt("query"),
                "document_prompt": encoder.prompt("document"),
            }
            corpus = raw_corpus.select("doc_id", "dataset", text=DOCUMENT_TEXT)
            blocks = (
                ({name: block[name].to_arrow() for name in ("doc_id", "dataset")}, block["text"].to_list())
                for block in read_blocks(corpus)
            )
            (directory / PARTS).mkdir(exist_ok=True)
            return {**about, **write_vectors(encoder, storage.embeddings, blocks, directory / PARTS, about)}

        result = reuse_or_build(context, storage, {"encoder": settings.base_model, "name": settings.name}, build)
        with naming_a_full_disk("corpus_embeddings", storage.root):
            point(storage.root / CORPUS_EMBEDDINGS, storage.current(context.asset_key).path / PARTS)
        return result

    return corpus_embeddings


def _released_encoder(settings: Settings, storage: Storage, released: Artifact) -> "Encoder":
    """Return the released checkpoint as it was scored, whose embeddings are stored; the release if it is gone."""
    from conan_assets.encoding.encoder import Encoder

    report = parse(ReleaseReport, released.report, released.key)
    encoder = checkpoint_encoder(settings, storage.current(dg.AssetKey([report.round, "checkpoint"])))
    if encoder.weights_fingerprint == report.checkpoint:
        return encoder
    folder = storage.release_of(released.fingerprint)
    return Encoder(replace(settings.base_model, model=str(folder), revision=None))


def _seen(report: "ServedReport") -> dict[str, Any]:
    figures = asdict(report)
    vectors = dg.MetadataValue.md(markdown_table(figures.pop("vectors")))
    drift = dg.MetadataValue.json(figures.pop("drift"))
    points = {name: round(100 * value, 2) for name, value in figures.items() if name.startswith("ndcg")}
    return {**figures, **points, "vectors": vectors, "drift": drift}
