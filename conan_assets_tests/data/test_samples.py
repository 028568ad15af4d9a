"""The samples of the package are what their README says, and are read like a user's own folders."""

import unicodedata
from collections import Counter

import polars as pl
import pytest

from conan_assets.data.files import SAMPLES
from conan_assets.data.settings import BeirSource, ClassificationSource, StsSource
from conan_assets.data.sources import load_source, source_fingerprint
from conan_assets.data.tables import TableError


def normalised(texts: pl.Series) -> list[str]:
    return ["".join(unicodedata.normalize("NFKC", text).lower().split()) for text in texts]


def read(name: str) -> pl.DataFrame:
    return pl.read_ndjson(SAMPLES / "zh" / name)


@pytest.fixture(scope="module")
def passages() -> tuple[pl.DataFrame, pl.DataFrame]:
    return load_source("zh", BeirSource(kind="beir", path="sample:zh/retrieval", language="zh"))


def test_every_passage_has_two_questions_and_one_of_them_trains(passages):
    corpus, pairs = passages
    assert corpus.height == corpus["doc_id"].n_unique() == 220
    assert Counter(pairs["split"]) == {"train": 264, "dev": 88, "test": 88}
    assert set(Counter(pairs["doc_id"]).values()) == {2}
    assert set(pairs["doc_id"]) == set(corpus["doc_id"])
    assert set(pairs.filter(split="train")["doc_id"]) == set(corpus["doc_id"])


def test_passages_come_in_groups_of_five_near_misses(passages):
    corpus, _ = passages
    groups = Counter(doc_id.rsplit("-", 1)[0] for doc_id in corpus["doc_id"])
    assert set(groups.values()) == {5}


def test_no_text_occurs_twice(passages):
    corpus, pairs = passages
    for texts in (corpus["title"], corpus["text"], pairs["query"]):
        assert max(Counter(normalised(texts)).values()) == 1
    graded = pl.concat([read(f"sts/{split}.jsonl") for split in ("train", "dev", "test")])
    labelled = pl.concat([read(f"classification/{split}.jsonl") for split in ("train", "test")])
    for texts in (pl.concat([graded["sentence1"], graded["sentence2"]]), labelled["text"]):
        assert max(Counter(normalised(texts)).values()) == 1


def test_grades_lie_between_0_and_5_and_every_split_has_the_whole_range():
    graded = {split: read(f"sts/{split}.jsonl") for split in ("train", "dev", "test")}
    assert {split: rows.height for split, rows in graded.items()} == {"train": 90, "dev": 20, "test": 40}
    for rows in graded.values():
        assert (rows["score"].min(), rows["score"].max()) == (0, 5)
        assert rows["score"].n_unique() >= 6


def test_every_class_is_trained_and_tested_equally():
    counts = {split: Counter(read(f"classification/{split}.jsonl")["label"]) for split in ("train", "test")}
    assert len(counts["train"]) == 6
    assert set(counts["train"].values()) == {12}
    assert dict.fromkeys(counts["train"], 8) == counts["test"]


def test_question_pairs_are_half_the_same_question():
    rows = read("pair_classification/test.jsonl")
    assert Counter(rows["score"]) == {1: 24, 0: 24}
    pairs = [tuple(sorted(pair)) for pair in rows.select("sentence1", "sentence2").iter_rows()]
    assert len(set(pairs)) == 48


@pytest.mark.parametrize(
    ("source", "task", "rows"),
    [
        (StsSource(kind="sts", path="sample:zh/sts"), "sts", 150),
        (ClassificationSource(kind="classification", path="sample:zh/classification"), "classification", 120),
    ],
)
def test_sentences_and_labels_are_sources_like_a_users_own(source, task, rows):
    _, pairs = load_source("zh", source)
    assert Counter(pairs["task"]) == {task: rows}
    assert source_fingerprint("zh", source) == source_fingerprint("zh", source)


def test_a_sample_that_does_not_exist_is_named():
    with pytest.raises(TableError, match="there is no folder sample:zh/nothing"):
        load_source("zh", BeirSource(kind="beir", path="sample:zh/nothing"))
