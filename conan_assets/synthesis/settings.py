"""Settings of the generators that write prompt-response pairs."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from conan_assets.llm.settings import LanguageModel
from conan_assets.schema import Section

QuestionKind = Literal["factual", "procedural", "comparison", "keywords", "misspelt", "conversational"]
QUESTION_KINDS: dict[QuestionKind, float] = {
    "factual": 30,
    "procedural": 20,
    "comparison": 10,
    "keywords": 25,
    "misspelt": 5,
    "conversational": 10,
}


class NoGeneration(Section):
    """No pairs are written."""

    kind: Literal["none"] = Field(description="The generator: none.")

    def recipe(self) -> dict[str, Any]:
        """Return what decides the pairs."""
        return self.model_dump(mode="json")


class ExtractiveGeneration(Section):
    """Inverse cloze: a sentence of a passage is the query for that passage; needs no model and no endpoint."""

    kind: Literal["extractive"] = Field(description="The generator: sentences copied from their passages.")
    max_pairs: int = Field(default=500, ge=1, le=100_000_000, description="Most pairs, one for each passage.")
    seed: int = Field(default=0, ge=0, description="Chooses the passages and the sentences.")
    min_sentence_chars: int = Field(default=30, ge=1, description="Fewest characters of a sentence that is a query.")
    max_sentence_chars: int = Field(default=200, ge=1, description="Most characters of a sentence that is a query.")

    @model_validator(mode="after")
    def _some_sentence_fits(self) -> "ExtractiveGeneration":
        if self.min_sentence_chars > self.max_sentence_chars:
            raise ValueError(
                f"min_sentence_chars {self.min_sentence_chars} is above max_sentence_chars {self.max_sentence_chars}: "
                "no sentence fits"
            )
        return self

    def recipe(self) -> dict[str, Any]:
        """Return what decides the pairs."""
        return self.model_dump(mode="json")


class Gates(Section):
    """What a written pair must pass; the others are removed and counted by reason."""

    teacher: str | None = Field(
        default=None,
        description="One of the programme's teachers, bm25 or bi_encoder: for each question it must find the passage. "
        "Null leaves out the round trip and the score.",
    )
    top_k: int = Field(default=10, ge=1, le=10_000, description="First documents among which it must find it.")
    min_teacher_score: float = Field(
        default=0.4,
        ge=-1,
        le=1,
        description="Least cosine of a query and its passage or response (Conan-embedding, arXiv 2408.15710, section "
        "3.1); not with bm25.",
    )
    near_duplicate_jaccard: float = Field(
        default=0.7, gt=0, le=1, description="Queries about one passage at least this similar are near-duplicates."
    )
    min_grade: int | None = Field(
        default=None,
        ge=1,
        le=5,
        description="Least of the grades, from 1 to 5, that the model gives each question for being answered by its "
        "passage, for being clear without it, and for sounding natural: one more call for each passage. Null asks for "
        "none.",
    )
    held_out_min_grade: int = Field(
        default=4,
        ge=1,
        le=5,
        description="Least grade of a dev or test question, of sources whose questions are all written. These need no "
        "round trip: a test of what the teacher finds anyway would measure the teacher.",
    )
    other_positives: int = Field(
        default=3,
        ge=0,
        le=100,
        description="Further passages that the teacher, or BM25 without one, finds for each dev and test question, and "
        "that the model grades as answers: those it confirms are positives too. A call for each.",
    )
    examples_per_reason: int = Field(default=3, ge=0, le=50, description="Rejected pairs of each reason in the report.")


class OpenAIGeneration(LanguageModel):
    """Pairs written by a model behind an OpenAI-compatible endpoint."""

    kind: Literal["openai"] = Field(description="The generator: a language model.")
    tasks: tuple[Literal["question", "instruction", "sts"], ...] = Field(
        default=("question",),
        min_length=1,
        description="What is written from a passage, in turn: questions it answers, prompts with responses, graded "
        "sentence pairs.",
    )
    max_pairs: int = Field(
        default=500, ge=1, le=100_000_000, description="Most pairs written; the gates remove some of them."
    )
    pairs_per_passage: int = Field(default=2, ge=1, le=20, description="Pairs asked for in one call.")
    seed: int = Field(default=0, ge=0, description="Chooses the passages and varies the prompts.")
    examples: tuple[str, ...] = Field(
        default=(), max_length=20, description="Real queries of yours, ten say: questions are written in their manner."
    )
    kinds: dict[QuestionKind, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default=QUESTION_KINDS,
        description="Share of the passages that are asked for each kind of question, in any unit; a kind that is not "
        "named is not asked for.",
    )
    two_passages_percent: float = Field(
        default=0,
        ge=0,
        le=100,
        description="Share of the passages that are asked about together with the next one of their document. The "
        "model grades such a question with both and with each alone, three calls; both are its positives.",
    )
    hard_negatives_per_question: int = Field(
        default=0,
        ge=0,
        le=20,
        description="Passages written for each question to train on that look relevant and do not answer it: one call "
        "for a question, and one for each passage, whose grade must be below gates.min_grade. Mining takes them first.",
    )
    prompt_language: Literal["en", "zh"] = Field(default="en", description="Language of the prompts.")
    max_passage_chars: int = Field(
        default=4_000, ge=100, le=10_000_000, description="Characters at which a passage is cut in the prompt."
    )
    gates: Gates = Field(default=Gates(), description="What a written pair must pass.")

    @model_validator(mode="after")
    def _some_kind_is_asked_for(self) -> "OpenAIGeneration":
        if not sum(self.kinds.values()):
            raise ValueError(f"kinds gives no kind of question a share: name some of {', '.join(QUESTION_KINDS)}")
        return self

    @model_validator(mode="after")
    def _negatives_are_graded(self) -> "OpenAIGeneration":
        if self.hard_negatives_per_question and self.gates.min_grade is None:
            raise ValueError(
                "hard_negatives_per_question needs grades, which confirm that what is written does not answer the "
                "question: set gates.min_grade, 3 say"
            )
        return self

    def recipe(self) -> dict[str, Any]:
        """Return what decides the pairs."""
        own = self.model_dump(mode="json", exclude=set(LanguageModel.model_fields) | {"gates"})
        return (
            own | self.answer_recipe() | {"gates": self.gates.model_dump(mode="json", exclude={"examples_per_reason"})}
        )


GenerationSettings = Annotated[NoGeneration | ExtractiveGeneration | OpenAIGeneration, Field(discriminator="kind")]
