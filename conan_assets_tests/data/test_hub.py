import json
from pathlib import Path

import polars as pl
import pytest

from conan_assets.data.settings import HubClassificationSource, HubPairsSource, HubSource, HubStsSource, HubTable
from conan_assets.data.sources import load_source, source_fingerprint
from conan_assets.data.tables import TableError
from conan_assets_tests.data.frames import write_lines

README = """---
configs:
- config_name: corpus
  data_files:
  - split: corpus
    path: corpus.parquet
- config_name: queries
  data_files:
  - split: queries
    path: queries.parquet
- config_name: default
  default: true
  data_files:
  - split: train
    path: train.parquet
  - split: test
    path: test.parquet
---
"""


@pytest.fixture
def hub_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / "README.md").write_text(README)
    write_corpus(folder, "They purr.")
    pl.DataFrame({"_id": ["a", "b"], "text": ["what purrs", "what barks"]}).write_parquet(folder / "queries.parquet")
    for split, query, document in (("train", "a", "1"), ("test", "b", "2")):
        judgements = pl.DataFrame({"query-id": [query], "corpus-id": [document], "score": [1]})
        judgements.write_parquet(folder / f"{split}.parquet")
    return folder


def write_corpus(folder: Path, first_text: str, id_column: str = "_id") -> None:
    corpus = pl.DataFrame({id_column: ["1", "2"], "title": ["Cats", "Dogs"], "text": [first_text, "They bark."]})
    corpus.write_parquet(folder / "corpus.parquet")


def load(folder: Path, **settings):
    return load_source("hub", HubSource(kind="hub", path=str(folder), **settings))


def test_a_local_folder_in_hub_layout_becomes_a_corpus_and_pairs(hub_folder):
    corpus, pairs = load(hub_folder)
    assert corpus.rows() == [("hub:1", "hub", "Cats", "They purr."), ("hub:2", "hub", "Dogs", "They bark.")]
    assert pairs.select("split", "query_id", "doc_id").rows() == [
        ("train", "hub:a", "hub:1"),
        ("test", "hub:b", "hub:2"),
    ]


def test_changed_files_are_read_again_under_the_same_path(hub_folder):
    before = source_fingerprint("hub", HubSource(kind="hub", path=str(hub_folder)))
    assert load(hub_folder)[0]["text"][0] == "They purr."
    write_corpus(hub_folder, "They hiss.")
    assert load(hub_folder)[0]["text"][0] == "They hiss."
    assert source_fingerprint("hub", HubSource(kind="hub", path=str(hub_folder))) != before


def test_columns_are_mapped_to_their_names_in_beir_layout(hub_folder):
    write_corpus(hub_folder, "They purr.", id_column="docid")
    mapped = HubTable(config="corpus", split="corpus", columns={"_id": "docid"})
    assert load(hub_folder, corpus=mapped)[0]["doc_id"].to_list() == ["hub:1", "hub:2"]


def test_a_table_may_stand_in_a_folder_of_its_own(hub_folder, tmp_path):
    judgements = tmp_path / "judgements"
    judgements.mkdir()
    (hub_folder / "train.parquet").rename(judgements / "train.parquet")
    table = HubTable(path=str(judgements), split="train")
    assert load(hub_folder, judgements={"train": table})[1]["query_id"].to_list() == ["hub:a"]


def test_a_mapped_column_that_is_not_there_is_named(hub_folder):
    mapped = HubTable(config="corpus", split="corpus", columns={"_id": "docid"})
    with pytest.raises(TableError, match=r"config corpus, split corpus\) lacks the column 'docid'.*_id, title, text"):
        load(hub_folder, corpus=mapped)


def test_a_split_that_is_not_there_is_named(hub_folder):
    with pytest.raises(TableError, match=r"split validation\) cannot be loaded"):
        load(hub_folder, judgements={"train": HubTable(split="train"), "dev": HubTable(split="validation")})


def test_the_train_split_is_not_loaded_for_evaluation_alone(hub_folder):
    (hub_folder / "README.md").write_text(README.replace("  - split: train\n    path: train.parquet\n", ""))
    assert load(hub_folder, train=False)[1]["split"].to_list() == ["test"]


def test_a_commit_is_a_fingerprint_without_a_network():
    one, two = ("1" * 40, "2" * 40)
    fingerprints = [
        source_fingerprint("x", HubSource(kind="hub", path="a/b", revision=commit)) for commit in (one, two)
    ]
    assert fingerprints[0] != fingerprints[1]


