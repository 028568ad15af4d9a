"""A log of searches and clicks: what is a positive and a negative, which split is whose, and what is refused."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from conan_assets.data.clicks import examination
from conan_assets.data.settings import QueryLogSource
from conan_assets.data.sources import read_source, source_fingerprint, source_splits
from conan_assets.data.tables import CORPUS, PAIRS, TableError
from conan_assets_tests.data.frames import write_lines
from conan_assets_tests.data.logs import (
    people_who_look_at_the_top,
    search,
    three_slices,
    write_corpus,
    write_searches,
)


def source(folder: Path, **changes: Any) -> QueryLogSource:
    return QueryLogSource.model_validate({"kind": "query_log", "path": folder, **changes})


def read(folder: Path, **changes: Any) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    return read_source("shop", source(folder, **changes))


def judged(pairs: pl.DataFrame) -> list[tuple[Any, ...]]:
    return pairs.select("split", "query", "doc_id", "score").sort("split", "query", "doc_id").rows()


def trained_on(folder: Path, searches: list[dict[str, Any]], **changes: Any) -> list[tuple[Any, ...]]:
    changes = {"dev_percent": 0, "test_percent": 0, **changes}
    return [row[1:] for row in judged(read(write_searches(folder, searches), **changes)[1])]


def test_clicks_are_positives_skipped_documents_negatives_and_the_newest_slices_dev_and_test(tmp_path):
    corpus, pairs, report = read(write_searches(tmp_path, three_slices()), dev_percent=17, test_percent=17)
    assert corpus.schema == dict(CORPUS.columns)
    assert pairs.schema == dict(PAIRS.columns)
    assert judged(pairs) == [
        ("dev", "who barks", "shop:cow", 0.0),
        ("dev", "who barks", "shop:dog", 1.0),
        ("test", "who hoots", "shop:hen", 0.0),
        ("test", "who hoots", "shop:owl", 1.0),
        ("train", "who purrs", "shop:cat", 1.0),
        ("train", "who purrs", "shop:dog", 0.0),
    ]
    (counted,) = report["query_log"]
    assert (counted["searches"], counted["dev_from"]) == (12, "2025-01-09T10:00:00+00:00")


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl", "tsv"])
@pytest.mark.parametrize("first", [0, 1])
def test_a_row_for_each_impression_gives_the_same_as_a_row_for_each_search(tmp_path, suffix, first):
    expected = read(write_searches(tmp_path / "searches", three_slices()), dev_percent=17, test_percent=17)[1]
    impressions = pl.DataFrame(
        [
            {"query": row["query"], "doc": doc, "rank": rank, "clicked": doc in row["clicked"], "time": row["time"]}
            | {"search": number}
            for number, row in enumerate(three_slices())
            for rank, doc in enumerate(row["shown"], start=first)
        ]
    )
    write_corpus(tmp_path / "impressions")
    path = tmp_path / "impressions" / f"log.{suffix}"
    match suffix:
        case "parquet":
            impressions.with_columns(pl.col("time").str.to_datetime(time_zone="UTC")).write_parquet(path)
        case "jsonl":
            impressions.write_ndjson(path)
        case _:
            impressions.write_csv(path, separator="," if suffix == "csv" else "\t")
    changes = {"rows": "impressions", "columns": {"doc_id": "doc", "position": "rank"}}
    assert read(path.parent, **changes, dev_percent=17, test_percent=17)[1].equals(expected)


def test_impressions_of_one_query_at_one_time_are_one_search(tmp_path):
    write_corpus(tmp_path)
    rows = [(doc, place, doc == "cat", minute) for minute in (1, 2) for place, doc in ((1, "dog"), (2, "cat"))]
    lines = [
        f"who purrs,{doc},{place},{int(is_clicked)},2025-01-01 10:0{minute}" for doc, place, is_clicked, minute in rows
    ]
    (tmp_path / "log.csv").write_text("\n".join(["query,doc_id,position,clicked,time", *lines]) + "\n")
    _, pairs, report = read(tmp_path, rows="impressions", dev_percent=0, test_percent=0)
    assert report["query_log"][0]["searches"] == 2
    assert judged(pairs) == [("train", "who purrs", "shop:cat", 1.0), ("train", "who purrs", "shop:dog", 0.0)]


def test_what_people_look_at_less_counts_more(tmp_path):
    searches, relevant = people_who_look_at_the_top(queries=8, times=800)
    found = trained_on(tmp_path, searches, min_click_rate=0.4, min_skips=None)
    assert {query: doc_id.removeprefix("shop:") for query, doc_id, _ in found} == relevant
    assert len(found) == 8
    uncorrected = trained_on(tmp_path / "other", searches, min_click_rate=0.15, min_skips=None, position_bias=0)
    assert not {(query, doc_id.removeprefix("shop:")) for query, doc_id, _ in uncorrected} & set(relevant.items())


def test_the_log_itself_tells_how_often_a_position_is_clicked(tmp_path):
    searches, _ = people_who_look_at_the_top(queries=8, times=800)
    trained_on(tmp_path, searches, position_bias="log")
    table = read(tmp_path, position_bias="log", dev_percent=0, test_percent=0)[2]["position_bias"]
    examined = [row["examined"] for row in table]
    assert examined[:4] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4], abs=0.05)
    assert examined[5] > 0.3  # every relevant one stands there: the log cannot tell it from a place that is looked at


def test_no_position_weighs_more_than_twenty_clicks_at_the_top():
    far = pl.DataFrame({"position": [1, 1_000], "clicked": [False, True]})
    assert examination(far, 1.0)["examined"].to_list() == [1.0, 0.05]
    with pytest.raises(ValueError, match="position 1 was never clicked"):
        examination(far, "log")


def test_a_document_is_clicked_once_in_a_search_however_often_it_is_shown_and_clicked(tmp_path):
    once = [
        search("who purrs", "cat cat", "cat cat"),
        search("who runs", "elk", "elk"),
        search("who runs", "elk", "elk"),
    ]
    assert trained_on(tmp_path, once) == [("who runs", "shop:elk", 1.0)]


def test_a_document_by_its_two_ids_is_clicked_once_in_a_search(tmp_path):
    twice = [search("who purrs", "cat shop:cat", "cat shop:cat"), *[search("who runs", "elk shop:elk", "shop:elk")] * 2]
    assert trained_on(tmp_path, twice) == [("who runs", "shop:elk", 1.0)]


def test_a_document_that_somebody_clicked_is_no_negative_and_below_the_last_click_nothing_is_skipped(tmp_path):
    clicks = [*[search("who purrs", "dog cow cat hen", "cat")] * 2, search("who purrs", "dog cow", "dog")]
    found = [("who purrs", "shop:cat", 1.0), ("who purrs", "shop:cow", 0.0)]
    assert trained_on(tmp_path, clicks) == found
    in_capitals = search("WHO PURRS", "cow", "cow")
    assert trained_on(tmp_path / "capitals", [*clicks, in_capitals]) == found[:1]


def test_a_query_without_a_positive_is_left_out(tmp_path):
    searches = [search("who purrs", "dog cat", "cat", day) for day in (1, 1, 2)]
    assert {row[0] for row in trained_on(tmp_path, [*searches, search("who is it", "dog", "dog")])} == {"who purrs"}


def test_equal_queries_but_for_white_space_are_one_and_case_does_not_part_them_over_two_splits(tmp_path):
    old = [search("who purrs", "cat", "cat", 1), search(" who\t purrs ", "cat", "cat", 2)]
    new = [
        search("Who Purrs", "cat", "cat", 8),
        search("who barks", "dog", "dog", 9),
        search("who barks", "dog", "dog", 9),
    ]
    _, pairs, report = read(write_searches(tmp_path, [*old, *new]), dev_percent=0, test_percent=45)
    assert [row[:2] for row in judged(pairs)] == [("test", "who barks"), ("train", "who purrs")]
    assert report["query_log"][0]["asked_again_in_a_later_slice"] == 0
    more = [search("who purrs", "owl", "owl", 9)] * 2
    _, pairs, report = read(write_searches(tmp_path, [*old, *new, *more]), dev_percent=0, test_percent=55 - 10)
    assert "shop:owl" not in pairs["doc_id"]
    assert report["query_log"][0]["asked_again_in_a_later_slice"] == 2


def test_personal_data_is_taken_out_of_queries_before_they_are_kept_and_counted(tmp_path):
    asked = ["bill of me@example.org", "bill of  you@example.org", "+49 170 1234567", "who barks", "who barks"]
    searches = [search(query, "cat", "cat") for query in asked]
    _, pairs, report = read(write_searches(tmp_path, searches), dev_percent=0, test_percent=0)
    assert pairs["query"].to_list() == ["bill of [email]", "who barks"]
    pieces = {row["kind"]: row["pieces"] for row in report["personal_data_taken_out_of_queries"]}
    assert (pieces["email"], pieces["phone"]) == (2, 1)
    assert report["query_log"][0]["without_query"] == 1
    assert "me@example.org" not in json.dumps(report)
    kept = read(tmp_path, personal_data=[], min_clicks=1, dev_percent=0, test_percent=0)[1]
    assert "bill of me@example.org" in kept["query"]


def test_what_the_log_says_of_documents_that_are_gone_or_were_not_shown_is_counted(tmp_path):
    searches = [*[search("who purrs", "gone cat", "cat owl")] * 2, search("", "cat", "cat"), search("who", "")]
    _, pairs, report = read(write_searches(tmp_path, searches), dev_percent=0, test_percent=0)
    (counted,) = report["query_log"]
    assert judged(pairs) == [("train", "who purrs", "shop:cat", 1.0)]
    assert (counted["shown_but_not_in_the_corpus"], counted["clicks_on_what_was_not_shown"]) == (2, 2)
    assert (counted["searches"], counted["without_query"]) == (4, 1)


def test_a_log_may_name_the_passages_of_documents(tmp_path):
    (tmp_path / "docs").mkdir()
    for animal in ("cat", "dog"):
        (tmp_path / "docs" / f"{animal}.md").write_text(f"# The {animal}\n\n" + f"All about the {animal}. " * 9)
    documents = {"kind": "documents", "path": str(tmp_path / "docs")}
    write_lines(tmp_path / "log.jsonl", search("x", "cat", "cat"))
    with pytest.raises(TableError, match=r"its ids are like 'cat\.md#"):
        read(tmp_path, documents=documents)
    with pytest.raises(TableError) as error:
        read(tmp_path, documents=documents)
    passage = str(error.value).split("'")[3]
    write_lines(
        tmp_path / "log.jsonl", search("x", passage, passage), search("x", f"shop:{passage}", f"shop:{passage}")
    )
    before = source_fingerprint("shop", source(tmp_path, documents=documents))
    _, pairs, report = read(tmp_path, documents=documents, dev_percent=0, test_percent=0)
    assert judged(pairs) == [("train", "x", f"shop:{passage}", 1.0)]
    assert report["documents"][0]["passages"] == 2
    (tmp_path / "docs" / "cow.md").write_text("The cow came later. " * 9)
    assert source_fingerprint("shop", source(tmp_path, documents=documents)) != before


def test_all_files_of_a_log_are_read_and_a_new_one_is_another_content(tmp_path):
    settings = source(write_searches(tmp_path, [search("who purrs", "cat", "cat")]), dev_percent=0, test_percent=0)
    before = source_fingerprint("shop", settings)
    write_lines(tmp_path / "log-2025-02.jsonl", search("who purrs", "cat", "cat", 40))
    assert source_fingerprint("shop", settings) != before
    assert judged(read_source("shop", settings)[1]) == [("train", "who purrs", "shop:cat", 1.0)]
    assert source_splits("shop", settings) == {"train"}
    assert source_splits("shop", source(tmp_path, train=False)) == {"dev", "test"}


@pytest.mark.parametrize(
    "time",
    [
        "2025-11-03T10:15:00Z",
        "2025-11-03 10:15",
        "2025-11-03",
        1762164900,
        1762164900.5,
        "1762164900000",
        1762164900000000,
    ],
    ids=str,
)
def test_times_are_read_as_logs_write_them(tmp_path, time):
    assert trained_on(tmp_path, [{**search("who purrs", "cat", "cat"), "time": time}] * 2)


def impressions(*rows: str, header: str = "query,doc_id,position,clicked,time") -> str:
    return "\n".join([header, *(row or "x,cat,1,1,2025-01-01" for row in rows)]) + "\n"


BAD_IMPRESSIONS = {
    "a missing column": (impressions(header="query,doc_id,clicked,time"), ["lacks the column 'position'"]),
    "a time that is none": (
        impressions("", "x,cat,1,1,yesterday"),
        ["row 2", "column time", "'yesterday'", "ISO 8601"],
    ),
    "a time of today's date": (impressions("x,cat,1,1,20250101"), ["row 1", "column time", "Unix time"]),
    "no time": (impressions("", "x,cat,1,1,"), ["log.csv: row 2: column time is empty"]),
    "a position below 0": (impressions("x,cat,-1,1,2025-01-01"), ["row 1", "position (-1)", "from 0 or 1"]),
    "half a position": (impressions("x,cat,1.5,1,2025-01-01"), ["row 1", "position", "not a whole number"]),
    "negative clicks": (impressions("", "x,cat,1,-2,2025-01-01"), ["row 2", "clicked ('-2')", "number of clicks"]),
    "no document": (impressions("x,,1,1,2025-01-01"), ["row 1", "column doc_id", "empty"]),
    "documents of another corpus": (
        impressions("x,unicorn,1,1,2025-01-01"),
        ["none of the 1 documents", "'unicorn'", "like 'cat'", "same ids"],
    ),
    "no clicks": (impressions("x,cat,1,0,2025-01-01"), ["slice of train", "min_clicks 2", "lower them"]),
    "no query": (impressions(" ,cat,1,1,2025-01-01"), ["no search", "query"]),
}


@pytest.mark.parametrize(("text", "said"), BAD_IMPRESSIONS.values(), ids=list(BAD_IMPRESSIONS))
def test_a_log_that_cannot_be_used_is_refused_with_row_and_way_out(tmp_path, text, said):
    write_corpus(tmp_path)
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(TableError) as error:
        read(tmp_path, rows="impressions", dev_percent=0, test_percent=0)
    assert [part for part in said if part not in str(error.value)] == []


def test_an_empty_slice_and_what_is_not_there_are_told_with_the_way_out(tmp_path):
    write_searches(tmp_path, [search("who purrs", "cat", "cat", day) for day in range(20)])
    with pytest.raises(TableError, match=r"none of the 0 queries .* slice of dev .* sources.shop.dev_percent"):
        read(tmp_path)
    write_searches(tmp_path, [search("who purrs", "cat", "cat"), search("x", "cat", "cat")])
    with pytest.raises(TableError, match="none of the 0 queries that were first asked in the slice of train"):
        read(tmp_path, min_clicks=1, dev_percent=0, test_percent=45)
    write_searches(tmp_path, [{**search("who purrs", "cat", "cat"), "shown": ["cat", None]}])
    with pytest.raises(TableError, match=r"row 1: column shown .* empty id"):
        read(tmp_path)
    (tmp_path / "log.jsonl").rename(tmp_path / "log.jsonl.gz")
    with pytest.raises(TableError, match=r"log.jsonl.gz is not read: unpack"):
        read(tmp_path)
    (tmp_path / "log.jsonl.gz").unlink()
    with pytest.raises(TableError, match=r"holds no file log\*"):
        source_splits("shop", source(tmp_path))
