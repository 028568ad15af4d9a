"""Settings of mining: where candidates come from, which rules veto them and what is kept.

Constants are the best published ones of NV-Retriever, "B" (arXiv 2407.15831), section 4 and tables 3 to 6.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from conan_assets.schema import Section
from conan_assets.search.settings import SearchSettings

STUDENT = "student"


class _Veto(Section):
    teacher: str = Field(default=STUDENT, description="The teacher whose scores decide; 'student' for the checkpoint.")

    @property
    def parameters(self) -> dict[str, float]:
        """The rule's own parameters by name."""
        return self.model_dump(exclude={"teacher", "rule"})


class TopK(_Veto):
    """Naive mining: no candidate is removed."""

    rule: Literal["top_k"] = Field(default="top_k", description="Naive mining.")


class TopKShifted(_Veto):
    """Skip each query's ``shift`` best candidates."""

    rule: Literal["top_k_shifted"] = Field(default="top_k_shifted", description="By rank (B, section 4.1).")
    shift: int = Field(default=10, ge=0, description="N, the best candidates that are skipped (B, section 4.1: 10).")


class TopKAbs(_Veto):
    """Remove candidates that score ``threshold`` or more."""

    rule: Literal["top_k_abs"] = Field(default="top_k_abs", description="By score (B, section 4.1).")
    threshold: float = Field(
        default=0.7, allow_inf_nan=False, description="T, on the scale of the teacher's scores (B, section 4.1: 0.7)."
    )


class TopKMarginPos(_Veto):
    """Remove candidates that come within ``margin`` of the positive."""

    rule: Literal["top_k_margin_pos"] = Field(default="top_k_margin_pos", description="By distance (B, section 4.1).")
    margin: float = Field(
        default=0.05, ge=0, description="m, on the scale of the teacher's scores (B, section 4.1: 0.05)."
    )


class TopKPercPos(_Veto):
    """Remove candidates that reach ``ratio`` of the positive's score."""

    rule: Literal["top_k_perc_pos"] = Field(default="top_k_perc_pos", description="By share (B, section 4.1).")
    ratio: float = Field(
        default=0.95, gt=0, le=1, description="r, the share of the positive's score (B, section 4.1: 0.95)."
    )


VetoSettings = Annotated[TopK | TopKShifted | TopKAbs | TopKMarginPos | TopKPercPos, Field(discriminator="rule")]


class BestFirst(Section):
    """Take the survivors best first."""

    rule: Literal["best_first"] = Field(default="best_first", description="By rank.")


class _Sampled(Section):
    sample_from: int = Field(default=10, ge=1, description="The k best survivors that are drawn from.")
    temperature: float = Field(default=1.0, gt=0, description="Divides the scores before the softmax.")
    teacher: str = Field(default=STUDENT, description="Whose scores weight the draw.")


class SampledTopK(_Sampled):
    """Draw K of the ``sample_from`` best survivors without replacement, by a softmax over the scores."""

    rule: Literal["sampled_top_k"] = Field(default="sampled_top_k", description="By a seeded draw (B, section 4.2).")


class Top1SampledTopK(_Sampled):
    """Take the best survivor and draw the other K - 1 as in ``sampled_top_k``."""

    rule: Literal["top1_sampled_top_k"] = Field(
        default="top1_sampled_top_k", description="The best, then a draw (B, section 4.2)."
    )


SelectionSettings = Annotated[BestFirst | SampledTopK | Top1SampledTopK, Field(discriminator="rule")]


class EnsembleSettings(Section):
    """Several teachers' own negatives combined (NV-Retriever, section 4.3)."""

    rule: Literal["cross_sample", "intra_sample"] = Field(
        description="One teacher, drawn for each query, orders its survivors; or they take turns."
    )
    teachers: tuple[str, ...] = Field(min_length=2, description="Teachers whose ranking of the survivors is combined.")
    dedup: bool = Field(default=False, description="intra_sample: take a document once, however many teachers name it.")


