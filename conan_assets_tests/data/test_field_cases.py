"""Files as they are met in the field are read right, or refused with file, row, column and the way out."""

import logging
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conan_assets.data.settings import (
    BeirSource,
    ClassificationSource,
    PairsSource,
    StsSource,
)
from conan_assets.data.sources import load_source
from conan_assets.data.tables import TableError
from conan_assets_tests.data.frames import write_lines

CORPUS = [
    {"_id": "d1", "title": "Password", "text": "Open Settings and choose Reset."},
    {"_id": "d2", "title": "Invoices", "text": "Every invoice is listed under Billing."},
]
QUERIES = [{"_id": "q1", "text": "how do I reset my password"}, {"_id": "q2", "text": "where are my invoices"}]
TRAIN = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in BEIR layout of text files."""
    (tmp_path / "qrels").mkdir()
    write_lines(tmp_path / "corpus.jsonl", *CORPUS)
    write_lines(tmp_path / "queries.jsonl", *QUERIES)
    (tmp_path / "qrels" / "train.tsv").write_text(TRAIN)
    return tmp_path


def beir(folder: Path, **settings: object) -> tuple[pl.DataFrame, pl.DataFrame]:
    return load_source("mine", BeirSource(kind="beir", path=folder, **settings))


def pairs_of(path: Path, **settings: object) -> list[tuple[str, str, float]]:
    """Return (query, text, score) of a folder of pairs, sorted."""
    corpus, pairs = load_source("mine", PairsSource(kind="pairs", path=path, **settings))
    found = pairs.join(corpus.select("doc_id", document="text"), on="doc_id")
    return sorted(found.select("query", "document", "score").rows())


def refused(read, *words: str) -> None:
    with pytest.raises(TableError) as error:
        read()
    for word in words:
        assert word in str(error.value), str(error.value)
    assert "polars" not in str(error.value).lower()


@pytest.mark.parametrize("end", ["\n", "\n\n", "\r\n", " \n", "\t\t\n"])
def test_a_blank_line_is_no_row(folder, end):
    (folder / "qrels" / "train.tsv").write_text(TRAIN + end)
    with (folder / "corpus.jsonl").open("a") as corpus:
        corpus.write(end)
    assert [frame.height for frame in beir(folder)] == [2, 2]


def test_nan_is_no_title(folder):
    write_lines(folder / "corpus.jsonl", CORPUS[0], '{"_id":"d2","title":NaN,"text":"Every invoice."}')
    assert beir(folder)[0].select("title", "text").rows()[1] == ("", "Every invoice.")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "[1, {}]", "12345678901234567890123"])
def test_what_stands_in_an_unused_column_does_not_matter(folder, value):
    write_lines(folder / "corpus.jsonl", CORPUS[0], f'{{"_id":"d2","text":"Every invoice.","length":{value}}}')
    assert beir(folder)[0]["text"].to_list()[1] == "Every invoice."


def test_infinity_is_no_text_and_no_grade(folder):
    write_lines(folder / "corpus.jsonl", CORPUS[0], '{"_id":"d2","text":Infinity}')
    refused(lambda: beir(folder), "corpus.jsonl: row 2: column text holds the number inf, not a text")
    write_lines(folder / "train.jsonl", '{"sentence1":"a b","sentence2":"c d","score":Infinity}')
    refused(lambda: load_source("s", StsSource(kind="sts", path=folder)), "train.jsonl: row 1", "column score (inf)")


def test_half_a_surrogate_pair_becomes_the_replacement_character(folder):
    write_lines(folder / "corpus.jsonl", '{"_id":"d1","text":"Open \\ud83d and \\ud83d\\ude00."}', CORPUS[1])
    assert beir(folder)[0]["text"].to_list()[0] == "Open \ufffd and \U0001f600."


def test_titles_and_ids_may_be_numbers(folder):
    write_lines(
        folder / "corpus.jsonl",
        {"_id": "d1", "title": 1984, "text": ""},
        {"_id": "d2", "title": 2001.0, "text": None},
        {"_id": 3, "title": True, "text": "x"},
    )
    corpus, _ = beir(folder)
    assert corpus.select("doc_id", "title", "text").rows() == [
        ("mine:d1", "", "1984"),
        ("mine:d2", "", "2001"),
        ("mine:3", "true", "x"),
    ]


def test_a_number_with_a_fraction_is_no_id(folder):
    write_lines(folder / "corpus.jsonl", CORPUS[0], {"_id": 1.5, "text": "x"})
    refused(lambda: beir(folder), "corpus.jsonl: row 2: column _id holds the number 1.5, not a text")


def test_an_id_with_a_control_character_is_refused(folder):
    write_lines(folder / "corpus.jsonl", CORPUS[0], {"_id": "d\0two", "text": "x"})
    refused(lambda: beir(folder), "corpus.jsonl: row 2", "'d\\x00two'", "control characters")


@pytest.mark.parametrize("value", [["a"], {"a": "b"}])
def test_a_list_or_an_object_is_no_text(folder, value):
    write_lines(folder / "corpus.jsonl", CORPUS[0], {"_id": "d2", "text": value})
    refused(lambda: beir(folder), "corpus.jsonl: row 2: column text holds a", "not a text")


def test_texts_and_lists_of_texts_stand_in_one_column(tmp_path):
    write_lines(
        tmp_path / "train.jsonl",
        {"query": "how do I", "positive": "Open it"},
        {"query": "where is it", "positive": ["There it is", "Here it is"], "negatives": "Nowhere"},
        {"query": "when is it", "positive": "Now", "negatives": ["Never", "Then"]},
    )
    assert pairs_of(tmp_path) == [
        ("how do I", "Open it", 1.0),
        ("when is it", "Never", 0.0),
        ("when is it", "Now", 1.0),
        ("when is it", "Then", 0.0),
        ("where is it", "Here it is", 1.0),
        ("where is it", "Nowhere", 0.0),
        ("where is it", "There it is", 1.0),
    ]


@pytest.mark.parametrize("kind", ["sts", "classification"])
def test_a_list_where_a_text_is_expected_is_named_with_its_row(tmp_path, kind):
    rows = {"sentence1": "a", "sentence2": "b", "score": 1, "text": "a", "label": "b"}
    broken = rows | {"sentence2": ["b"], "label": ["b"]}
    write_lines(tmp_path / "train.jsonl", rows, broken)
    source = {"sts": StsSource, "classification": ClassificationSource}[kind](kind=kind, path=tmp_path)
    refused(lambda: load_source("s", source), "train.jsonl: row 2: column", "holds a list, not a text")


def test_a_column_of_negatives_is_read_as_sentence_transformers_writes_it(tmp_path):
    (tmp_path / "train.csv").write_text("query,positive,negative\nhow do I reset,Open it,Close it\nwhere,There,Not\n")
    expected = [("how do I reset", "Close it", 0.0), ("how do I reset", "Open it", 1.0), ("where", "Not", 0.0)]
    assert pairs_of(tmp_path)[:3] == expected
    assert pairs_of(tmp_path, columns={"negatives": "negative"})[:3] == expected


def test_numbered_columns_of_negatives_are_read_together(tmp_path):
    (tmp_path / "train.csv").write_text("query,positive,negative_1,negative_2\nhow,Open it,Close it,\nwhere,a,b,c\n")
    assert [row for row in pairs_of(tmp_path) if row[2] == 0] == [
        ("how", "Close it", 0.0),
        ("where", "b", 0.0),
        ("where", "c", 0.0),
    ]


def test_a_text_in_brackets_is_one_negative(tmp_path):
    (tmp_path / "train.csv").write_text(
        'query,positive,negatives\nhow,Open it,[1] see Smith\nwhere,a,"[""b"", ""c""]"\n'
    )
    assert [row[1] for row in pairs_of(tmp_path) if row[2] == 0] == ["[1] see Smith", "b", "c"]


def test_unused_columns_are_named_once(folder, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "conan_assets"):
        write_lines(folder / "corpus.jsonl", *(row | {"metadata": {}, "url": "x"} for row in CORPUS))
        beir(folder)
        (tmp_path / "train.csv").write_text("query,positive,hard_negs\nhow,Open it,Close it\n")
        pairs_of(tmp_path)
    told = [record.getMessage() for record in caplog.records if "not used" in record.getMessage()]
    assert len(told) == 2
    assert told[0].endswith("corpus.jsonl: columns not used: metadata, url")
    assert "train.csv: columns not used: hard_negs; name those with negatives in its column mapping" in told[1]


def test_a_negative_that_is_a_positive_of_its_query_is_a_positive_and_said_so(tmp_path, caplog):
    (tmp_path / "train.csv").write_text("query,positive,negative\nhow,Open it,Close it\nhow,Leave it,Open it\n")
    assert pairs_of(tmp_path) == [("how", "Close it", 0.0), ("how", "Leave it", 1.0), ("how", "Open it", 1.0)]
    assert "train.csv: 1 negatives are positives of the same query, the first in row 2" in caplog.text


def test_an_unclosed_quote_is_named_with_its_row(tmp_path):
    text = 'query,positive\nhow do I reset,"Open Settings.\nwhere are my invoices,"Every invoice, listed."\n'
    (tmp_path / "train.csv").write_text(text)
    refused(lambda: pairs_of(tmp_path), "train.csv: row 1 (line 2)", "never closed")
    (tmp_path / "train.csv").write_text('query,positive\na,b\nhow do I reset,"Open Settings.\n')
    refused(lambda: pairs_of(tmp_path), "train.csv: row 2 (line 3)", "never closed")


@pytest.mark.parametrize("cells", ["how do I reset,Open Settings, and choose Reset.", "how do I reset"])
def test_a_row_with_more_or_fewer_cells_is_named(tmp_path, cells):
    (tmp_path / "train.csv").write_text(f'query,positive\nwhere,"Every invoice, listed."\n{cells}\n')
    count = "3 cells" if "Open" in cells else "1 cell"
    refused(lambda: pairs_of(tmp_path), f"train.csv: row 2 (line 3): {count} under 2 columns", "double quotes")


def test_a_column_that_occurs_twice_is_named(tmp_path):
    (tmp_path / "train.csv").write_text("query,positive,query\na,b,c\n")
    refused(lambda: pairs_of(tmp_path), "train.csv: the header names the column 'query' twice")


def test_quoted_cells_of_tab_separated_values_are_read_and_stray_quotes_stay(tmp_path):
    (tmp_path / "train.tsv").write_text(
        'query\tpositive\nhow do I reset\t"Open ""Settings"" now."\nwhat is a 5" pipe\tIt is 5" wide.\n'
        'who said it\t"Hello" he said, and "bye"\n'
    )
    assert pairs_of(tmp_path) == [
        ("how do I reset", 'Open "Settings" now.', 1.0),
        ('what is a 5" pipe', 'It is 5" wide.', 1.0),
        ("who said it", '"Hello" he said, and "bye"', 1.0),
    ]


def test_quoted_cells_of_tab_separated_values_may_hold_tabs_and_line_ends(tmp_path):
    rows = {"query": ["how", "where"], "positive": ["Open\tit\nnow", 'a "b"']}
    pl.DataFrame(rows).write_csv(tmp_path / "train.tsv", separator="\t")
    assert pairs_of(tmp_path) == [("how", "Open\tit\nnow", 1.0), ("where", 'a "b"', 1.0)]


def test_a_ragged_line_of_tab_separated_values_is_named(tmp_path):
    (tmp_path / "train.tsv").write_text('query\tpositive\na\t"b" c\na\tb\tc\n')
    refused(lambda: pairs_of(tmp_path), "train.tsv: line 3 has 3 cells, the header 2")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-32"])
@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl"])
def test_a_byte_order_mark_tells_the_encoding(tmp_path, encoding, suffix):
    rows = {"query": ["how do I öffnen", "wo 在哪里"], "positive": ["Jetzt.", "Da."]}
    text = {
        ".csv": pl.DataFrame(rows).write_csv(),
        ".tsv": pl.DataFrame(rows).write_csv(separator="\t", line_terminator="\r\n"),
        ".jsonl": pl.DataFrame(rows).write_ndjson(),
    }[suffix]
    (tmp_path / f"train{suffix}").write_bytes(text.encode(encoding))
    assert pairs_of(tmp_path) == [("how do I öffnen", "Jetzt.", 1.0), ("wo 在哪里", "Da.", 1.0)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("query,positive\nhow,f\u00fcr\n".encode("latin-1"), "line 2 is not UTF-8; save the file as UTF-8"),
        ("query,positive\nhow,now\n".encode("utf-16-le"), "looks like UTF-16"),
        (b"query,positive\rhow,now\r", "a carriage return stands alone"),
    ],
)
def test_another_encoding_is_named(tmp_path, content, words):
    (tmp_path / "train.csv").write_bytes(content)
    refused(lambda: pairs_of(tmp_path), "train.csv", words)


def test_dictionary_columns_and_fixed_size_lists_are_texts(tmp_path):
    table = pa.table(
        {
            "query": pa.array(["how", "where"]).dictionary_encode(),
            "positive": pa.array([["a", "b"], ["c", "d"]], pa.list_(pa.string(), 2)),
            "negatives": pa.array(["x", "x"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "train.parquet")
    assert [row[:2] for row in pairs_of(tmp_path)] == [
        ("how", "a"), ("how", "b"), ("how", "x"), ("where", "c"), ("where", "d"), ("where", "x"),
    ]  # fmt: skip


@pytest.mark.parametrize("scores", [[True, False], [Decimal("1.0"), Decimal("0.0")], ["1", " 0 "]])
def test_truth_values_decimals_and_numbers_in_quotes_are_grades(folder, scores):
    (folder / "qrels" / "train.tsv").unlink()
    rows = {
        "query-id": ["q1", "q2"],
        "corpus-id": pl.Series(["d1", "d2"], dtype=pl.Enum(["d1", "d2"])),
        "score": scores,
    }
    pl.DataFrame(rows).write_parquet(folder / "qrels" / "train.parquet")
    assert beir(folder)[1]["score"].to_list() == [1.0, 0.0]


def test_an_empty_column_of_pandas_is_no_title(folder):
    (folder / "corpus.jsonl").unlink()
    rows = {"_id": [1.0, 2.0], "title": [float("nan")] * 2, "text": ["x", "y"]}
    pl.DataFrame(rows).write_parquet(folder / "corpus.parquet")
    write_lines(folder / "queries.jsonl", *QUERIES)
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq1\t1\t1\n")
    assert beir(folder)[0].select("doc_id", "title").rows() == [("mine:1", ""), ("mine:2", "")]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv", ".parquet"])
def test_a_text_beyond_the_limit_is_refused(tmp_path, suffix):
    rows = pl.DataFrame({"query": ["how", "where"], "positive": ["a", "b" * 2_000]})
    write = {
        ".jsonl": rows.write_ndjson,
        ".csv": rows.write_csv,
        ".tsv": lambda path: rows.write_csv(path, separator="\t"),
        ".parquet": rows.write_parquet,
    }[suffix]
    write(tmp_path / f"train{suffix}")
    refused(lambda: pairs_of(tmp_path, max_text_bytes=1_500), f"train{suffix}", "1,500 bytes", "max_text_bytes")
    assert len(pairs_of(tmp_path, max_text_bytes=3_000)) == 2


def test_a_huge_cell_of_parquet_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    pl.DataFrame({"query": ["how"], "positive": ["b" * 50_000_000]}).write_parquet(tmp_path / "train.parquet")
    assert (tmp_path / "train.parquet").stat().st_size < 100_000
    monkeypatch.setattr(pl, "read_parquet", lambda *_, **__: pytest.fail("it was unpacked"))
    refused(lambda: pairs_of(tmp_path), "train.parquet: rows 1 to 1: column positive", "max_text_bytes")


def test_a_relative_folder_that_is_not_there_is_named_with_where_it_was_looked_up(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(lambda: pairs_of(Path("data/nowhere")), f"there is no folder data/nowhere in {tmp_path}")
