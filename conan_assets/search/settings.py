"""Settings of search: how the nearest documents are found, and the teachers that find and score documents."""

from typing import Annotated, Any, Literal

from pydantic import Field

from conan_assets.encoding.settings import Dtype, EncoderSettings
from conan_assets.schema import Section

SEARCH_VERSION = 2
"""Raise it when any retriever of this room finds or scores otherwise than before."""

EXACT = "exact"
BM25_WEIGHT = 0.5


class SearchSettings(Section):
    """How the nearest documents are found."""

    index: str = Field(
        default=EXACT, description="'exact', or a FAISS factory string such as 'IVF256,Flat' or 'HNSW32'."
    )
    index_above: int = Field(
        default=0, ge=0, description="Documents above which `index` is used; the search of no more of them is exact."
    )
    index_parameters: str = Field(
        default="", description="FAISS search parameters, such as 'nprobe=32' for IVF or 'efSearch=64' for HNSW."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="'auto' is where the encoder runs, or the CPU without one."
    )
    screening: Literal["auto", "none", "bfloat16"] = Field(
        default="auto",
        description="Exact search on a CPU: screen in bfloat16, decide in float32, same result; 'auto' does so where "
        "torch is loaded anyway, was measured to multiply faster in bfloat16, and the documents are many enough.",
    )
    recall_queries: int = Field(default=200, ge=1, description="Queries on which recall of exact search is measured.")
    min_recall: float = Field(
        default=0.98, gt=0, le=1, description="Recall of exact search below which an approximate one warns."
    )


class Calibration(Section):
    """How ``calibrate: true`` finds the ratio r of ``top_k_perc_pos`` for a teacher on judged pairs."""

    caught: float = Field(default=0.9, gt=0, lt=1, description="Share of hidden positives that the rule must remove.")
    min_judgements: int = Field(default=30, ge=1, description="Hidden positives needed; with fewer, r stays as set.")


class _Teacher(Section):
    depth: int = Field(default=100, ge=1, description="Best documents scored for every query.")
    calibrate: bool = Field(
        default=False, description="Find r of top_k_perc_pos on judged pairs; 0.95 is not scale free."
    )
    calibration: Calibration = Field(default=Calibration(), description="What `calibrate` aims at.")


class BM25Teacher(_Teacher):
    """BM25; character bigrams for Chinese."""

    kind: Literal["bm25"] = Field(default="bm25", description="BM25, k1 1.2, b 0.75.")


class BiEncoderTeacher(_Teacher):
    """A bi-encoder: a sentence-transformers folder or a name on the hub, with its prompts, length limit and type."""

    kind: Literal["bi_encoder"] = Field(default="bi_encoder", description="A bi-encoder.")
    encoder: EncoderSettings = Field(description="The model, with its prompts, length limit and type.")
    search: SearchSettings = Field(default=SearchSettings(), description="How its nearest documents are found.")


class HybridTeacher(_Teacher):
    """A bi-encoder and BM25 in one score: the cosine, and the share of the query's best BM25 score times a weight."""

    kind: Literal["hybrid"] = Field(default="hybrid", description="A bi-encoder and BM25 together.")
    encoder: EncoderSettings = Field(description="The bi-encoder, with its prompts, length limit and type.")
    search: SearchSettings = Field(default=SearchSettings(), description="How its nearest documents are found.")
    bm25_weight: float = Field(default=BM25_WEIGHT, ge=0, description="What BM25's share counts beside the cosine.")


class CrossEncoderTeacher(_Teacher):
    """A cross-encoder that re-scores the candidates of a first stage, since it cannot search a corpus."""

    kind: Literal["cross_encoder"] = Field(default="cross_encoder", description="A cross-encoder.")
    model: str = Field(description="Folder of a cross-encoder, or its name on the hub.")
    revision: str | None = Field(default=None, description="Commit, tag or branch on the hub; null for the default.")
    max_tokens: int = Field(default=512, ge=8, description="Longest query-document pair in tokens.")
    dtype: Dtype = Field(default="auto", description="Type of the weights; 'auto' as for an encoder.")
    first_stage: EncoderSettings | None = Field(
        default=None, description="Bi-encoder whose best documents it re-scores; null for BM25."
    )


class PythonTeacher(_Teacher):
    """A retriever of your own: a class that is called with the documents' texts (see docs/mining.md)."""

    kind: Literal["python"] = Field(default="python", description="A class of your own.")
    retriever: str = Field(
        pattern=r"^[\w.]+:\w+$", description="Where it is: 'package.module:Class'; its module must be importable."
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments that it is called with.")
    version: str = Field(default="1", description="Change it when the class scores otherwise than before.")


TeacherSettings = Annotated[
    BM25Teacher | BiEncoderTeacher | HybridTeacher | CrossEncoderTeacher | PythonTeacher, Field(discriminator="kind")
]
