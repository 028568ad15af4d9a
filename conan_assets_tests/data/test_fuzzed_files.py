"""Whatever bytes a file holds, it is read, or refused with a message that names it: never another exception."""

import csv
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from conan_assets.data.examples import PAIR_ROWS
from conan_assets.data.intake import Intake
from conan_assets.data.readers import read_table
from conan_assets.data.settings import PairsSource
from conan_assets.data.sources import load_source
from conan_assets.data.tables import Table, TableError, check_table

EVERYTHING = Table("things", {"text": pl.String, "texts": pl.List(pl.String), "number": pl.Float32}, (), ())
FUZZED = settings(max_examples=350, deadline=None, suppress_health_check=list(HealthCheck))

CELL = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
HUGE = st.just(10**5000)
ROW = st.dictionaries(st.sampled_from(["text", "texts", "number", "negative"]) | st.text(max_size=3), CELL, max_size=4)


def read(content: bytes, suffix: str, table: Table = EVERYTHING) -> pl.DataFrame | None:
    """Return what is read of a file, None where it is refused with its name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"train{suffix}"
        path.write_bytes(content)
        frame, refused = attempt(lambda: check_table(read_table(path, table, max_text_bytes=2_000), table, str(path)))
    assert frame is None or frame.schema == dict(table.columns)
    assert frame is not None or f"train{suffix}" in refused
    return frame


def attempt(take: Callable[[], Any]) -> tuple[Any, str]:
    """Return what comes of it, or None and the words with which it is refused."""
    try:
        return take(), ""
    except TableError as error:
        return None, str(error)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv", ".parquet"])
@FUZZED
@given(st.binary(max_size=200))
@example(b"\xff\xfe\xff")
@example(b"\x00\x00\xfe\xff\x00")
@example(b'{"text": "\xed\xa0\x80"}')
@example(b"[" * 1_900)
@example(b'{"text": ' + b"9" * 1_900 + b"}")
def test_random_bytes(suffix, content):
    read(content, suffix)


@FUZZED
@given(st.lists(ROW, max_size=6), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]), st.booleans())
def test_random_json_is_read_as_what_it_says(rows, encoding, ascii_only):
    lines = [json.dumps(row, ensure_ascii=ascii_only) for row in rows]
    frame = read("\n".join(lines).encode(encoding), ".jsonl")
    if frame is not None:
        assert frame.height == len(rows)
        for row, found in zip(rows, frame["text"], strict=True):
            assert found == row.get("text") or not isinstance(row.get("text"), str)


@FUZZED
@given(
    st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6), st.floats()), min_size=1, max_size=6),
    st.sampled_from(["excel", "excel-tab", "unix"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_random_cells_of_any_dialect_come_back(rows, dialect, quoting, line_end):
    file = io.StringIO()
    writer = csv.writer(file, dialect, quoting=quoting, lineterminator=line_end)
    writer.writerows([("text", "other", "number"), *rows])
    frame = read(file.getvalue().encode(errors="replace"), ".tsv" if dialect == "excel-tab" else ".csv")
    wanted = [row for row in rows if any(str(cell).strip() for cell in row)]
    if frame is not None and dialect != "excel-tab":
        assert [text or "" for text in frame["text"]] == [text.encode(errors="replace").decode() for text, *_ in wanted]


@FUZZED
@given(st.binary(min_size=1, max_size=6), st.integers(0, 2_000))
def test_a_damaged_parquet_file(damage, place):
    file = io.BytesIO()
    pl.DataFrame({"text": ["a", "b"] * 50, "texts": [["c"]] * 100, "number": [1.5] * 100}).write_parquet(file)
    content = bytearray(file.getvalue())
    place = min(place, len(content) - 1)
    content[place : place + len(damage)] = damage
    read(bytes(content), ".parquet")


@FUZZED
@given(st.lists(st.tuples(CELL | HUGE, CELL | HUGE), max_size=5))
def test_random_cells_are_taken_in_or_refused(rows):
    def take() -> pl.DataFrame:
        intake = Intake(PAIR_ROWS, "things")
        intake.see(["query", "positive"])
        intake.add({"query": [query for query, _ in rows], "positive": [text for _, text in rows]}, len(rows))
        return check_table(intake.frame(), PAIR_ROWS, "things")

    frame, refused = attempt(take)
    assert refused.startswith("things: row ") if frame is None else frame.height == len(rows)


@FUZZED
@given(st.lists(st.tuples(CELL, CELL, CELL), max_size=4))
def test_a_source_of_random_rows_is_read_or_refused(rows):
    names = ("query", "positive", "negatives")
    with tempfile.TemporaryDirectory() as folder:
        lines = [json.dumps(dict(zip(names, row, strict=True))) for row in rows]
        (Path(folder) / "train.jsonl").write_text("\n".join(lines))
        tables, refused = attempt(lambda: load_source("mine", PairsSource(kind="pairs", path=folder)))
    if tables is None:
        assert "train.jsonl" in refused or "source mine" in refused
    else:
        assert set(tables[1]["doc_id"]) == set(tables[0]["doc_id"])
