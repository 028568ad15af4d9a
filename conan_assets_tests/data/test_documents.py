"""Documents: read from files of many kinds, cut into passages, held out by groups."""

import io
import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from conan_assets.data.decoding import UnreadableError, decoded
from conan_assets.data.document_files import document_files
from conan_assets.data.document_groups import split_passages
from conan_assets.data.document_text import DocumentText, markdown_of, read_document
from conan_assets.data.documents import read_documents
from conan_assets.data.near_texts import near_between
from conan_assets.data.passages import cut_document
from conan_assets.data.settings import DocumentsSource
from conan_assets.data.sources import load_source, source_fingerprint
from conan_assets.data.tables import TableError
from conan_assets_tests.documents import write_documents

CHINESE = "江河湖海，风云雨雪。" * 20
GUIDE = """---
author: nobody
---
# Guide

Intro of more than forty characters, so that it is a passage.

## Install

```sh
# not a heading, but a comment of the shell that is long enough
pip install it
```

Under it
--------

A paragraph under a heading with a line below, which is long enough.
"""


def source(path: Path | str, **changes: object) -> DocumentsSource:
    return DocumentsSource.model_validate({"kind": "documents", "path": str(path), "passage_chars": 250, **changes})


def cut(text: str, max_chars: int = 120, suffix: str = ".md", overlap: int = 0) -> list[tuple[str, str]]:
    document = markdown_of(suffix, text)
    document = replace(document, title=document.title or "file")
    return [(p.title, p.text) for p in cut_document(document, max_chars, overlap, 40)]


def test_passages_carry_the_headings_above_them_and_code_holds_none():
    titles = [title for title, _ in cut(GUIDE)]
    assert titles == ["file > Guide", "file > Guide > Install", "file > Guide > Under it"]
    assert cut(GUIDE)[1][1].startswith("```sh\n# not a heading")


def test_html_is_read_without_navigation_and_is_called_by_its_title():
    page = "<title>A &amp; B</title><nav>Home page, and more of it</nav><main><h1>Top ¶</h1><p>{}</p></main>"
    ((title, text),) = cut(page.format("Words that <b>count</b>, at least forty of their letters."), suffix=".html")
    assert (title, text) == ("A & B > Top", "Words that **count**, at least forty of their letters.")


def test_headings_of_restructured_text_are_found_by_their_lines():
    text = "=====\nTitle\n=====\n\nOne\n---\n\n.. note:: A directive that nobody knows keeps all of its text.\n"
    assert cut(text, suffix=".rst")[0][0] == "file > Title > One"
    assert "keeps all of its text" in cut(text, suffix=".rst")[0][1]


def test_chinese_is_cut_where_sentences_end():
    passages = cut("水火山石田土木金风云雨雪江河湖海。" * 40, max_chars=60, suffix=".txt")
    assert len(passages) > 10
    assert all(text.endswith("。") for _, text in passages)


@hypothesis_settings(max_examples=50, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=400))
def test_whatever_stands_in_a_document_its_passages_stand_in_it_too(text):
    for passage in cut_document(DocumentText("", text), 60, 0, 1):
        assert passage.text in text
        assert len(passage.text) <= 60


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("日本語".encode("utf-16"), "日本語"),
        (b"\xef\xbb\xbfword\r\nnext", "word\nnext"),
        ('<meta charset="iso-8859-1">Straße'.encode("latin-1"), '<meta charset="iso-8859-1">Straße'),
        (CHINESE.encode("gb18030"), CHINESE),
    ],
)
def test_text_is_decoded_by_its_mark_its_declaration_or_what_fits(content, text):
    assert decoded(content, ".html") == text


@pytest.mark.parametrize(("content", "reason"), [(b"", "empty"), (b" \n", "empty"), (b"\x89PNG\0", "binary")])
def test_what_is_no_text_says_why(content, reason):
    with pytest.raises(UnreadableError) as raised:
        decoded(content)
    assert raised.value.reason == reason


def test_a_folder_is_read_and_files_without_a_document_are_counted_and_named(tmp_path):
    write_documents(tmp_path / "plant")
    corpus, report = read_documents("plant", source(tmp_path / "plant", max_text_bytes=20_000))
    left_out = {row["reason"]: row["first"] for row in report["files_left_out"]}
    assert {"empty", "binary", "too_large"} < set(left_out)
    assert "conan-assets[documents]" in left_out.get("no_converter", "conan-assets[documents]")
    assert "scan.pdf" in "".join(left_out.values())
    assert report["documents"][0]["repeated_passages"] == 4
    assert corpus["doc_id"].str.contains(r"^plant:.+#[0-9a-f]{12}$").all()
    assert "编号C5" in "".join(corpus["text"])


