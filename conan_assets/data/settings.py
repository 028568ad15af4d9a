"""Settings of the sources that corpora and pairs come from, and of the curation of training pairs."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Split = Literal["train", "dev", "test"]


class _Source(BaseModel):
    """What every kind of source has in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: bool = Field(default=True, description="False keeps the source for evaluation: its train split is not read.")
    language: str | None = Field(
        default=None,
        pattern="^[a-z]{2}$",
        description="ISO 639-1 code of its documents; those in another language do not train.",
    )
    max_train_queries: int | None = Field(
        default=None, ge=1, description="At most this many train queries, the same ones in every run; null takes all."
    )


class PythonDocsSource(_Source):
    """The documentation of the installed Python standard library, read with ``inspect``; needs no file or network."""

    kind: Literal["python_docs"]
    language: str | None = "en"
    min_query_chars: int = Field(default=25, ge=1, description="Shorter first lines are no queries.")
    min_document_chars: int = Field(default=100, ge=1, description="Shorter documents, signature aside, are left out.")
    test_percent: int = Field(default=40, ge=1, le=90, description="Share of the modules held out for testing.")
    dev_percent: int = Field(default=8, ge=0, le=90, description="Share of the modules held out for choosing a model.")

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

    kind: Literal["beir"]
    path: Path = Field(description="The folder.")


class HubTable(BaseModel):
    """Where one table of a Hugging Face dataset stands and what its columns are called there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str | None = Field(default=None, description="Repository or local folder, where it is not the source's own.")
    revision: str | None = Field(default=None, description="Revision of ``path``, where it is not the source's own.")
    config: str | None = Field(default=None, description="Configuration (subset) name; null takes the default one.")
    split: str = Field(description="Split name.")
    columns: dict[str, str] = Field(
        default_factory=dict, description="The table's name of a column, by the name in BEIR layout: {_id: id}."
    )


class HubSource(_Source):
    """Hugging Face datasets in BEIR layout, on the hub or in a local folder in hub layout.

    The defaults are the layout of ``mteb/scifact``: configurations ``corpus`` and ``queries``, and the judgements in
    the default configuration with a split each for train, dev and test.
    """

    kind: Literal["hub"]
    path: str = Field(description="Repository ``owner/name`` on the hub, or a local folder in hub layout.")
    revision: str | None = Field(
        default=None, description="Commit, tag or branch; give a commit to run offline and to reproduce a run."
    )
    corpus: HubTable = HubTable(config="corpus", split="corpus")
    queries: HubTable = HubTable(config="queries", split="queries")
    judgements: dict[Split, HubTable] = Field(
        default={"train": HubTable(split="train"), "test": HubTable(split="test")},
        min_length=1,
        description="The table of judgements of each split that the source has.",
    )


class _Examples(_Source):
    """A folder with a file ``train``, ``dev`` and ``test`` each, as Parquet, JSONL, CSV or TSV."""

    path: Path = Field(description="The folder.")
    columns: dict[str, str] = Field(default_factory=dict, description="The file's name of a column, by the name here.")


class PairsSource(_Examples):
    """Pairs of texts that belong together: ``query``, ``positive`` and, as a list, optional ``negatives``."""

    kind: Literal["pairs"]


class StsSource(_Examples):
    """Graded pairs of sentences: ``sentence1``, ``sentence2`` and ``score``, higher for closer meanings."""

    kind: Literal["sts"]


class ClassificationSource(_Examples):
    """Labelled texts: ``text`` and ``label``."""

    kind: Literal["classification"]


SourceSettings = Annotated[
    PythonDocsSource | BeirSource | HubSource | PairsSource | StsSource | ClassificationSource,
    Field(discriminator="kind"),
]


class NearDuplicateSettings(BaseModel):
    """MinHash near-duplicates: n-grams of words, of characters in queries and in Chinese."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_jaccard: float = Field(default=0.7, gt=0, le=1, description="Texts at least this similar are near-duplicates.")
    permutations: int = Field(default=128, ge=4, le=1_024, multiple_of=4, description="Hashes of a signature.")
    ngram: int = Field(default=5, ge=1, le=20)
    seed: int = Field(default=0, ge=0)


class CurationSettings(BaseModel):
    """What is filtered out of the training pairs; lengths are in characters after normalisation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_query_chars: int = Field(default=3, ge=1)
    max_query_chars: int = Field(default=2_000, ge=1)
    min_document_chars: int = Field(default=10, ge=1)
    max_document_chars: int = Field(
        default=100_000, ge=1, description="Longer than any encoder reads: broken extraction."
    )
    max_symbol_share: float = Field(
        default=0.5, gt=0, le=1, description="Documents with a larger share of punctuation and symbols are no prose."
    )
    min_distinct_word_share: float = Field(
        default=0.1, ge=0, le=1, description="Documents of 50 words or more with fewer distinct words are repetitive."
    )
    blocked_patterns: tuple[str, ...] = Field(
        default=(), description="Regular expressions (Rust syntax); a pair with a match on either side is removed."
    )
    near_duplicates: NearDuplicateSettings | None = Field(
        default=NearDuplicateSettings(),
        description="Null keeps near-duplicate pairs, and near-equal evaluation queries.",
    )
    examples_per_reason: int = Field(default=3, ge=0, le=50, description="Rejected pairs of each reason in the report.")

    @model_validator(mode="after")
    def _limits_are_ordered(self) -> "CurationSettings":
        for side in ("query", "document"):
            low, high = getattr(self, f"min_{side}_chars"), getattr(self, f"max_{side}_chars")
            if low > high:
                raise ValueError(f"min_{side}_chars is {low}, above max_{side}_chars {high}")
        return self
