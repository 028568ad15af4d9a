"""Settings of the sources that corpora and pairs come from, and of the curation of training pairs."""

import os
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from conan_assets.schema import Section

MAX_TEXT_BYTES = 10_000_000
"""A longer text comes from a broken extraction, and no encoder reads it."""

Split = Literal["train", "dev", "test"]
PersonalData = Literal["email", "phone", "identity_number", "payment_card", "ip_address"]
BOILERPLATE = (
    r"lorem ipsum",
    r"(?:enable|requires?|turn on) (?:java ?script|cookies)",
    r"(?:accept|use of|uses) (?:all )?cookies",
    r"all rights reserved",
    r"(?:log|sign) in to (?:continue|view|comment|reply)",
    r"(?:请|需要)(?:启用|开启|打开) ?java ?script",
    r"版权所有|未经(?:授权|许可).{0,8}转载|ICP备",
    r"(?:登录|注册)后(?:才能|可以|即可)?(?:查看|回复|评论|下载)",
    r"^\W*(?:上一篇|下一篇|返回首页|网站地图|联系我们|关于我们)",
)

Location = Annotated[
    str,
    BeforeValidator(lambda value: os.fspath(value) if isinstance(value, os.PathLike) else value),
    Field(description="The folder: a path, a URL that fsspec opens (s3://, ...), or a sample (sample:zh/sts)."),
]


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
    max_text_bytes: int = Field(
        default=MAX_TEXT_BYTES,
        ge=1_000,
        le=2**31 - 1,
        description="The longest text, and the longest line of a text file, in bytes; a longer one is refused, before "
        "it is unpacked where the format tells its length.",
    )
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


class _Hub(_Source):
    """A dataset on the Hugging Face Hub, or in a local folder in hub layout."""

    path: str = Field(description="Repository ``owner/name`` on the hub, or a local folder in hub layout.")
    revision: str | None = Field(
        default=None, description="Commit, tag or branch; give a commit to run offline and to reproduce a run."
    )
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


class DocumentsSource(_Source):
    """Files without queries, cut into passages; whole groups of documents are held out for dev and test.

    ``.txt``, ``.md``, ``.html``, ``.rst``; ``.pdf``, ``.docx``, ``.pptx`` with the extra ``documents``; and long texts
    in tables (``text``, optional ``title`` and ``_id``) as Parquet or JSONL.
    """

    kind: Literal["documents"] = Field(description="Documents; queries are written for them.")
    path: Location = Field(
        description="A folder, a file or a glob (docs/**/*.html): a path, or a URL that fsspec opens (s3://, ...)."
    )
    columns: dict[str, str] = Field(
        default_factory=dict, description="What a table of documents calls a column, by the name here."
    )
    passage_chars: int = Field(
        default=1_000, ge=50, le=100_000, description="Longest passage, in characters; 350 suits Chinese."
    )
    overlap_chars: int = Field(default=0, ge=0, description="Most characters that a passage repeats of the one before.")
    min_passage_chars: int = Field(default=40, ge=1, description="Shorter passages are left out, headings aside.")
    personal_data: tuple[PersonalData, ...] = Field(
        default=(), description="Kinds of personal data that are taken out before anything is stored or sent."
    )
    dev_percent: float = Field(
        default=10, gt=0, le=45, description="Share of the document groups whose questions choose the checkpoint."
    )
    test_percent: float = Field(
        default=15, gt=0, le=45, description="Share of the document groups whose questions are the test."
    )

    @model_validator(mode="after")
    def _fits(self) -> "DocumentsSource":
        if self.overlap_chars >= self.passage_chars:
            raise ValueError(f"overlap_chars {self.overlap_chars} must stay below passage_chars {self.passage_chars}")
        if self.max_train_queries is not None:
            raise ValueError("max_train_queries counts queries that a source has; generation.max_pairs says how many")
        return self


SourceSettings = Annotated[
    PythonDocsSource
    | DocumentsSource
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


class NearDuplicateSettings(Section):
    """MinHash near-duplicates: n-grams of words, of characters in queries and in Chinese."""

    min_jaccard: float = Field(default=0.7, gt=0, le=1, description="Texts at least this similar are near-duplicates.")
    permutations: int = Field(default=128, ge=4, le=1_024, multiple_of=4, description="Hashes of a signature.")
    ngram: int = Field(
        default=5, ge=1, le=20, description="Words of an n-gram of a document, characters of one of a query."
    )
    seed: int = Field(default=0, ge=0, description="Of the MinHash permutations.")


class CurationSettings(Section):
    """What is filtered out of the training pairs; lengths are in characters after normalisation."""

    min_query_chars: int = Field(default=3, ge=1, description="Shorter queries are removed.")
    max_query_chars: int = Field(default=2_000, ge=1, description="Longer queries are removed: they are documents.")
    min_document_chars: int = Field(default=10, ge=1, description="Shorter documents are removed.")
    max_document_chars: int = Field(
        default=100_000, ge=1, description="Longer than any encoder reads: broken extraction."
    )
    max_broken_share: float = Field(
        default=0.01, ge=0, lt=1, description="Texts with more replacement and private-use characters are broken."
    )
    max_symbol_share: float = Field(
        default=0.5, gt=0, le=1, description="Documents with a larger share of punctuation and symbols are no prose."
    )
    min_distinct_word_share: float = Field(
        default=0.1, ge=0, le=1, description="Documents of 50 words or more with fewer distinct words are repetitive."
    )
    boilerplate_patterns: tuple[str, ...] = Field(
        default=BOILERPLATE, description="Regular expressions (Rust syntax) of lines that every page of a site has."
    )
    max_boilerplate_share: float = Field(
        default=0.5, gt=0, le=1, description="Documents with a larger share of their characters in such lines go."
    )
    near_duplicates: NearDuplicateSettings | None = Field(
        default=NearDuplicateSettings(),
        description="Null keeps near-duplicate pairs, and near-equal evaluation queries.",
    )
    blocked_words: tuple[str, ...] = Field(
        default=(), description="Words and phrases, any case; a pair with one of them on either side is removed."
    )
    blocked_patterns: tuple[str, ...] = Field(
        default=(), description="Regular expressions (Rust syntax); a pair with a match on either side is removed."
    )
    personal_data: tuple[PersonalData, ...] = Field(
        default=(), description="Kinds of personal data; a pair with one of them on either side is removed."
    )
    max_contaminated_share: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="The check `evaluation_overlap` fails when more of a source's pairs overlap an evaluation set.",
    )
    examples_per_reason: int = Field(default=3, ge=0, le=50, description="Rejected pairs of each reason in the report.")

    @field_validator("boilerplate_patterns", "blocked_patterns")
    @classmethod
    def _are_regular_expressions(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        import polars as pl

        for pattern in patterns:
            try:
                pl.Series([""]).str.contains(pattern)
            except pl.exceptions.ComputeError as error:
                raise ValueError(f"{pattern!r} is no regular expression in Rust syntax: {error}") from error
        return patterns

    @model_validator(mode="after")
    def _limits_are_ordered(self) -> "CurationSettings":
        for side in ("query", "document"):
            low, high = getattr(self, f"min_{side}_chars"), getattr(self, f"max_{side}_chars")
            if low > high:
                raise ValueError(f"min_{side}_chars is {low}, above max_{side}_chars {high}")
        return self
