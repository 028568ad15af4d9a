from pathlib import Path

import polars as pl
import pytest

from conan_assets.data.settings import ClassificationSource, PairsSource, StsSource
from conan_assets.data.sources import load_source, source_fingerprint
from conan_assets.data.tables import TableError


def test_pairs_bring_their_own_corpus_and_their_negatives(tmp_path):
    pl.DataFrame(
        {
            "query": ["who purrs", "who barks"],
            "positive": ["Cats purr.", "Dogs bark."],
            "negatives": [["Dogs bark.", "Birds sing."], []],
        }
    ).write_ndjson(tmp_path / "train.jsonl")
    corpus, pairs = load_source("mine", PairsSource(kind="pairs", path=tmp_path))
    assert sorted(corpus["text"]) == ["Birds sing.", "Cats purr.", "Dogs bark."]
    found = pairs.join(corpus.select("doc_id", document="text"), on="doc_id").select("query", "document", "score")
    assert sorted(found.rows()) == [
        ("who barks", "Dogs bark.", 1.0),
        ("who purrs", "Birds sing.", 0.0),
        ("who purrs", "Cats purr.", 1.0),
        ("who purrs", "Dogs bark.", 0.0),
    ]


def judged(corpus: pl.DataFrame, pairs: pl.DataFrame) -> list[tuple[str, str, float]]:
    found = pairs.join(corpus.select("doc_id", document="text"), on="doc_id").select("query", "document", "score")
    return sorted(found.rows())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.csv", 'query,positive,negatives\nwho purrs,Cats purr.,"[""Dogs bark."", ""Birds sing.""]"\n'),
        ("train.tsv", 'query\tpositive\tnegatives\nwho purrs\tCats purr.\t["Dogs bark.", "Birds sing."]\n'),
    ],
)
def test_negatives_in_a_format_without_lists_are_a_json_list(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert judged(*load_source("mine", PairsSource(kind="pairs", path=tmp_path))) == [
        ("who purrs", "Birds sing.", 0.0),
        ("who purrs", "Cats purr.", 1.0),
        ("who purrs", "Dogs bark.", 0.0),
    ]


def test_an_empty_cell_of_negatives_is_an_empty_list(tmp_path):
    (tmp_path / "train.csv").write_text("query,positive,negatives\nwho purrs,Cats purr.,\n")
    assert judged(*load_source("mine", PairsSource(kind="pairs", path=tmp_path))) == [("who purrs", "Cats purr.", 1.0)]


@pytest.mark.parametrize("cell", ["[1, 2]", '[""a"", ""b""', "[[]]"])
def test_negatives_that_are_no_json_list_of_texts_are_named_with_file_and_row(tmp_path, cell):
    (tmp_path / "train.csv").write_text(f'query,positive,negatives\na b,c d,"[]"\nwho purrs,Cats purr.,"{cell}"\n')
    with pytest.raises(TableError, match=r"train\.csv: row 2: column negatives \(.*not a JSON list of texts"):
        load_source("mine", PairsSource(kind="pairs", path=tmp_path))


def test_several_positives_stand_in_a_list_and_a_single_negative_in_a_text(tmp_path):
    rows = {"query": ["who purrs"], "positive": [["Cats purr.", "Kittens purr."]], "negatives": ["Dogs bark."]}
    pl.DataFrame(rows).write_parquet(tmp_path / "train.parquet")
    assert judged(*load_source("mine", PairsSource(kind="pairs", path=tmp_path))) == [
        ("who purrs", "Cats purr.", 1.0),
        ("who purrs", "Dogs bark.", 0.0),
        ("who purrs", "Kittens purr.", 1.0),
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"query": ["a"], "answer": ["b"]}, r"train\.parquet: .*lacks the column 'positive'; it has query, answer"),
        ({"query": ["a"], "positive": [[]]}, r"train\.parquet: row 1: column positive holds no text"),
        (
            {"query": ["a"], "positive": ["b"], "negatives": [["c", " "]]},
            r"row 1: column negatives holds an empty text",
        ),
        ({"query": ["a"], "positive": ["b"], "negatives": [[{"c": 1}]]}, r"row 1: column negatives holds an object"),
    ],
)
def test_empty_and_mistyped_texts_are_named(tmp_path, rows, message):
    pl.DataFrame(rows).write_parquet(tmp_path / "train.parquet")
    with pytest.raises(TableError, match=message):
        load_source("mine", PairsSource(kind="pairs", path=tmp_path))


def test_grades_of_several_sources_can_share_one_scale(tmp_path):
    (tmp_path / "train.tsv").write_text("sentence1\tsentence2\tscore\na\tb\t5\nc\td\t2\n")
    _, pairs = load_source("sts", StsSource(kind="sts", path=tmp_path, max_score=5))
    assert pairs["score"].to_list() == pytest.approx([1.0, 0.4])
    with pytest.raises(
        TableError, match=r"train\.tsv: row 1: column score \(5\.0\) is above sources\.sts\.max_score, 4\.0"
    ):
        load_source("sts", StsSource(kind="sts", path=tmp_path, max_score=4))


def test_graded_pairs_are_read_from_csv_under_their_own_column_names(tmp_path):
    (tmp_path / "train.csv").write_text('a,b,grade\n"A man, running",A man runs,4.5\nA cat,A car,0\n')
    columns = {"sentence1": "a", "sentence2": "b", "score": "grade"}
    corpus, pairs = load_source("sts", StsSource(kind="sts", path=tmp_path, columns=columns))
    assert corpus.height == 0
    assert pairs.select("task", "query", "text", "score").rows() == [
        ("sts", "A man, running", "A man runs", 4.5),
        ("sts", "A cat", "A car", 0.0),
    ]


def test_labelled_texts_hold_the_label_in_the_text_column(tmp_path):
    (tmp_path / "train.tsv").write_text("text\tlabel\nfine food\tgood\nfine food\tgood\n")
    (tmp_path / "test.tsv").write_text("text\tlabel\ncold food\tbad\n")
    _, pairs = load_source("reviews", ClassificationSource(kind="classification", path=tmp_path))
    assert pairs.select("task", "split", "query", "text").rows() == [
        ("classification", "train", "fine food", "good"),
        ("classification", "train", "fine food", "good"),
        ("classification", "test", "cold food", "bad"),
    ]


def test_the_fingerprint_follows_the_content(tmp_path):
    settings = ClassificationSource(kind="classification", path=tmp_path)
    (tmp_path / "train.tsv").write_text("text\tlabel\nfine food\tgood\n")
    before = source_fingerprint("reviews", settings)
    (tmp_path / "train.tsv").write_text("text\tlabel\nfine food\tbad\n")
    assert source_fingerprint("reviews", settings) != before


def test_an_empty_side_is_named_with_file_and_row(tmp_path):
    (tmp_path / "train.tsv").write_text("sentence1\tsentence2\tscore\na\tb\t1\nc\t\t2\n")
    with pytest.raises(TableError, match=r"train\.tsv: row 2 .*column sentence2 is empty"):
        load_source("sts", StsSource(kind="sts", path=tmp_path))


def test_a_folder_without_a_split_is_named(tmp_path):
    with pytest.raises(TableError, match="holds no file train or dev or test"):
        load_source("sts", StsSource(kind="sts", path=tmp_path))


def test_stsb_is_read_whole():
    folder = Path(__file__).parents[3] / "shared" / "data" / "stsb-en"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    _, pairs = load_source("stsb", StsSource(kind="sts", path=folder))
    assert dict(pairs.group_by("split").len().iter_rows()) == {"train": 5749, "dev": 1500, "test": 1379}
