"""Every teacher's table holds its best documents, all positives, and the teacher's own scores."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sentence_transformers import CrossEncoder

from conan_assets.data.tables import CANDIDATES, check_table
from conan_assets.encoding.loading import TokenLimitError
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.lexical import BM25
from conan_assets.mining.collection import MiningError, collections
from conan_assets.search.groups import Groups
from conan_assets.search.score_table import TableRetriever
from conan_assets.search.settings import BiEncoderTeacher, BM25Teacher, CrossEncoderTeacher, SearchSettings
from conan_assets.search.teachers import open_teacher
from conan_assets_tests.mining.conftest import first_words, make_corpus, make_pair, make_pairs, score


@pytest.fixture
def teachers(tiny_model: str, tiny_cross_encoder: str) -> dict:
    return {
        "bm25": BM25Teacher(depth=10),
        "bi_encoder": BiEncoderTeacher(depth=10, encoder=EncoderSettings(tiny_model, dtype="float32")),
        "cross_encoder": CrossEncoderTeacher(depth=10, model=tiny_cross_encoder, max_tokens=64, dtype="float32"),
    }


def test_a_pair_longer_than_the_cross_encoders_positions_is_refused(tiny_cross_encoder, corpus, pairs, store, tmp_path):
    teacher = CrossEncoderTeacher(depth=10, model=tiny_cross_encoder, max_tokens=512, dtype="float32")
    with pytest.raises(TokenLimitError, match=r"max_tokens is 512, above the 64 positions of .*: give 64 or less"):
        score(teacher, "cross_encoder", corpus, pairs, store, tmp_path)


@pytest.mark.parametrize("kind", ["bm25", "bi_encoder", "cross_encoder"])
def test_a_table_holds_the_candidates_and_every_positive_once(kind, teachers, corpus, pairs, store, tmp_path):
    table, report = score(teachers[kind], kind, corpus, pairs, store, tmp_path)
    check_table(table, CANDIDATES, kind)
    positives = table.filter("is_positive").select("query_id", "doc_id").sort("query_id", "doc_id")
    assert positives.equals(pairs.select("query_id", "doc_id").sort("query_id", "doc_id"))
    per_query = table.filter(~pl.col("is_positive")).group_by("query_id").len()["len"]
    assert per_query.max() == 10
    assert kind == "bm25" or per_query.min() == 10
    ranked = table.drop_nulls("rank").sort("query_id", "rank")
    assert ranked.select((pl.col("score").diff() <= 1e-6).over("query_id").all())["score"].all()
    assert (report["queries"], report["positives"]) == (30, 40)
    assert (tmp_path / report["histogram"]).stat().st_size > 1000


def test_bi_encoder_scores_are_cosines_of_its_embeddings(teachers, corpus, pairs, store, tmp_path, encoder):
    table, _ = score(teachers["bi_encoder"], "t", corpus, pairs, store, tmp_path)
    row = table.filter(pl.col("query_id") == "made:q5").row(0, named=True)
    query = encoder.encode([pairs.filter(pl.col("query_id") == "made:q5")["query"][0]], "query")
    document = encoder.encode([corpus.filter(pl.col("doc_id") == row["doc_id"])["text"][0]], "document")
    assert row["score"] == pytest.approx(float(query[0] @ document[0]), abs=2e-3)


@pytest.mark.slow
def test_a_second_teacher_with_the_same_model_encodes_nothing(teachers, corpus, pairs, store, tmp_path):
    first = score(teachers["bi_encoder"], "a", corpus, pairs, store, tmp_path / "a")
    second = score(teachers["bi_encoder"], "b", corpus, pairs, store, tmp_path / "b")
    assert (first[1]["encoded"], second[1]["encoded"]) == (150, 0)
    assert first[0].equals(second[0])


@pytest.mark.slow
def test_cross_encoder_scores_are_those_of_the_model_and_are_computed_once(
    teachers, tiny_cross_encoder, corpus, pairs, store, tmp_path
):
    table, report = score(teachers["cross_encoder"], "t", corpus, pairs, store, tmp_path / "a")
    again, second = score(teachers["cross_encoder"], "t", corpus, pairs, store, tmp_path / "b")
    assert report["encoded"] == table.height
    assert second["encoded"] == 0
    assert table.equals(again)
    row = table.filter(pl.col("query_id") == "made:q5").row(3, named=True)
    query = pairs.filter(pl.col("query_id") == "made:q5")["query"][0]
    text = corpus.filter(pl.col("doc_id") == row["doc_id"])["text"][0]
    assert row["score"] == pytest.approx(
        float(CrossEncoder(tiny_cross_encoder, max_length=64).predict([(query, text)])[0]), abs=1e-5
    )


@pytest.mark.slow
def test_a_cross_encoder_takes_its_candidates_from_the_first_stage(teachers, corpus, pairs, store, tmp_path):
    table, _ = score(teachers["cross_encoder"], "t", corpus, pairs, store, tmp_path / "a")
    first, _ = score(teachers["bm25"], "t", corpus, pairs, store, tmp_path / "b")
    assert set(table.select("query_id", "doc_id").rows()) == set(first.select("query_id", "doc_id").rows())


def test_bm25_searches_chinese_by_character_bigrams(store, tmp_path):
    texts = ["上海是中国最大的城市", "长城位于中国北方", "苹果富含维生素", "北方的城市冬天很冷"]
    corpus = make_corpus(4).with_columns(text=pl.Series(texts))
    table, _ = score(BM25Teacher(), "bm25", corpus, make_pairs([make_pair(0, 1, query="北方的长城")]), store, tmp_path)
    assert table.filter(~pl.col("is_positive"))["doc_id"].to_list() == ["made:d3"]


def test_candidates_come_from_the_querys_own_dataset(store, tmp_path):
    corpus = pl.concat([make_corpus(30, 0, "one"), make_corpus(30, 1, "two")])
    pairs = make_pairs(
        [make_pair(i, i, dataset=name, query=corpus["text"][i]) for name in ("one", "two") for i in range(3)]
    )
    table, _ = score(BM25Teacher(), "bm25", corpus, pairs, store, tmp_path)
    assert (table["query_id"].str.slice(0, 3) == table["doc_id"].str.slice(0, 3)).all()
    assert table["query_id"].n_unique() == 6


def test_a_positive_outside_the_corpus_is_scored_and_never_a_candidate(teachers, corpus, store, tmp_path):
    text = f"{first_words(corpus, 3)} and an answer"
    pairs = make_pairs(
        [make_pair(0, None, text, query=first_words(corpus, 3)), make_pair(1, 4, query=first_words(corpus, 3))]
    )
    for name in ("bm25", "bi_encoder"):
        table, _ = score(teachers[name], name, corpus, pairs, store, tmp_path / name)
        outside = table.filter(pl.col("doc_id").str.starts_with("pair:"))
        assert outside.select("query_id", "is_positive").rows() == [("made:q0", True)]
        assert outside["score"][0] > 0


def test_a_table_gives_its_scores_and_the_teacher_only_what_is_missing(teachers, corpus, pairs, store, tmp_path):
    table, _ = score(teachers["bm25"], "bm25", corpus, pairs, store, tmp_path)
    (collection,) = collections(corpus.lazy(), pairs.lazy(), tmp_path)
    marked = table.with_columns(score=pl.lit(7.0, pl.Float32))
    texts, asked = collection.texts.to_list(), collection.queries.to_list()
    retriever = TableRetriever(120, 120, lambda: open_teacher(teachers["bm25"], texts, store))
    retriever.hold(collection.positions_of(marked))
    found = retriever.search(asked, 5, collection.positives)
    assert not np.isin(found.positions[0], collection.positives[0]).any()
    assert (retriever.search(["never asked"], 5, Groups.empty(1)).positions == -1).all()
    assert found.scores[found.positions >= 0].max() == 7.0
    absent = np.setdiff1d(np.arange(120), found.positions[0])[-1]
    known, computed = retriever.score(asked, np.array([0, 0]), np.array([found.positions[0, 0], absent]))
    assert known == 7.0
    assert computed == pytest.approx(BM25(corpus["text"].to_list()).scores(collection.queries[0])[absent])


def test_approximate_search_reports_its_recall(teachers, corpus, pairs, store, tmp_path):
    settings = teachers["bi_encoder"].model_copy(
        update={"search": SearchSettings(index="IVF2,Flat", index_parameters="nprobe=2")}
    )
    approximate, report = score(settings, "t", corpus, pairs, store, tmp_path / "a")
    exact, plain = score(teachers["bi_encoder"], "t", corpus, pairs, store, tmp_path / "b")
    assert report["recall_of_exact"] == 1.0
    assert "recall_of_exact" not in plain
    assert set(approximate.select("query_id", "doc_id").rows()) == set(exact.select("query_id", "doc_id").rows())


def test_a_judgement_of_an_unknown_document_is_an_error_that_names_both(corpus, store, tmp_path):
    pairs = make_pairs([make_pair(0, 500)])
    with pytest.raises(MiningError, match=r"'made:q0\+500' judges the document 'made:d500'.*'made'"):
        score(BM25Teacher(), "bm25", corpus, pairs, store, Path(tmp_path))


def test_pairs_without_a_positive_are_an_error(corpus, store, tmp_path):
    with pytest.raises(MiningError, match="no retrieval pair with a score above 0"):
        score(BM25Teacher(), "bm25", corpus, make_pairs([make_pair(0, 1, score=0.0)]), store, tmp_path)
