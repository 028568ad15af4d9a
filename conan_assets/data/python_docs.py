"""The embedded English corpus: the documentation of the installed Python standard library.

The first line of an object's documentation is a query, the rest with the signature is its document. Whole packages
are held out for dev and test. Documents with the same text are one document; a first line that stands over several
documents is one query with several positives. Graded pairs for the STS task come from the structure: a first line
is closer to what follows it than to the first lines of its module, and to those than to another package's.
"""

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import polars as pl

from conan_assets.artifacts import fingerprint
from conan_assets.data.settings import PythonDocsSource
from conan_assets.data.tables import CORPUS, PAIRS, TableError, check_table

READER = Path(__file__).with_name("python_docs_reader.py")
MIN_QUERY_WORDS = 3
TIMEOUT_SECONDS = 120


def read_python_docs(name: str, settings: PythonDocsSource) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return (corpus, pairs) of the standard library's documentation, the same in every run of one interpreter."""
    return tables_of_objects(name, _documented_objects(name), settings)


def tables_of_objects(
    name: str, objects: pl.DataFrame, settings: PythonDocsSource
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return (corpus, pairs) of documented objects: module, name, first_line, rest."""
    entries = _select(name, objects, settings)
    corpus = entries.select(doc_id="doc_id", dataset=pl.lit(name), title=pl.lit(""), text=pl.col("rest")).unique(
        "doc_id", maintain_order=True
    )
    pairs = entries.unique(["query_id", "doc_id"], maintain_order=True).select(
        pair_id=pl.concat_str("query_id", pl.lit("|"), "doc_id"),
        task=pl.lit("retrieval"),
        dataset=pl.lit(name),
        origin=pl.lit("natural"),
        split="split",
        query_id="query_id",
        query="first_line",
        doc_id="doc_id",
        text=pl.lit(None, dtype=pl.String),
        score=pl.lit(1.0, dtype=pl.Float32),
    )
    origin = f"source {name} (python_docs)"
    pairs = pl.concat([pairs, _graded_pairs(name, entries, settings.sts_pairs)])
    return check_table(corpus, CORPUS, origin), check_table(pairs, PAIRS, origin)


def fingerprint_python_docs() -> str:
    """Return a fingerprint of the interpreter and the library's source files."""
    library = Path(sysconfig.get_path("stdlib"))
    files = sorted(path for path in library.rglob("*.py") if not {"site-packages", "test"} & set(path.parts))
    digest = hashlib.sha256()
    for path in files:
        digest.update(str(path.relative_to(library)).encode() + path.read_bytes())
    return fingerprint(sys.version, sys.platform, digest.hexdigest())


def _documented_objects(name: str) -> pl.DataFrame:
    """Return (module, name, first_line, rest) of every documented object, read in an interpreter of its own."""
    command = [sys.executable, "-I", "-S", "-W", "ignore", str(READER)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT_SECONDS, check=True
        )
    except (subprocess.SubprocessError, OSError) as error:
        detail = getattr(error, "stderr", None) or b""
        raise TableError(
            f"source {name}: the standard library's documentation cannot be read by {' '.join(command)}: "
            f"{error} {detail.decode(errors='replace')[-500:]}"
        ) from error
    return pl.from_dicts([json.loads(line) for line in done.stdout.splitlines()])


def _select(name: str, objects: pl.DataFrame, settings: PythonDocsSource) -> pl.DataFrame:
    """Keep objects whose first line can be a query and whose rest can be its document; add ids and splits."""
    body_chars = pl.col("rest").str.len_chars() - pl.col("rest").str.split("\n").list.first().str.len_chars()
    quotes_query = pl.col("rest").str.to_lowercase().str.contains(pl.col("first_line").str.to_lowercase(), literal=True)
    entries = objects.filter(
        pl.col("first_line").str.len_chars() >= settings.min_query_chars,
        pl.col("first_line").str.count_matches(r"\S+") >= MIN_QUERY_WORDS,
        body_chars >= settings.min_document_chars,
        ~quotes_query,
    )
    identity = pl.concat_str("module", pl.lit("."), "name")
    package = pl.col("module").str.split(".").list.first()
    same_query = pl.col("first_line").str.to_lowercase().str.strip_chars(" .:")
    return entries.with_columns(
        first_line=pl.col("first_line").first().over(same_query),
        query_id=pl.concat_str(pl.lit(f"{name}:q:"), identity.first().over(same_query)),
        doc_id=pl.concat_str(pl.lit(f"{name}:"), identity.first().over("rest")),
        held_out=package.map_elements(lambda top: held_out(top, settings), return_dtype=pl.Int8),
    ).with_columns(split=pl.col("held_out").max().over("query_id").replace_strict({0: "train", 1: "dev", 2: "test"}))


def _graded_pairs(name: str, entries: pl.DataFrame, count: int) -> pl.DataFrame:
    """Return ``count`` STS pairs of the train split, as many of grade 1, 0.5 and 0."""
    lines = entries.filter(split="train").unique("query_id", maintain_order=True)
    lines = lines.sample(fraction=1.0, shuffle=True, seed=0).select(
        query_id="query_id",
        query="first_line",
        module="module",
        package=pl.col("module").str.split(".").list.first(),
        description=pl.col("rest").str.split("\n\n").list.get(1, null_on_oob=True).str.replace_all(r"\s+", " "),
    )
    other = pl.col("query").shift(-1)
    grades = [
        lines.with_columns(text="description", score=1.0),
        lines.with_columns(text=other.over("module"), score=0.5),
        lines.filter(pl.col("package") != pl.col("package").shift(-1)).with_columns(text=other, score=0.0),
    ]
    chosen = [
        pairs.filter(pl.col("text").str.len_chars() > 0).head(count // 3 + (grade < count % 3))
        for grade, pairs in enumerate(grades)
    ]
    identity = pl.concat_str("query_id", pl.lit("|sts"), pl.col("score").cast(pl.String))
    return pl.concat(chosen).select(
        pair_id=identity,
        task=pl.lit("sts"),
        dataset=pl.lit(name),
        origin=pl.lit("natural"),
        split=pl.lit("train"),
        query_id=identity,
        query="query",
        doc_id=pl.lit(None, dtype=pl.String),
        text="text",
        score=pl.col("score").cast(pl.Float32),
    )


def held_out(package: str, settings: PythonDocsSource) -> int:
    """Return 2 for a package of the test split, 1 for one of the dev split, 0 for one to train on."""
    percentile = int.from_bytes(hashlib.sha256(package.encode()).digest()[:8]) % 100
    return 2 if percentile < settings.test_percent else int(percentile < settings.test_percent + settings.dev_percent)