class DuplicateGuard(Section):
    """A text equal or nearly equal to a positive is never a negative, whatever its id and its scores."""

    containment: float = Field(
        default=0.85, gt=0, le=1, description="Share of one text's word trigrams that the other must hold."
    )
    min_length_ratio: float = Field(
        default=0.5, ge=0, le=1, description="A candidate shorter than this share of a positive is never nearly equal."
    )


class JudgeSettings(Section):
    """An LLM that reads the hardest kept negatives and says which are relevant after all."""

    per_query: int = Field(default=4, ge=1, description="Kept negatives of each query that are judged, best first.")
    max_chars: int = Field(default=2000, ge=100, description="Longest document text shown to the judge.")
    relevant: Literal["drop", "relabel"] = Field(
        default="drop", description="What becomes of a relevant one: dropped, or relabelled as a positive (RLHN)."
    )


class RefreshSettings(Section):
    """What a later round encodes again: every document, or the union of the stored candidate pools."""

    mode: Literal["full", "pool"] = Field(
        default="full", description="Every document, or those that the round before had as candidates of any query."
    )
    drift_documents: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="pool: share of the other documents encoded to estimate what the pools miss.",
    )


class MiningSettings(Section):
    """One round's mining."""

    candidates: tuple[str, ...] = Field(
        default=(STUDENT,),
        min_length=1,
        description="Sources of candidates: 'student' and names of teachers; several are put in the student's order.",
    )
    depth: int = Field(default=100, ge=1, description="Candidates of each source for every query.")
    veto: tuple[VetoSettings, ...] = Field(
        default=(TopKPercPos(),), description="A candidate must pass every one; an empty list is naive mining."
    )
    positive_score: Literal["min", "max", "mean"] = Field(
        default="mean",
        description="Which score of a query's positives a veto compares with: the lowest, the highest or their mean.",
    )
    guard: DuplicateGuard = Field(
        default=DuplicateGuard(), description="Which texts are too like a positive to be a negative."
    )
    selection: SelectionSettings = Field(
        default=BestFirst(), description="Which survivors come first (B, section 4.2)."
    )
    ensemble: EnsembleSettings | None = Field(
        default=None, description="Several teachers that put the survivors in order; null leaves it to `selection`."
    )
    negatives_per_query: int = Field(default=4, ge=1, description="K: negatives that a query needs.")
    pool_depth: int = Field(default=100, ge=1, description="Ranked negatives kept for training to draw from.")
    on_shortage: Literal["keep", "drop", "resample"] = Field(
        default="keep",
        description="A query with fewer than K: keep what it has, drop it, or draw random documents that pass.",
    )
    judge: JudgeSettings | None = Field(
        default=None, description="The LLM of `generation` reads the hardest kept negatives; null asks none."
    )
    search: SearchSettings = Field(
        default=SearchSettings(), description="How the student's nearest documents are found."
    )
    refresh: RefreshSettings = Field(default=RefreshSettings(), description="What later rounds encode again.")
    seed: int = Field(default=0, ge=0, description="Decides every draw: the same seed gives the same bytes.")

    @model_validator(mode="after")
    def _depths_agree(self) -> "MiningSettings":
        if self.pool_depth < self.negatives_per_query:
            raise ValueError(
                f"pool_depth is {self.pool_depth} and negatives_per_query {self.negatives_per_query}; "
                "the pool must hold at least the negatives that a query needs"
            )
        return self

    @property
    def teachers_used(self) -> tuple[str, ...]:
        """Names of the teachers that this mining reads, without the student, in the order they are named."""
        drawn_by = () if isinstance(self.selection, BestFirst) else (self.selection.teacher,)
        combined = self.ensemble.teachers if self.ensemble else ()
        named = (*self.candidates, *(veto.teacher for veto in self.veto), *drawn_by, *combined)
        return tuple(dict.fromkeys(name for name in named if name != STUDENT))