def test_a_branch_without_a_network_is_refused_with_the_way_out():
    with pytest.raises(TableError, match=r"neither a local folder nor.*set its revision to a commit"):
        source_fingerprint("x", HubSource(kind="hub", path="nobody/nothing", revision="main"))


def test_rows_can_be_streamed_and_limited_to_the_first(hub_folder):
    limited = HubTable(config="queries", split="queries", streaming=True, max_rows=1)
    with pytest.raises(TableError, match="query-id 'b' is not in"):
        load(hub_folder, queries=limited)
    streamed = HubTable(config="corpus", split="corpus", streaming=True)
    assert load(hub_folder, corpus=streamed)[0].equals(load(hub_folder)[0])


def test_documents_without_text_can_be_left_out_with_their_judgements(hub_folder):
    pl.DataFrame({"_id": ["1", "2"], "title": ["", ""], "text": ["They purr.", " "]}).write_parquet(
        hub_folder / "corpus.parquet"
    )
    with pytest.raises(TableError, match=r"row 2.*column text.*is empty"):
        load(hub_folder)
    corpus, pairs = load(hub_folder, skip_empty=True)
    assert corpus["doc_id"].to_list() == pairs["doc_id"].to_list() == ["hub:1"]


def test_judgements_in_a_repository_of_their_own_with_other_names(hub_folder, tmp_path):
    """As C-MTEB has them: qid, pid, score beside a corpus whose ids are called id."""
    write_corpus(hub_folder, "They purr.", id_column="id")
    judgements = tmp_path / "qrels" / "data"
    judgements.mkdir(parents=True)
    pl.DataFrame({"qid": ["a"], "pid": ["2"], "score": [1]}).write_parquet(judgements / "dev-00000-of-00001.parquet")
    dev = HubTable(path=str(judgements.parent), split="dev", columns={"query-id": "qid", "corpus-id": "pid"})
    corpus = HubTable(config="corpus", split="corpus", columns={"_id": "id"})
    _, pairs = load(hub_folder, corpus=corpus, judgements={"dev": dev}, train=False)
    assert pairs.select("split", "query_id", "doc_id").rows() == [("dev", "hub:a", "hub:2")]


def write_jsonl(path: Path, *rows: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


@pytest.mark.parametrize("streaming", [False, True])
def test_queries_with_lists_of_positives_and_negatives(tmp_path, streaming):
    """As BGE's training files have them, without any configuration."""
    write_jsonl(
        tmp_path / "zh" / "t2.jsonl",
        {"query": "谁会呼噜", "pos": ["猫会呼噜。"], "neg": ["狗会叫。", "鸟会唱。"]},
        {"query": "谁会叫", "pos": ["狗会叫。"], "neg": []},
    )
    columns = {"positive": "pos", "negatives": "neg"}
    table = HubTable(split="train", data_files="zh/*.jsonl", columns=columns, streaming=streaming)
    source = HubPairsSource(kind="hub_pairs", path=str(tmp_path), tables={"train": table}, language="zh")
    corpus, pairs = load_source("t2", source)
    assert sorted(corpus["text"]) == ["狗会叫。", "猫会呼噜。", "鸟会唱。"]
    assert pairs["score"].to_list() == [1.0, 1.0, 0.0, 0.0]
    assert set(pairs["split"]) == {"train"}


def test_triplets_of_a_configuration(tmp_path):
    """As sentence-transformers/all-nli has them."""
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: triplet\n  data_files:\n  - split: train\n    path: triplet/train.parquet\n---\n"
    )
    (tmp_path / "triplet").mkdir()
    rows = {"anchor": ["A man runs."], "positive": ["Someone runs."], "negative": ["A man sleeps."]}
    pl.DataFrame(rows).write_parquet(tmp_path / "triplet" / "train.parquet")
    table = HubTable(config="triplet", split="train", columns={"query": "anchor", "negatives": "negative"})
    corpus, pairs = load_source("nli", HubPairsSource(kind="hub_pairs", path=str(tmp_path), tables={"train": table}))
    found = pairs.join(corpus.select("doc_id", document="text"), on="doc_id").select("query", "document", "score")
    assert found.rows() == [("A man runs.", "Someone runs.", 1.0), ("A man runs.", "A man sleeps.", 0.0)]


def test_graded_pairs_with_a_split_for_dev(tmp_path):
    """As C-MTEB/LCQMC has them."""
    for split, score in (("train", 1), ("validation", 0)):
        write_jsonl(tmp_path / f"{split}.jsonl", {"sentence1": "一", "sentence2": "二", "score": score})
    tables = {"train": HubTable(split="train"), "dev": HubTable(split="validation")}
    source = HubStsSource(kind="hub_sts", path=str(tmp_path), tables=tables, max_score=1)
    assert load_source("lcqmc", source)[1].select("task", "split", "query", "text", "score").rows() == [
        ("sts", "train", "一", "二", 1.0),
        ("sts", "dev", "一", "二", 0.0),
    ]


