"""Hand a table to the assets downstream of it as a polars LazyFrame."""

from typing import NoReturn

import dagster as dg
import polars as pl

from conan_assets.defs.storage import Storage


class TableReader(dg.ConfigurableIOManager):
    """Scan the current version of an upstream table.

    Tables are written by :func:`conan_assets.defs.reuse.reuse_or_build`, which publishes a table, its report and the
    fingerprint of what made it in one rename; an output value could not carry all three.
    """

    storage: Storage

    def load_input(self, context: dg.InputContext) -> pl.LazyFrame:
        """Return the table of the upstream asset; raise ArtifactError if it was never materialized."""
        return self.storage.table(context.asset_key)

    def handle_output(self, context: dg.OutputContext, obj: object) -> NoReturn:
        """Refuse: an asset that returns a frame would bypass its fingerprint."""
        raise dg.DagsterInvariantViolationError(
            f"{context.asset_key.to_user_string()} returned a {type(obj).__name__}: return reuse_or_build(...) instead"
        )