def test_a_changed_file_changes_its_own_ids_alone_and_the_fingerprint(tmp_path):
    write_documents(tmp_path / "plant")
    settings = source(tmp_path / "plant")
    before, fingerprint = load_source("plant", settings)[0], source_fingerprint("plant", settings)
    page = tmp_path / "plant" / "page_3.md"
    page.write_text(page.read_text().replace("K3B", "K3C"))
    after = load_source("plant", settings)[0]
    assert source_fingerprint("plant", settings) != fingerprint
    different = set(before["doc_id"]) ^ set(after["doc_id"])
    assert len(different) == 2
    assert all("page_3.md" in identifier for identifier in different)


def test_a_glob_a_file_and_a_table_are_documents_too(tmp_path):
    write_documents(tmp_path / "plant")
    assert len(document_files("plant", source(f"{tmp_path}/plant/**/*.html"))) == 12
    rows = [
        {"_id": "a", "body": "The first of two long texts in a table."},
        {"_id": "b", "body": "Here is the second, and " * 3},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    corpus, _ = load_source("rows", source(tmp_path / "rows.jsonl", columns={"text": "body"}, min_passage_chars=10))
    assert corpus["doc_id"].str.replace("#.*", "").to_list() == ["rows:rows.jsonl/a", "rows:rows.jsonl/b"]


def test_personal_data_is_taken_out_before_it_is_stored_and_counted(tmp_path):
    text = "Write to anna@example.org or call +49 30 1234 5678, and to nobody else in this house."
    (tmp_path / "bell\x07.txt").write_text(text)
    corpus, report = read_documents("plant", source(tmp_path, personal_data=["email", "phone"]))
    assert corpus["text"].item() == "Write to  [email]  or call [phone]  and to nobody else in this house."
    assert [row["pieces"] for row in report["personal_data_taken_out"]] == [1, 1]


@pytest.mark.parametrize("content", [None, b" "])
def test_a_folder_without_any_document_is_an_error_that_names_it(tmp_path, content):
    if content is not None:
        (tmp_path / "one.md").write_bytes(content)
    with pytest.raises(TableError, match=r"source plant: .*(holds no file|none of 1 files)"):
        load_source("plant", source(tmp_path))


def test_groups_are_held_out_whole_stay_where_they_are_and_no_near_passage_is_on_both_sides(tmp_path):
    write_documents(tmp_path / "plant")
    settings = source(tmp_path / "plant")
    corpus = load_source("plant", settings)[0]
    split = split_passages("plant", corpus, settings)
    assert set(split["split"]) == {"train", "dev", "test"}
    assert split.group_by("group").agg(pl.col("split").n_unique())["split"].max() == 1
    assert split.filter(pl.col("document").str.contains("near_0|page_0.md|same_0"))["group"].n_unique() == 1
    texts = corpus.join(split, on="doc_id")
    known, others = (texts.filter((pl.col("split") == "train") == side)["text"] for side in (True, False))
    assert not len(near_between(known, others)[0])
    fewer = split_passages("plant", corpus.filter(~pl.col("doc_id").str.contains("page_7")), settings)
    moved = split.join(fewer, on="doc_id").filter(pl.col("split") != pl.col("split_right"))
    assert moved.is_empty()


def test_too_few_documents_to_hold_any_out_is_an_error_with_a_way_out(tmp_path):
    for number in range(2):
        (tmp_path / f"{number}.txt").write_text(f"Document {number} says something quite of its own. " * 3)
    settings = source(tmp_path)
    with pytest.raises(TableError, match="form 2 groups"):
        split_passages("plant", load_source("plant", settings)[0], settings)


def test_a_pdf_is_read_by_the_converter_of_the_extra_and_a_broken_one_is_named():
    pytest.importorskip("markitdown")
    from matplotlib.figure import Figure

    figure, file = Figure(), io.BytesIO()
    figure.text(0.1, 0.5, "The kiln K7 opens at dawn.")
    figure.savefig(file, format="pdf")
    assert "The kiln K7 opens at dawn." in read_document(".pdf", file.getvalue()).text
    with pytest.raises(UnreadableError, match="cannot read it"):
        read_document(".pdf", b"%PDF-1.4 nothing of a document")
