import json
from pathlib import Path

import polars as pl
import pytest

from conan_assets.data.settings import BeirSource
from conan_assets.data.sources import load_source, source_fingerprint
from conan_assets.data.tables import CORPUS, PAIRS, TableError


def load(folder: Path, **settings):
    return load_source("mine", BeirSource(kind="beir", path=folder, **settings))


def test_a_folder_of_parquet_and_tsv_becomes_a_corpus_and_pairs(beir_folder):
    corpus, pairs = load(beir_folder)
    assert corpus.columns == list(CORPUS.columns)
    assert corpus.row(0) == ("mine:1", "mine", "Cats", "They purr.")
    assert pairs.schema == dict(PAIRS.columns)
    assert pairs.select("split", "query_id", "query", "doc_id", "score").rows() == [
        ("train", "mine:a", "what purrs", "mine:1", 1.0),
        ("train", "mine:a", "what purrs", "mine:2", 0.0),
        ("dev", "mine:c", "what sings", "mine:2", 1.0),
        ("test", "mine:b", "what barks", "mine:3", 2.0),
    ]


def test_jsonl_gives_the_same_tables_as_parquet(beir_folder):
    expected = load(beir_folder)
    for table in ("corpus", "queries"):
        path = beir_folder / f"{table}.parquet"
        pl.read_parquet(path).write_ndjson(beir_folder / f"{table}.jsonl")
        path.unlink()
    corpus, pairs = load(beir_folder)
    assert corpus.equals(expected[0])
    assert pairs.equals(expected[1])


def test_integer_ids_are_read_as_text(beir_folder):
    pl.read_parquet(beir_folder / "corpus.parquet").cast({"_id": pl.Int64}).write_parquet(
        beir_folder / "corpus.parquet"
    )
    assert load(beir_folder)[0]["doc_id"].to_list() == ["mine:1", "mine:2", "mine:3"]


def test_a_corpus_without_titles_has_empty_ones(beir_folder):
    pl.read_parquet(beir_folder / "corpus.parquet").drop("title").write_parquet(beir_folder / "corpus.parquet")
    assert load(beir_folder)[0]["title"].to_list() == ["", "", ""]


def test_a_document_with_a_title_alone_is_its_title(beir_folder):
    corpus = pl.DataFrame({"_id": ["1", "2", "3"], "title": ["Cats", "Birds", "Dogs"], "text": ["x", "", None]})
    corpus.write_parquet(beir_folder / "corpus.parquet")
    assert load(beir_folder)[0].select("title", "text").rows() == [("Cats", "x"), ("", "Birds"), ("", "Dogs")]


def test_a_source_for_evaluation_alone_has_no_train_pairs_and_needs_no_train_file(beir_folder):
    (beir_folder / "qrels" / "train.tsv").unlink()
    assert set(load(beir_folder, train=False)[1]["split"]) == {"dev", "test"}


