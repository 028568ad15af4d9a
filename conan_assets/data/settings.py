"""Settings of the sources that corpora and pairs come from."""

import os
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from conan_assets.schema import Section

MAX_TEXT_BYTES = 10_000_000
"""A longer text comes from a broken extraction, and no encoder reads it."""

Split = Literal["train", "dev", "test"]
PersonalData = Literal["email", "phone", "identity_number", "payment_card", "ip_address"]

Location = Annotated[
    str,
    BeforeValidator(lambda value: os.fspath(value) if isinstance(value, os.PathLike) else value),
    Field(description="The folder: a path, a URL that fsspec opens (s3://, ...), or a sample (sample:zh/sts)."),
]


MAX_TEXT: int = Field(
    default=MAX_TEXT_BYTES,
    ge=1_000,
    le=2**31 - 1,
    description="The longest text, and the longest line of a text file, in bytes; a longer one is refused, before it "
    "is unpacked where the format tells its length.",
)


class _Source(Section):
    """What every kind of source has in common."""

    train: bool = Field(default=True, description="False keeps the source for evaluation: its train split is not read.")
    language: str | None = Field(
        default=None,
        pattern="^[a-z]{2}$",
        description="ISO 639-1 code of its documents; those in another language do not train.",
    )
    max_train_queries: int | None = Field(
        default=None, ge=1, description="At most this many train queries, the same ones in every run; null takes all."
    )
    max_text_bytes: int = MAX_TEXT
    weight: float = Field(
        default=1.0,
        gt=0,
        le=100,
        description="How often its training samples occur in an epoch: 2 is twice, 0.5 is half of them.",
    )


class PythonDocsSource(_Source):
    """The documentation of the installed Python standard library, read with ``inspect``; needs no file or network."""

    kind: Literal["python_docs"] = Field(description="The documentation of the installed Python standard library.")
    language: str | None = Field(
        default="en", pattern="^[a-z]{2}$", description="ISO 639-1 code; documents in another language do not train."
    )
    min_query_chars: int = Field(default=25, ge=1, description="Shorter first lines are no queries.")
    min_document_chars: int = Field(default=100, ge=1, description="Shorter documents, signature aside, are left out.")
    test_percent: int = Field(default=40, ge=1, le=90, description="Share of the modules held out for testing.")
    dev_percent: int = Field(default=8, ge=0, le=90, description="Share of the modules held out for choosing a model.")
    sts_pairs: int = Field(
        default=0,
        ge=0,
        description="Graded pairs for the STS task from the modules to train on: a summary with its own description "
        "(1), with another summary of its module (0.5), of another package (0).",
    )

    @model_validator(mode="after")
    def _leaves_some_to_train_on(self) -> "PythonDocsSource":
        if self.test_percent + self.dev_percent >= 100:
            raise ValueError("test_percent + dev_percent must stay below 100, so that modules are left to train on")
        return self


class BeirSource(_Source):
    """A folder in BEIR layout.

    ``corpus`` (``_id``, ``title``, ``text``) and ``queries`` (``_id``, ``text``) as Parquet or JSONL, and
    ``qrels/{train,dev,test}`` (``query-id``, ``corpus-id``, ``score``) as Parquet or TSV with a header.
    """

    kind: Literal["beir"] = Field(description="A folder in BEIR layout.")
    path: Location


class HubTable(Section):
    """Where one table of a Hugging Face dataset stands and what its columns are called there."""

    path: str | None = Field(default=None, description="Repository or local folder, where it is not the source's own.")
    revision: str | None = Field(default=None, description="Revision of ``path``, where it is not the source's own.")
    config: str | None = Field(default=None, description="Configuration (subset) name; null takes the default one.")
    data_files: str | None = Field(
        default=None, description="The files of the table, a glob, where the repository declares no configurations."
    )
    split: str = Field(description="Split name; with ``data_files`` it is ``train``.")
    columns: dict[str, str] = Field(
        default_factory=dict, description="The table's name of a column, by the name here: {_id: id}."
    )
    streaming: bool = Field(
        default=False, description="Read the rows one after the other instead of downloading the whole table first."
    )
    max_rows: int | None = Field(default=None, ge=1, description="At most this many rows, the first; null takes all.")


