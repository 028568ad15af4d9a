import subprocess
import sys

import polars as pl
import pytest

from conan_assets.data.python_docs import READER, held_out
from conan_assets.data.python_docs_reader import signature, split_documentation
from conan_assets.data.settings import PythonDocsSource
from conan_assets.data.sources import load_source, source_fingerprint
from conan_assets.data.tables import TableError

MARKER = object()
SETTINGS = PythonDocsSource(kind="python_docs")


@pytest.fixture(scope="module")
def python_docs():
    return load_source("python_docs", SETTINGS)


@pytest.mark.slow
def test_the_corpus_is_large_enough_to_train_and_test_on(python_docs):
    corpus, pairs = python_docs
    queries = dict(pairs.group_by("split").agg(pl.col("query_id").n_unique()).iter_rows())
    assert 1_400 < corpus.height < 2_400
    assert queries["train"] > 500
    assert 500 < queries["test"] < 1_000
    assert 100 < queries["dev"] < 300


@pytest.mark.slow
def test_two_readers_print_the_same_bytes_and_nothing_else():
    command = [sys.executable, "-I", "-S", "-W", "ignore", str(READER)]
    first, second = (subprocess.run(command, capture_output=True, check=True) for _ in range(2))
    assert first.stdout == second.stdout
    assert first.stderr == b""


@pytest.mark.slow
def test_reading_imports_nothing_into_this_process(python_docs):
    before = set(sys.modules)
    load_source("python_docs", SETTINGS)
    assert {"antigravity", "this", "telnetlib", "nntplib"} & (set(sys.modules) - before) == set()


def test_no_document_holds_its_query(python_docs):
    corpus, pairs = python_docs
    joined = pairs.join(corpus.select("doc_id", document="text"), on="doc_id", how="left")
    quoted = joined.filter(
        pl.col("document").str.to_lowercase().str.contains(pl.col("query").str.to_lowercase(), literal=True)
    )
    assert quoted["query"].to_list() == []


def test_no_document_names_a_memory_address_or_a_place_on_this_machine(python_docs):
    corpus, _ = python_docs
    assert corpus.filter(pl.col("text").str.contains(r" at 0x[0-9a-f]{6,}")).height == 0
    assert corpus.filter(pl.col("text").str.contains(sys.base_prefix, literal=True)).height == 0


def test_a_query_stands_in_one_split_and_a_held_out_package_is_never_trained_on(python_docs):
    _, pairs = python_docs
    assert pairs.group_by("query_id").agg(pl.col("split").n_unique())["split"].max() == 1
    trained_on = pairs.filter(pl.col("split") == "train")["query_id"].str.extract(r"^python_docs:q:(\w+)").unique()
    assert [package for package in trained_on if held_out(package, SETTINGS)] == []


def test_equal_first_lines_are_one_query_with_several_positives(python_docs):
    _, pairs = python_docs
    assert pairs["query"].str.to_lowercase().n_unique() == pairs["query_id"].n_unique()
    assert pairs.group_by("query_id").len()["len"].max() > 1


def test_equal_documents_are_one(python_docs):
    corpus, _ = python_docs
    assert corpus["text"].n_unique() == corpus.height


@pytest.mark.slow
def test_the_fingerprint_is_stable_and_follows_the_settings():
    assert source_fingerprint("docs", SETTINGS) == source_fingerprint("docs", SETTINGS)
    longer = SETTINGS.model_copy(update={"min_document_chars": 200})
    assert source_fingerprint("docs", longer) != source_fingerprint("docs", SETTINGS)


@pytest.mark.slow
def test_ids_begin_with_the_name_of_the_source():
    corpus, pairs = load_source("stdlib", SETTINGS)
    assert corpus["doc_id"].str.starts_with("stdlib:").all()
    assert pairs["query_id"].str.starts_with("stdlib:").all()


@pytest.mark.slow
def test_limits_that_leave_nothing_are_refused():
    with pytest.raises(TableError, match="no training query"):
        load_source("python_docs", SETTINGS.model_copy(update={"min_document_chars": 10**9}))


def test_a_first_line_that_is_a_signature_is_not_the_query():
    def sample():
        """sample(a[, b]) -> list

        Return what was sampled.
        And more.
        """

    assert split_documentation(sample) == ("Return what was sampled.", "sample(a[, b]) -> list\nAnd more.")


def test_a_signature_shows_plain_defaults_only():
    def sample(a: int, b="x", *, c=MARKER, d="/usr/lib", e=None): ...

    assert signature(sample) == "(a, b='x', *, c=..., d=..., e=None)"


@pytest.mark.slow
def test_graded_pairs_are_as_many_as_asked_for_and_only_of_packages_to_train_on():
    settings = SETTINGS.model_copy(update={"sts_pairs": 100})
    _, pairs = load_source("python_docs", settings)
    graded = pairs.filter(task="sts")
    assert dict(graded.group_by("score").len().iter_rows()) == {1.0: 34, 0.5: 33, 0.0: 33}
    assert set(graded["split"]) == {"train"}
    assert graded.filter(pl.col("query") == pl.col("text")).is_empty()
    trained = pairs.filter(task="retrieval", split="train")
    assert graded.join(trained, on="query", how="anti").is_empty()
    assert graded.filter(pl.col("score") < 1).join(trained, left_on="text", right_on="query", how="anti").is_empty()
