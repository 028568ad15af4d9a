"""Long texts in a dataset of the hub become passages like files do, and questions are written for them."""

from pathlib import Path
from typing import Any

import pytest

from conan_assets.data.settings import HubDocumentsSource
from conan_assets.data.sources import read_source, source_fingerprint, source_splits
from conan_assets.data.tables import TableError
from conan_assets.settings import Settings
from conan_assets.synthesis.generation import generate_pairs
from conan_assets.synthesis.settings import ExtractiveGeneration
from conan_assets_tests.data.frames import make_pairs, write_lines

TEXT = "# Pump {0}\n\nThe pump {0} hums in the {1} hall all night. Nobody knows who switched it on in the year {2}.\n"
PLACES = ["long", "red", "quiet", "northern", "lower", "upper", "inner", "outer"]


def write_dataset(folder: Path) -> Path:
    rows = [{"url": f"p{n}", "body": TEXT.format(n, place, 1900 + n), "title": ""} for n, place in enumerate(PLACES)]
    folder.mkdir()
    write_lines(folder / "train.jsonl", *rows, {"url": "blank", "body": " ", "title": "Nothing"})
    return folder


def source(folder: Path, **changes: Any) -> HubDocumentsSource:
    table = {"split": "train", "columns": {"_id": "url", "text": "body"}}
    return HubDocumentsSource.model_validate({"kind": "hub_documents", "path": str(folder), "table": table, **changes})


def test_rows_become_passages_with_the_ids_of_their_documents_and_no_pairs(tmp_path):
    settings = source(write_dataset(tmp_path / "pumps"), personal_data=["email"])
    corpus, pairs, report = read_source("pumps", settings)
    assert pairs.is_empty()
    assert corpus["doc_id"].str.replace("#.*", "").to_list() == [f"pumps:p{n}" for n in range(8)]
    assert report["documents"] == [
        {"source": "pumps", "documents": 8, "rows_without_text": 1, "passages": 8, "repeated_passages": 0}
    ]
    assert source_splits("pumps", settings) == {"train", "dev", "test"}


def test_a_document_is_called_by_its_id_and_by_nothing_where_it_has_none(tmp_path):
    folder = write_dataset(tmp_path / "pumps")
    assert read_source("pumps", source(folder))[0]["title"][0] == "p0 > Pump 0"
    write_lines(folder / "train.jsonl", {"text": TEXT.format(9, "far", 1999)}, {"text": "Nothing heads this. " * 5})
    corpus, _, _ = read_source("pumps", source(folder, table={"split": "train"}))
    assert corpus["title"].to_list() == ["Pump 9", ""]


def test_questions_are_written_for_every_split(tmp_path):
    settings = source(write_dataset(tmp_path / "pumps"))
    corpus, _, _ = read_source("pumps", settings)
    generation = ExtractiveGeneration(kind="extractive", min_sentence_chars=10)
    pairs, _ = generate_pairs(generation, corpus, make_pairs(), tmp_path, documents={"pumps": settings})
    assert set(pairs["split"]) == {"train", "dev", "test"}


def test_the_fingerprint_follows_the_rows_and_how_they_are_cut(tmp_path):
    folder = write_dataset(tmp_path / "pumps")
    before = source_fingerprint("pumps", source(folder))
    assert source_fingerprint("pumps", source(folder, passage_chars=500)) != before
    write_lines(folder / "train.jsonl", {"url": "a", "body": TEXT.format(9, "far", 1999), "title": ""})
    assert source_fingerprint("pumps", source(folder)) != before


def test_rows_without_any_text_and_a_wrong_column_are_refused(tmp_path):
    folder = write_dataset(tmp_path / "pumps")
    with pytest.raises(TableError, match="lacks the column 'text'"):
        read_source("pumps", source(folder, table={"split": "train"}))
    write_lines(folder / "train.jsonl", {"url": "a", "body": " "})
    with pytest.raises(TableError, match=r"no row of .* holds a document with text"):
        read_source("pumps", source(folder))


def test_a_programme_needs_a_writer_for_them(tmp_path):
    values = {
        "name": "p",
        "sources": {"pumps": source(tmp_path).model_dump()},
        "base_model": {"model": "m"},
        "mining": {"veto": []},
        "rounds": 1,
        "suites": {"beir": {"pumps": {"kind": "local", "dataset": "pumps", "splits": ["dev"]}}},
        "dev_metric": {"suite": "pumps", "split": "dev"},
    }
    with pytest.raises(ValueError, match="has documents and no queries"):
        Settings.model_validate(values)
    written = Settings.model_validate(values | {"generation": {"kind": "extractive"}})
    assert list(written.documents) == ["pumps"]