class _OnTheHub(_Source):
    """A dataset on the Hugging Face Hub, or in a local folder in hub layout."""

    path: str = Field(description="Repository ``owner/name`` on the hub, or a local folder in hub layout.")
    revision: str | None = Field(
        default=None, description="Commit, tag or branch; give a commit to run offline and to reproduce a run."
    )


class _Hub(_OnTheHub):
    """A dataset of texts that are needed."""

    skip_empty: bool = Field(
        default=False, description="Leave out rows without text, and judgements that name them, instead of an error."
    )


class HubSource(_Hub):
    """Hugging Face datasets in BEIR layout.

    The defaults are the layout of ``mteb/scifact``: configurations ``corpus`` and ``queries``, and the judgements in
    the default configuration with a split each for train, dev and test.
    """

    kind: Literal["hub"] = Field(description="Hugging Face datasets in BEIR layout.")
    corpus: HubTable = Field(
        default=HubTable(config="corpus", split="corpus"), description="The table of documents: _id, title, text."
    )
    queries: HubTable = Field(
        default=HubTable(config="queries", split="queries"), description="The table of queries: _id, text."
    )
    judgements: dict[Split, HubTable] = Field(
        default={"train": HubTable(split="train"), "test": HubTable(split="test")},
        min_length=1,
        description="The table of judgements of each split that the source has.",
    )


class _Folder(_Source):
    """A folder with a file ``train``, ``dev`` and ``test`` each, as Parquet, JSONL, CSV or TSV."""

    path: Location
    columns: dict[str, str] = Field(default_factory=dict, description="The file's name of a column, by the name here.")


class _HubTables(_Hub):
    """A table of a Hugging Face dataset for each split."""

    tables: dict[Split, HubTable] = Field(
        default={"train": HubTable(split="train")},
        min_length=1,
        description="The table of each split that the source has.",
    )


class _Graded(_Source):
    """Graded pairs of sentences: ``sentence1``, ``sentence2`` and ``score``, higher for closer meanings."""

    max_score: float | None = Field(
        default=None,
        gt=0,
        description="The score of equal meaning. Scores are divided by it, so that several sources share one scale.",
    )


class PairsSource(_Folder):
    """Texts that belong together, in files.

    ``query``, ``positive`` and optional ``negatives``: a text or a list of texts; in CSV and TSV ``negatives`` is a
    JSON list.
    """

    kind: Literal["pairs"] = Field(description="A folder of queries with their answers.")


class StsSource(_Folder, _Graded):
    """Graded pairs of sentences, in files: ``sentence1``, ``sentence2`` and ``score``."""

    kind: Literal["sts"] = Field(description="A folder of graded sentence pairs.")


class ClassificationSource(_Folder):
    """Labelled texts, in files: ``text`` and ``label``."""

    kind: Literal["classification"] = Field(description="A folder of labelled texts.")


class HubPairsSource(_HubTables):
    """Texts that belong together, on the hub.

    ``query``, ``positive`` and optional ``negatives``: a text or a list of texts.
    """

    kind: Literal["hub_pairs"] = Field(description="A Hugging Face dataset of queries with their answers.")


class HubStsSource(_HubTables, _Graded):
    """Graded pairs of sentences, on the hub: ``sentence1``, ``sentence2`` and ``score``."""

    kind: Literal["hub_sts"] = Field(description="A Hugging Face dataset of graded sentence pairs.")


class HubClassificationSource(_HubTables):
    """Labelled texts, on the hub: ``text`` and ``label``."""

    kind: Literal["hub_classification"] = Field(description="A Hugging Face dataset of labelled texts.")


class _Passages(Section):
    """How documents are cut into passages."""

    max_text_bytes: int = MAX_TEXT
    passage_chars: int = Field(
        default=1_000, ge=50, le=100_000, description="Longest passage, in characters; 350 suits Chinese."
    )
    overlap_chars: int = Field(default=0, ge=0, description="Most characters that a passage repeats of the one before.")
    min_passage_chars: int = Field(default=40, ge=1, description="Shorter passages are left out, headings aside.")
    personal_data: tuple[PersonalData, ...] = Field(
        default=(), description="Kinds of personal data that are taken out before anything is stored or sent."
    )

    @model_validator(mode="after")
    def _overlap_fits(self) -> "_Passages":
        if self.overlap_chars >= self.passage_chars:
            raise ValueError(f"overlap_chars {self.overlap_chars} must stay below passage_chars {self.passage_chars}")
        return self


