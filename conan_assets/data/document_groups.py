"""Which passages of a documents source train and which are held out: whole groups of documents that say the same.

1. Two documents are of one group where their texts are near-duplicates, or where at least half of the passages of the
   shorter one have a near-duplicate in the other.
2. A group is held out by a hash of its documents' names, so that it stays where it is when others come and go.
3. A passage with a near-duplicate in another group belongs to neither: nobody is asked about it.

So no held-out question is about a passage that a training question is about, or about one nearly the same.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
import polars as pl

from conan_assets.compute import IN_PROCESS, Compute
from conan_assets.data.documents import document_of
from conan_assets.data.near_texts import near_within
from conan_assets.data.settings import UnaskedSource
from conan_assets.data.tables import TableError

GROUPS_VERSION = 1
"""Raise it when other passages are held out."""

SHARED_PASSAGES = 0.5
FEWEST_GROUPS = 3


def split_passages(
    name: str, corpus: pl.DataFrame, settings: UnaskedSource, compute: Compute = IN_PROCESS
) -> pl.DataFrame:
    """Return ``doc_id``, ``document``, ``group`` and ``split`` of every passage of the source ``name``.

    ``group`` is the name of one of its documents; ``split`` is train, dev or test, and null where nobody is asked.

    Raises
    ------
    TableError
        The documents form too few groups to hold any out.
    """
    passages = corpus.filter(pl.col("dataset") == name).select(
        "doc_id", "text", document=document_of(pl.col("doc_id")).str.strip_prefix(f"{name}:")
    )
    near = near_within(passages["text"], compute)
    grouped = passages.join(_groups(passages, near, compute), on="document", how="left", maintain_order="left")
    splits = _splits(name, grouped, settings)
    group = grouped["group"].to_numpy()
    apart = group[near[0]] != group[near[1]]
    shared = np.zeros(grouped.height, bool)
    shared[near[0][apart]] = shared[near[1][apart]] = True
    split = pl.when(pl.lit(pl.Series(shared))).then(None).otherwise("split")
    return grouped.join(splits, on="group", how="left", maintain_order="left").select(
        "doc_id", "document", "group", split=split
    )


def _groups(passages: pl.DataFrame, near: tuple[np.ndarray, np.ndarray], compute: Compute) -> pl.DataFrame:
    """Return ``document`` and ``group`` of every document; ``near`` are the rows of near-equal passages."""
    documents = passages.group_by("document", maintain_order=True).agg(
        pl.len().alias("size"), pl.col("text").str.join("\n")
    )
    one, other = (passages["document"].gather(rows) for rows in near)
    shared = (
        pl.DataFrame({"one": one, "other": other, "first": near[0], "second": near[1]})
        .filter(pl.col("one") != pl.col("other"))
        .group_by("one", "other")
        .agg(shared=pl.min_horizontal(pl.col("first").n_unique(), pl.col("second").n_unique()))
        .join(documents.select(one="document", size="size"), on="one")
        .join(documents.select(other="document", other_size="size"), on="other")
        .filter(pl.col("shared") >= SHARED_PASSAGES * pl.min_horizontal("size", "other_size"))
    )
    alike = zip(*(documents["document"].gather(rows) for rows in near_within(documents["text"], compute)), strict=True)
    return _connected(documents["document"], [*shared.select("one", "other").iter_rows(), *alike])


def _connected(documents: pl.Series, pairs: Iterable[tuple[str, str]]) -> pl.DataFrame:
    """Return ``document`` and ``group``: what ``pairs`` connect is one group, called by its member of least hash."""
    group_of = {document: document for document in documents}

    def root(document: str) -> str:
        while group_of[document] != document:
            group_of[document] = group_of[group_of[document]]
            document = group_of[document]
        return document

    for one, other in pairs:
        first, second = sorted((root(one), root(other)), key=_hash)
        group_of[second] = first
    return pl.DataFrame({"document": documents, "group": [root(document) for document in documents]})


def _splits(name: str, grouped: pl.DataFrame, settings: UnaskedSource) -> pl.DataFrame:
    """Return ``group`` and ``split``: those of least hash are held out, but for groups larger than what is held out.

    At least one group is held out for each of dev and test.
    """
    sizes = dict(grouped.group_by("group").len().iter_rows())
    if len(sizes) < FEWEST_GROUPS:
        raise TableError(
            f"source {name}: its documents form {len(sizes)} groups of different ones, and {FEWEST_GROUPS} are needed "
            "to train on one, to choose a checkpoint by one and to test on one: add documents, or split large files"
        )
    most = grouped.height * settings.test_percent / 100
    ordered = sorted(sizes, key=lambda group: (sizes[group] > most, _hash(group)))
    test, dev = settings.test_percent, settings.test_percent + settings.dev_percent
    split_of = {}
    for place, group in enumerate(ordered):
        percentile = 100 if sizes[group] > most else 100 * _hash(group) / 2**64
        split_of[group] = "test" if place == 0 or percentile < test else "dev" if percentile < dev else "train"
    if "dev" not in split_of.values():
        split_of[next(group for group in ordered[1:])] = "dev"
    return pl.DataFrame({"group": list(split_of), "split": list(split_of.values())})


def _hash(document: str) -> int:
    return int.from_bytes(hashlib.sha256(document.encode()).digest()[:8])
