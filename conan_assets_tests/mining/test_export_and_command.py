"""Other trainers read what the export writes, and the audit prints any negatives file."""

import json

import polars as pl
import pytest

from conan_assets.mining.__main__ import main
from conan_assets.mining.export import LAYOUTS, export
from conan_assets_tests.mining.conftest import make_corpus, make_pair, make_pairs


@pytest.fixture
def mined(tmp_path):
    """Negatives of two queries: the first keeps two, the second one; written beside their corpus and pairs."""
    corpus = make_corpus(10).with_columns(title=pl.Series(["A title"] + [None] * 9))
    pairs = make_pairs([make_pair(0, 0), make_pair(0, None, "an answer"), make_pair(1, 1)])
    rows = [
        (0, 5, 2, "kept", None),
        (0, 6, 1, "kept", None),
        (0, 7, None, "removed", "t:top_k_abs"),
        (1, 8, 1, "kept", None),
    ]
    negatives = pl.DataFrame(
        [(f"made:q{q}", f"made:d{d}", 1, 0.5 + d / 100, v, r, o) for q, d, o, v, r in rows],
        schema={
            "query_id": pl.String, "doc_id": pl.String, "rank": pl.Int32, "student_score": pl.Float32,
            "verdict": pl.String, "reason": pl.String, "order": pl.Int32,
        },
        orient="row",
    )  # fmt: skip
    for name, frame in (("negatives", negatives), ("pairs", pairs), ("corpus", corpus)):
        frame.write_parquet(tmp_path / f"{name}.parquet")
    return negatives, pairs, corpus


def written(mined, layout, count, tmp_path) -> list[dict]:
    lines = export(*mined, layout, count, tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines == len(rows)
    return rows


def test_triplets_have_a_row_for_each_positive_and_negative(mined, tmp_path):
    rows = written(mined, "triplet", 2, tmp_path)
    corpus = mined[2]
    assert len(rows) == 2 * 2 + 1
    assert list(rows[0]) == ["anchor", "positive", "negative"]
    assert rows[0]["positive"] == f"A title {corpus['text'][0]}"
    assert rows[0]["negative"] == corpus["text"][6]
    assert rows[2]["positive"] == "an answer"


def test_n_tuples_leave_out_queries_with_too_few(mined, tmp_path):
    rows = written(mined, "n_tuple", 2, tmp_path)
    assert [row["anchor"] for row in rows] == ["question 0", "question 0"]
    assert rows[0]["negative_2"] == mined[2]["text"][5]


def test_sentence_transformers_trains_on_exported_triplets(mined, tmp_path, tiny_model):
    from datasets import load_dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    written(mined, "triplet", 2, tmp_path)
    data = load_dataset(
        "json", data_files=str(tmp_path / "out.jsonl"), split="train", cache_dir=str(tmp_path / "cache")
    )
    model = SentenceTransformer(tiny_model, device="cpu")
    features = [model.preprocess(data[column]) for column in ("anchor", "positive", "negative")]
    assert MultipleNegativesRankingLoss(model)(features, None).item() > 0


def test_flag_embedding_lines_hold_lists_of_texts_and_scores(mined, tmp_path):
    first = written(mined, "flag_embedding", 2, tmp_path)[0]
    assert (len(first["pos"]), len(first["neg"])) == (2, 2)
    assert first["neg_scores"] == pytest.approx([0.56, 0.55])


def test_tevatron_lines_hold_passages_with_ids_and_titles(mined, tmp_path):
    first = written(mined, "tevatron", 2, tmp_path)[0]
    assert first["positive_passages"][0]["title"] == "A title"
    assert [passage["docid"] for passage in first["negative_passages"]] == ["made:d6", "made:d5"]


def test_an_unknown_layout_is_an_error(mined, tmp_path):
    with pytest.raises(ValueError, match=f"'csv'; the layouts are {', '.join(LAYOUTS)}"):
        export(*mined, "csv", 2, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_prints_the_audit_of_a_file(mined, tmp_path, capsys):
    path = str(tmp_path / "negatives.parquet")
    main(["audit", path, "--count", "2", "--previous", path])
    output = capsys.readouterr().out
    assert "t:top_k_abs" in output
    assert [line.split() for line in output.splitlines() if "queries_short" in line] == [["queries_short", "1"]]
    assert "queries_changed  0.0" in output


def test_the_command_exports(mined, tmp_path, capsys):
    files = [f"--{name}={tmp_path / name}.parquet" for name in ("pairs", "corpus")]
    main(
        ["export", str(tmp_path / "negatives.parquet"), *files, "--layout=triplet", f"--output={tmp_path / 'o.jsonl'}"]
    )
    assert "5 lines" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"), [("absent", "is not there"), ("pairs", "lacks the column 'rank'"), ("broken", "arquet")]
)
def test_a_file_that_is_no_negatives_table_ends_with_a_message(mined, tmp_path, name, message):
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 but nothing else")
    with pytest.raises(SystemExit, match=message) as caught:
        main(["audit", str(tmp_path / f"{name}.parquet")])
    assert isinstance(caught.value.code, str)
