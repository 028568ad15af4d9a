"""Files in other formats, dialects and types than are read: right, or refused for what they are."""

import bz2
import gzip
import logging
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conan_assets.data.settings import ClassificationSource, HubPairsSource, HubTable, StsSource
from conan_assets.data.sources import load_source
from conan_assets_tests.data.frames import write_lines
from conan_assets_tests.data.test_field_cases import beir, folder, pairs_of, refused

__all__ = ["folder"]


@pytest.mark.parametrize(
    ("suffix", "content", "words"),
    [
        (".csv", gzip.compress(b"query,positive\nhow,now\n", mtime=0), "is gzip and no text: unpack"),
        (".jsonl", bz2.compress(b"{}"), "is bzip2 and no text"),
        (".tsv", b"PK\x03\x04[Content_Types].xml", "an Excel workbook and no text"),
        (".jsonl", b"PAR1", "is Parquet and no text"),
        (".tsv", b"query\tpositive\rhow\tnow\r", "a carriage return stands alone"),
        (".jsonl", b'{"query":"a","positive":"b"}\r{"query":"c","positive":"d"}\r', "a carriage return stands alone"),
        (".csv", b"query;positive\nhow;now\n", "one cell and holds ';'; save the file with commas"),
        (".tsv", b"query,positive\nhow,now\n", "one cell and holds ','"),
        (".csv", b"query\tpositive\nhow\tnow\n", "one cell and holds '\\t'"),
        (".csv", b"query, positive\nhow, now\n", "it has query, ' positive' and needs"),
        (".csv", b"query,positive\n", "has columns and no row"),
        (".tsv", b"query\tpositive", "has columns and no row"),
        (".csv", b"query,positive\nhow,\"['a', 'b']\"\n", "row 1: column positive (\"['a', 'b']\") is not a JSON list"),
        (".csv", b"query,positive\nhow,['a' 'b']\n", "is not a JSON list"),
        (".csv", b"query,positive,negative,negative\na,b,c,d\n", "names the column 'negative' twice"),
        (".jsonl", b'\n{"query":"a","positive":"b",}\n', "line 2 is not JSON (Expecting property name"),
        (".jsonl", b'{"query":"a","positive":"b"},\n', "line 1 is not JSON (Extra data at character 29); write one"),
        (".jsonl", b"[\n", "line 1 is not JSON (Expecting value at character 2); write one object a line"),
        (".jsonl", b'[{"query":"a"}]\n', "line 1 is not a JSON object; write one object a line"),
        (".jsonl", b'{"query":"a","query":"b","positive":"c"}\n', "row 1: column query holds two values, as its key"),
        (".jsonl", b'{"query":"a","positive":"b","positive":["b"]}\n', "row 1: column positive holds two values"),
        (".jsonl", b'{"query":"a","positive":"b","neg\\u0061tives":"c","negatives":"d"}\n', "negatives holds two"),
        (".jsonl", b'{"query":' + b"9" * 5_000 + b',"positive":"b"}\n', "column query holds a number of thousands of"),
        (".jsonl", b'{"query":"a","positive":' + b"[" * 9_000 + b"]" * 9_000 + b"}\n", "line 1 is nested too deep"),
    ],
)  # fmt: skip
def test_a_file_of_pairs_is_refused_for_what_it_is(tmp_path, suffix, content, words):
    (tmp_path / f"train{suffix}").write_bytes(content)
    refused(lambda: pairs_of(tmp_path), f"train{suffix}", words)


@pytest.mark.parametrize("name", ["train.csv.gz", "train.json", "train.CSV", "train.ndjson", "train.xlsx"])
def test_a_table_in_a_format_that_is_not_read_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"query,positive\nhow,now\n")
    refused(lambda: pairs_of(tmp_path), f"holds {name}, which is not read", ".parquet or .jsonl or .csv")


def test_corpus_and_judgements_in_a_format_that_is_not_read_are_named(folder):
    (folder / "qrels" / "train.tsv").rename(folder / "qrels" / "train.csv")
    refused(lambda: beir(folder), "qrels holds train.csv, which is not read")
    (folder / "corpus.jsonl").rename(folder / "corpus.jsonl.gz")
    refused(lambda: beir(folder), "holds corpus.jsonl.gz, which is not read: unpack")


def test_files_that_nobody_reads_are_named(folder, caplog):
    (folder / "qrels" / "validation.tsv").write_text("query-id\tcorpus-id\tscore\n")
    with caplog.at_level(logging.WARNING, "conan_assets"):
        beir(folder)
    assert "qrels: files not read: validation.tsv; the names that are read are train, dev, test" in caplog.text


def test_what_stands_twice_where_nobody_looks_does_not_matter(tmp_path):
    (tmp_path / "train.csv").write_text("query,positive,,\nhow,now,,\n")
    (tmp_path / "dev.jsonl").write_text('{"query":"who","positive":"they","x":1,"x":2,"y":{"z":1,"z":2}}\n')
    table = pa.table([["where"], ["here"], [1], [2]], names=["query", "positive", "x", "x"])
    pq.write_table(table, tmp_path / "test.parquet")
    assert [row[:2] for row in pairs_of(tmp_path)] == [("how", "now"), ("where", "here"), ("who", "they")]


def test_a_column_of_parquet_that_is_there_twice_is_named(tmp_path):
    pq.write_table(pa.table([["a"], ["b"], ["c"]], names=["query", "positive", "query"]), tmp_path / "train.parquet")
    refused(lambda: pairs_of(tmp_path), "train.parquet holds the column 'query' twice")


