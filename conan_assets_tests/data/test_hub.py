from pathlib import Path

import polars as pl
import pytest

from conan_assets.data.settings import HubSource, HubTable
from conan_assets.data.sources import load_source, source_fingerprint
from conan_assets.data.tables import TableError

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