def test_labelled_texts_with_numbers_for_labels(tmp_path):
    """As C-MTEB/TNews-classification has them."""
    write_jsonl(tmp_path / "train.jsonl", {"text": "好看的电影", "label": 3}, {"text": "新闻", "label": 7})
    source = HubClassificationSource(kind="hub_classification", path=str(tmp_path))
    assert load_source("tnews", source)[1].select("task", "query", "text").rows() == [
        ("classification", "好看的电影", "3"),
        ("classification", "新闻", "7"),
    ]


def test_an_empty_sentence_on_the_hub_is_named_with_repository_split_and_row(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", {"sentence1": "一", "sentence2": "", "score": 1})
    with pytest.raises(TableError, match=r"config default, split train\): row 1 .*column sentence2 .*is empty"):
        load_source("lcqmc", HubStsSource(kind="hub_sts", path=str(tmp_path)))


def test_rows_with_empty_texts_can_be_left_out(tmp_path):
    write_jsonl(
        tmp_path / "train.jsonl",
        {"query": "who purrs", "positive": ["Cats purr.", ""], "negatives": ["", "Dogs bark."]},
        {"query": " ", "positive": ["Birds sing."], "negatives": []},
        {"query": "who sings", "positive": [" "], "negatives": []},
    )
    source = HubPairsSource(kind="hub_pairs", path=str(tmp_path), skip_empty=True)
    corpus, pairs = load_source("mine", source)
    assert sorted(corpus["text"]) == ["Cats purr.", "Dogs bark."]
    assert set(pairs["query"]) == {"who purrs"}


def test_a_train_table_alone_is_no_source_for_evaluation(tmp_path):
    with pytest.raises(TableError, match=r"names a train table alone, and sources\.x\.train is false"):
        load_source("x", HubStsSource(kind="hub_sts", path=str(tmp_path), train=False))


def test_integer_ids_on_the_hub_are_texts_when_empty_rows_are_skipped(tmp_path):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n"
        "  data_files: [{split: train, path: qrels/train.jsonl}, {split: test, path: qrels/test.jsonl}]\n"
        "- config_name: corpus\n  data_files: [{split: corpus, path: corpus.jsonl}]\n"
        "- config_name: queries\n  data_files: [{split: queries, path: queries.jsonl}]\n---\n"
    )
    write_lines(tmp_path / "queries.jsonl", {"_id": "7", "text": "how do I reset"}, {"_id": "8", "text": "where"})
    documents = [("1", "a", "Open it."), ("2", "b", "Every invoice."), ("3", "", "")]
    write_lines(tmp_path / "corpus.jsonl", *({"_id": i, "title": t, "text": x} for i, t, x in documents))
    judged = [{"query-id": q, "corpus-id": d, "score": 1} for q, d in ((7, 1), (8, 2), (8, 3))]
    write_lines(tmp_path / "qrels" / "train.jsonl", *judged)
    write_lines(tmp_path / "qrels" / "test.jsonl", judged[0])
    corpus, pairs = load_source("h", HubSource(kind="hub", path=str(tmp_path), skip_empty=True))
    assert corpus["doc_id"].to_list() == ["h:1", "h:2"]
    assert pairs.select("split", "query_id", "doc_id").rows() == [
        ("train", "h:7", "h:1"),
        ("train", "h:8", "h:2"),
        ("test", "h:7", "h:1"),
    ]


def test_a_file_of_the_hub_whose_column_is_null_throughout_is_read(tmp_path):
    (tmp_path / "data").mkdir()
    for number, negative in enumerate([None, "Nowhere."]):
        row = {"query": f"where is {number}", "pos": f"{number} stands here.", "neg": negative}
        write_lines(tmp_path / "data" / f"{number}.jsonl", row)
    table = {"data_files": "data/*.jsonl", "split": "train", "columns": {"positive": "pos", "negatives": "neg"}}
    source = HubPairsSource(kind="hub_pairs", path=str(tmp_path), tables={"train": table})
    corpus, pairs = load_source("h", source)
    negatives = pairs.filter(score=0).join(corpus.select("doc_id", document="text"), on="doc_id")
    assert negatives["document"].to_list() == ["Nowhere."]
    assert pairs.height == 3
