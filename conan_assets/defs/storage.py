"""What the assets share: where finished outputs and embeddings lie."""

from pathlib import Path

import dagster as dg
import polars as pl

from conan_assets.artifacts import Artifact, ArtifactStore
from conan_assets.cleaning import POINTER
from conan_assets.encoding.store import EmbeddingStore

TABLE = "table.parquet"


class Storage(dg.ConfigurableResource):
    """The storage root of a programme: everything the graph writes lies below it."""

    home: str
    keep_versions: int = 3

    @property
    def root(self) -> Path:
        """The root as an absolute path."""
        return Path(self.home).expanduser().absolute()

    @property
    def artifacts(self) -> ArtifactStore:
        """The finished outputs of the assets."""
        return ArtifactStore(self.root / "assets", self.keep_versions)

    def current(self, key: dg.AssetKey) -> Artifact:
        """Return the current version of an asset; raise ArtifactError if it was never materialized."""
        return self.artifacts.current(key.to_user_string())

    def table(self, key: dg.AssetKey) -> pl.LazyFrame:
        """Scan the current version of an asset's table; raise ArtifactError if it was never materialized."""
        return pl.scan_parquet(self.current(key).path / TABLE)

    @property
    def release(self) -> Path | None:
        """The folder of the release in use, None before the first one."""
        pointer = self.root / POINTER
        return pointer.resolve() if pointer.exists() else None

    @property
    def embeddings(self) -> EmbeddingStore:
        """The embeddings of every encoder."""
        return EmbeddingStore(self.root / "embeddings")
