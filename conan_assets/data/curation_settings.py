"""Settings of the curation of training pairs."""

from pydantic import Field, field_validator, model_validator

from conan_assets.data.settings import PersonalData
from conan_assets.schema import Section

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