def test_blanks_before_a_list_and_digits_of_ids_are_kept_apart(tmp_path):
    (tmp_path / "train.csv").write_text('query,positive\n007,1e5\nhow," [""a"", ""b""]"\n')
    assert [row[:2] for row in pairs_of(tmp_path)] == [("007", "1e5"), ("how", "a"), ("how", "b")]


@pytest.mark.parametrize(
    ("ids", "there"),
    [
        (pa.array([Decimal(1), Decimal(2)], pa.decimal128(38, 0)), ["1", "2"]),
        (pa.array([Decimal("1.0"), Decimal("2.0")]), ["1", "2"]),
        (pa.array([2**64 - 1, 0], pa.uint64()), ["18446744073709551615", "0"]),
        (pa.array([-1, 2], pa.int8()), ["-1", "2"]),
        (pa.array([1.0, 2.0], pa.float32()), ["1", "2"]),
        (pa.array(["01", " 1"]), ["01", " 1"]),
    ],
)
def test_ids_of_any_type_are_texts(folder, ids, there):
    (folder / "corpus.jsonl").unlink()
    (folder / "qrels" / "train.tsv").unlink()
    pq.write_table(pa.table({"_id": ids, "text": ["one", "two"]}), folder / "corpus.parquet")
    judged = {"query-id": ["q1", "q2"], "corpus-id": ids, "score": [1, 1]}
    pq.write_table(pa.table(judged), folder / "qrels" / "train.parquet")
    assert beir(folder)[1]["doc_id"].to_list() == [f"mine:{identifier}" for identifier in there]


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (pa.array([Decimal("1.5")]), "holds the number 1.5, not a text"),
        (pa.array([16_777_218.0], pa.float32()), "holds 16777218 as a Float32, which rounds such numbers"),
        (pa.array([2.0**53]), "holds the number 9007199254740992.0, not a text"),
        (pa.array([b"d1"]), "holds bytes, not a text"),
        (pa.array([0], pa.timestamp("us")), "holds a datetime, not a text"),
        (pa.array([{"id": "d1"}]), "holds an object, not a text"),
        (pa.array([["d1"]]), "holds a list, not a text"),
        (pa.array([None], pa.null()), "is empty"),
        (pa.array(["d\u0085one"]), "is an id with control characters"),
        (pa.array(["d\u2028one"]), "is an id with control characters"),
    ],
)
def test_what_is_no_id_is_named_with_row_and_column(folder, ids, words):
    (folder / "corpus.jsonl").unlink()
    pq.write_table(pa.table({"_id": ids, "text": ["one"]}), folder / "corpus.parquet")
    refused(lambda: beir(folder), "corpus.parquet: row 1", "column _id", words)


@pytest.mark.parametrize("score", ["1_0", "\u0663", "0x1", "", "1,5"])
def test_what_only_python_takes_for_a_number_is_none(tmp_path, score):
    rows = [{"sentence1": "a", "sentence2": "b", "score": value} for value in (1, score)]
    write_lines(tmp_path / "train.jsonl", *rows)
    source = StsSource(kind="sts", path=tmp_path)
    refused(lambda: load_source("s", source), "train.jsonl: row 2: column score holds the text", "not a number")


MIXED = [{"query": "how", "positive": "Open it"}, {"query": "where", "positive": ["Here", "There"]}]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", ["train.jsonl", "train.json"])
def test_texts_and_lists_of_the_hub_in_one_column_are_no_json(tmp_path, name, streaming):
    write_lines(tmp_path / name, *MIXED)
    assert hub_texts(tmp_path, streaming) == ["Open it", "Here", "There"]


@pytest.mark.parametrize("streaming", [False, True])
def test_files_of_the_hub_have_types_of_their_own(tmp_path, streaming):
    for number, row in enumerate(MIXED):
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / f"train-{number}.parquet")
    assert hub_texts(tmp_path, streaming) == ["Open it", "Here", "There"]


@pytest.mark.parametrize("streaming", [False, True])
def test_a_file_of_the_hub_that_does_not_fit_the_others_is_named(tmp_path, streaming):
    for number, row in enumerate(MIXED):
        write_lines(tmp_path / f"train-{number}.json", row)
    refused(lambda: hub_texts(tmp_path, streaming), "train-1.json: ", "Couldn't cast array of type list")
    (tmp_path / "train-0.json").unlink()
    (tmp_path / "train-1.json").rename(tmp_path / "train-0.parquet")
    refused(lambda: hub_texts(tmp_path, streaming), "train-0.parquet of", "is not readable Parquet")


@pytest.mark.parametrize("name", ["train.csv", "train.csv.gz"])
def test_cells_of_the_hub_are_the_texts_that_stand_there(tmp_path, name):
    content = b"query,positive,negative\nNA,007,\n1e5,null,no\n"
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert hub_texts(tmp_path, streaming=False) == ["007", "null", "no"]


def hub_texts(path: Path, streaming: bool) -> list[str]:
    source = HubPairsSource(
        kind="hub_pairs", path=str(path), tables={"train": HubTable(split="train", streaming=streaming)}
    )
    return load_source("h", source)[0]["text"].to_list()


def test_labels_of_several_types_are_one_label(tmp_path):
    write_lines(tmp_path / "train.jsonl", *({"text": f"t{i}", "label": label} for i, label in enumerate([1, 1.0, "1"])))
    _, pairs = load_source("c", ClassificationSource(kind="classification", path=tmp_path))
    assert set(pairs["text"]) == {"1"}