class DocumentFiles(_Passages):
    """Which documents are read and how they are cut into passages."""

    kind: Literal["documents"] = Field(description="Documents; queries are written for them.")
    path: Location = Field(
        description="A folder, a file or a glob (docs/**/*.html): a path, or a URL that fsspec opens (s3://, ...)."
    )
    columns: dict[str, str] = Field(
        default_factory=dict, description="What a table of documents calls a column, by the name here."
    )


class UnaskedSource(_Passages, _Source):
    """Documents without queries, cut into passages; whole groups of documents are held out for dev and test."""

    dev_percent: float = Field(
        default=10, gt=0, le=45, description="Share of the document groups whose questions choose the checkpoint."
    )
    test_percent: float = Field(
        default=15, gt=0, le=45, description="Share of the document groups whose questions are the test."
    )

    @model_validator(mode="after")
    def _counts_no_queries(self) -> "UnaskedSource":
        if self.max_train_queries is not None:
            raise ValueError("max_train_queries counts queries that a source has; generation.max_pairs says how many")
        return self


class DocumentsSource(DocumentFiles, UnaskedSource):
    """Files without queries.

    ``.txt``, ``.md``, ``.html``, ``.rst``; ``.pdf``, ``.docx``, ``.pptx`` with the extra ``documents``; and long texts
    in tables (``text``, optional ``title`` and ``_id``) as Parquet or JSONL.
    """


class HubDocumentsSource(_OnTheHub, UnaskedSource):
    """A Hugging Face dataset of long texts: ``text``, optional ``title`` and ``_id``."""

    kind: Literal["hub_documents"] = Field(description="A Hugging Face dataset of documents.")
    table: HubTable = Field(default=HubTable(split="train"), description="The table of documents: text, title, _id.")


class QueryLogSource(_Source):
    """Searches of people, what these were shown and what they clicked, beside the documents that were searched.

    ``log*`` as Parquet, JSONL, CSV or TSV, and ``corpus`` (``_id``, ``title``, ``text``) as Parquet or JSONL.
    """

    kind: Literal["query_log"] = Field(description="A log of searches and clicks.")
    path: Location
    documents: DocumentFiles | None = Field(
        default=None,
        description="The documents that were searched, where the log names their passages; null reads ``corpus``.",
    )
    rows: Literal["searches", "impressions"] = Field(
        default="searches",
        description="What a row of the log is: a search (query, shown, clicked, time; the middle two lists of ids, the "
        "best first), or one document that it showed (query, doc_id, position, clicked, time, optional search).",
    )
    columns: dict[str, str] = Field(default_factory=dict, description="The log's name of a column, by the name here.")
    position_bias: Annotated[float, Field(ge=0, le=5)] | Literal["log"] = Field(
        default=1.0,
        description="How little people look at lower positions: one at position k is looked at k^-this as often as at "
        "the first (arXiv 1608.04468, section 6: 1); 0 corrects nothing. ``log`` takes the log's own click rates.",
    )
    min_clicks: int = Field(
        default=2, ge=1, description="Searches in which a document was clicked, at least, to be a positive of a query."
    )
    min_click_rate: float = Field(
        default=0.1, gt=0, le=1, description="Clicks of a positive per showing that is as good as one at position 1."
    )
    min_skips: int | None = Field(
        default=2,
        ge=1,
        description="Searches in which a document that is never clicked stands above a clicked one, at least, to be a "
        "negative of the query; null makes none.",
    )
    personal_data: tuple[PersonalData, ...] = Field(
        default=("email", "phone", "identity_number", "payment_card", "ip_address"),
        description="Kinds of personal data that are taken out of queries before anything is stored.",
    )
    dev_percent: float = Field(
        default=10, ge=0, le=45, description="Share of the searches, those before the test, that choose the checkpoint."
    )
    test_percent: float = Field(default=10, ge=0, le=45, description="Share of the searches, the newest, for the test.")


SourceSettings = Annotated[
    PythonDocsSource
    | DocumentsSource
    | HubDocumentsSource
    | QueryLogSource
    | BeirSource
    | HubSource
    | PairsSource
    | StsSource
    | ClassificationSource
    | HubPairsSource
    | HubStsSource
    | HubClassificationSource,
    Field(discriminator="kind"),
]