def test_a_cap_keeps_whole_queries_and_every_evaluation_query(beir_folder):
    (beir_folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\na\t1\t1\na\t2\t1\nc\t2\t1\nc\t1\t1\n")
    _, pairs = load(beir_folder, max_train_queries=1)
    train = pairs.filter(pl.col("split") == "train")
    assert (train.height, train["query_id"].n_unique()) == (2, 1)
    assert pairs.filter(pl.col("split") == "test").height == 1


def test_the_fingerprint_follows_content_and_settings_and_nothing_else(beir_folder):
    settings = BeirSource(kind="beir", path=beir_folder)
    before = source_fingerprint("mine", settings)
    (beir_folder / "notes.txt").write_text("nothing to do with it")
    (beir_folder / "corpus.parquet").touch()
    assert source_fingerprint("mine", settings) == before
    assert source_fingerprint("mine", settings.model_copy(update={"train": False})) != before
    (beir_folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nc\t3\t1\n")
    assert source_fingerprint("mine", settings) != before


def write_corpus(folder: Path, **columns) -> None:
    pl.DataFrame({"_id": ["1", "2", "3"], "title": ["", "", ""], "text": ["x", "y", "z"]} | columns).write_parquet(
        folder / "corpus.parquet"
    )


def write_train(folder: Path, *lines: str, header: str = "query-id\tcorpus-id\tscore") -> None:
    (folder / "qrels" / "train.tsv").write_text("\n".join([header, *lines]) + "\n")


DAMAGES = {
    "a folder that is not there": (
        lambda folder: folder.rename(folder.with_name("other")),
        ["there is no folder", "sources.mine.path"],
    ),
    "no corpus file": (
        lambda folder: (folder / "corpus.parquet").unlink(),
        ["neither corpus.parquet nor corpus.jsonl"],
    ),
    "two corpus files": (
        lambda folder: (folder / "corpus.jsonl").touch(),
        ["corpus.parquet and corpus.jsonl", "keep one"],
    ),
    "a corrupt Parquet file": (
        lambda folder: (folder / "corpus.parquet").write_bytes(b"PAR1 and then nothing"),
        ["corpus.parquet", "not readable Parquet", "write it again"],
    ),
    "a Parquet file cut in half": (
        lambda folder: (folder / "corpus.parquet").write_bytes((folder / "corpus.parquet").read_bytes()[:200]),
        ["corpus.parquet", "not readable Parquet"],
    ),
    "an empty file": (lambda folder: (folder / "qrels" / "dev.tsv").write_text(""), ["dev.tsv", "is empty"]),
    "a missing column": (
        lambda folder: pl.DataFrame({"_id": ["1"], "body": ["x"]}).write_parquet(folder / "corpus.parquet"),
        ["corpus.parquet", "lacks the column 'text'", "_id, body"],
    ),
    "a mis-typed column": (
        lambda folder: write_corpus(folder, text=[[1], [2], [3]]),
        ["corpus.parquet", "row 1", "column text", "a list", "not a text"],
    ),
    "a number that is none": (
        lambda folder: write_train(folder, "a\t1\t1", "a\t2\tyes"),
        ["train.tsv", "row 2", "column score", "'yes'", "not a number"],
    ),
    "a missing judgement column": (
        lambda folder: write_train(folder, "a\t1", header="query-id\tcorpus-id"),
        ["train.tsv", "lacks the column 'score'"],
    ),
    "a document id that occurs twice": (
        lambda folder: write_corpus(folder, _id=["1", "2", "2"]),
        ["corpus.parquet", "row 3", "_id", "'2'", "twice"],
    ),
    "an empty text": (
        lambda folder: write_corpus(folder, text=["x", "  ", "z"]),
        ["corpus.parquet", "row 2", "'2'", "column text", "empty"],
    ),
    "an empty query": (
        lambda folder: pl.DataFrame({"_id": ["a", "b", "c"], "text": ["x", None, "z"]}).write_parquet(
            folder / "queries.parquet"
        ),
        ["queries.parquet", "row 2", "'b'", "column text", "empty"],
    ),
    "a judgement of an unknown document": (
        lambda folder: write_train(folder, "a\t1\t1", "a\t99\t1"),
        ["train.tsv", "row 2", "corpus-id '99'", "not in", "corpus.parquet"],
    ),
    "a judgement of an unknown query": (
        lambda folder: write_train(folder, "zz\t1\t1"),
        ["train.tsv", "row 1", "query-id 'zz'", "not in", "queries.parquet"],
    ),
    "a judgement that occurs twice": (
        lambda folder: write_train(folder, "a\t1\t1", "a\t1\t1"),
        ["train.tsv", "row 2", "query-id + corpus-id", "twice"],
    ),
    "no training query": (
        lambda folder: write_train(folder, "a\t1\t0"),
        ["no training query", "qrels/train", "train to false"],
    ),
    "no train file": (lambda folder: (folder / "qrels" / "train.tsv").unlink(), ["no training query"]),
    "no judgements at all": (
        lambda folder: [path.unlink() for path in (folder / "qrels").iterdir()],
        ["no judgements", "qrels/train"],
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused_with_file_place_and_remedy(beir_folder, damage):
    do_damage, expected = DAMAGES[damage]
    do_damage(beir_folder)
    with pytest.raises(TableError) as error:
        load(beir_folder)
    for words in expected:
        assert words in str(error.value)


def test_jsonl_may_begin_with_a_byte_order_mark(beir_folder):
    expected, _ = load_source("mine", BeirSource(kind="beir", path=beir_folder))
    path = beir_folder / "corpus.parquet"
    content = pl.read_parquet(path).write_ndjson().encode()
    path.unlink()
    (beir_folder / "corpus.jsonl").write_bytes(b"\xef\xbb\xbf" + content)
    assert load_source("mine", BeirSource(kind="beir", path=beir_folder))[0].equals(expected)


def test_a_broken_line_of_jsonl_is_named(beir_folder):
    (beir_folder / "corpus.parquet").unlink()
    lines = [json.dumps({"_id": "1", "title": "", "text": "x"}), '{"_id": "2", "text": ']
    (beir_folder / "corpus.jsonl").write_text("\n".join(lines))
    with pytest.raises(TableError, match=r"corpus\.jsonl: line 2 is not JSON"):
        load(beir_folder)


def test_scifact_is_read_whole():
    folder = Path(__file__).parents[3] / "shared" / "data" / "scifact"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    corpus, pairs = load_source("scifact", BeirSource(kind="beir", path=folder))
    assert corpus.height == 5183
    assert dict(pairs.group_by("split").agg(pl.col("query_id").n_unique()).iter_rows()) == {"train": 809, "test": 300}
