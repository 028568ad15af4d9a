"""What a pair is removed for: the reasons in order, and those that its own two texts decide, as polars expressions."""

import re
from collections.abc import Mapping

import polars as pl

from conan_assets.data.curation_settings import CurationSettings
from conan_assets.data.settings import PersonalData
from conan_assets.data.text import cleaned

STEPS = {
    "format": ("judged_irrelevant", "broken_text"),
    "length": ("query_too_short", "query_too_long", "document_too_short", "document_too_long"),
    "language": ("other_language",),
    "heuristics": ("too_many_symbols", "repetitive", "boilerplate", "query_equals_document"),
    "near_duplicates": ("duplicate", "near_duplicate"),
    "safety": ("blocked_word", "blocked_pattern", "personal_data"),
    "decontamination": (
        "evaluation_query",
        "normalised_evaluation_query",
        "near_evaluation_query",
        "evaluation_pair",
    ),
    "teacher_score": ("low_teacher_score",),
}
"""The steps in the papers' order and the reasons that each removes a pair for, in the order they are looked for."""

REASONS = tuple(reason for reasons in STEPS.values() for reason in reasons)

PERSONAL_DATA: Mapping[PersonalData, str] = {
    "email": r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}",
    "phone": (
        r"(?:^|[^\d-])(?:\+\d{1,3}[ -]?(?:\(?\d{2,4}\)?[ -]?){2,5}\d{2,}|1[3-9]\d{9}|\(?\d{3}\)?[ -]\d{3}-\d{4})"
        r"(?:$|[^\d-])"
    ),
    "identity_number": (
        r"(?:^|[^\d-])(?:[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx]"
        r"|\d{3}-\d{2}-\d{4})(?:$|[^\d-])"
    ),
    "payment_card": r"(?:^|\D)(?:\d{4}[ -]){3}\d{4}(?:$|\D)",
    "ip_address": (
        r"(?:^|[^\d.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:$|[^\d.]|\.$|\.\s)"
    ),
}
"""Rust regular expressions: the Chinese resident identity and the US social security number are identity numbers."""

MIN_WORDS_TO_REPEAT = 50
WORD = r"[\p{L}\p{M}\p{N}&&[^\p{Han}\p{Hiragana}\p{Katakana}]]+|[\p{Han}\p{Hiragana}\p{Katakana}]{1,2}"
BROKEN = r"[\u{FFFD}\p{Co}\p{Cn}]"
SYMBOL = r"[^\p{L}\p{M}\p{N}\s]"
SENTENCE_CHARACTER = r"[^\n.!?。！？]"
CHINESE = re.compile("[\u3040-\u30ff\u3400-\u9fff]")


def bit(reason: str) -> int:
    """Return the bit that stands for a reason; a lower bit is an earlier reason."""
    return 1 << REASONS.index(reason)


def bits(found: Mapping[str, pl.Expr]) -> pl.Expr:
    """Return the reasons that hold, as the bits of one UInt32."""
    marked = [pl.when(holds).then(pl.lit(bit(reason), pl.UInt32)).otherwise(0) for reason, holds in found.items()]
    return pl.sum_horizontal(pl.lit(0, pl.UInt32), *marked).cast(pl.UInt32)


def query_faults(text: pl.Expr, settings: CurationSettings) -> dict[str, pl.Expr]:
    """Return what may be wrong with a query, or with a sentence of a graded pair; ``text`` is cleaned."""
    chars = text.str.len_chars()
    return {
        "query_too_short": chars < settings.min_query_chars,
        "query_too_long": chars > settings.max_query_chars,
        **_any_text_faults(text, settings),
    }


def document_faults(text: pl.Expr, settings: CurationSettings) -> dict[str, pl.Expr]:
    """Return what may be wrong with a document."""
    chars, cleaned_chars = text.str.len_chars(), cleaned(text).str.len_chars()
    words = text.str.extract_all(WORD)
    few_words = words.list.n_unique() < settings.min_distinct_word_share * words.list.len()
    return {
        "document_too_short": cleaned_chars < settings.min_document_chars,
        "document_too_long": cleaned_chars > settings.max_document_chars,
        "too_many_symbols": text.str.count_matches(SYMBOL) > settings.max_symbol_share * chars,
        "repetitive": (words.list.len() >= MIN_WORDS_TO_REPEAT) & few_words,
        "boilerplate": _boilerplate(text, settings),
        **_any_text_faults(text, settings),
    }


def _any_text_faults(text: pl.Expr, settings: CurationSettings) -> dict[str, pl.Expr]:
    return {
        "broken_text": text.str.count_matches(BROKEN) > settings.max_broken_share * text.str.len_chars(),
        "blocked_word": _matches(text, [_words_pattern(settings.blocked_words)] if settings.blocked_words else []),
        "blocked_pattern": _matches(text, settings.blocked_patterns),
        "personal_data": _matches(text, [PERSONAL_DATA[kind] for kind in settings.personal_data]),
    }


def _matches(text: pl.Expr, patterns: list[str] | tuple[str, ...]) -> pl.Expr:
    return pl.any_horizontal(pl.lit(False), *(text.str.contains(pattern) for pattern in patterns))


def _words_pattern(words: tuple[str, ...]) -> str:
    """Return a pattern of whole words; Chinese and Japanese ones stand anywhere, for nothing separates words there."""
    return "(?i)" + "|".join(_word_pattern(word) for word in words)


def _word_pattern(word: str) -> str:
    if CHINESE.search(word):
        return re.escape(word)
    before, after = (r"\b" if re.match(r"\w", end) else "" for end in (word[:1], word[-1:]))
    return f"{before}{re.escape(word)}{after}"


def _boilerplate(text: pl.Expr, settings: CurationSettings) -> pl.Expr:
    """Return whether sentences with boilerplate make up too much of a text."""
    if not settings.boilerplate_patterns:
        return pl.lit(False)
    patterns = "|".join(settings.boilerplate_patterns)
    rest = text.str.replace_all(rf"(?im){SENTENCE_CHARACTER}*(?:{patterns}){SENTENCE_CHARACTER}*", "")
    chars = text.str.len_chars()
    return (chars - rest.str.len_chars()) > settings.max_boilerplate_share * chars
