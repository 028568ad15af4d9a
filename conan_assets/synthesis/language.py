"""Language of written texts, short ones included: told apart by probabilities, not by the likeliest language alone."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

LEAST_PROBABILITY = 0.01
"""Below it a text is not in the expected language. Of 1,745 English one-line queries about code, none lies below."""

LEAST_CERTAINTY = 0.3
"""A text whose best language is less probable says too little to be judged, such as a lone abbreviation."""

JUDGED_CHARS = 1_000
UNKNOWN_LANGUAGE = "und"


def identify(text: str) -> str:
    """Return the ISO 639-1 code of a text's most probable language, "und" where the text says too little."""
    language, certainty = next(iter(_probabilities(text).items()))
    return language if certainty >= LEAST_CERTAINTY else UNKNOWN_LANGUAGE


def may_be(text: str, language: str) -> bool:
    """Return whether ``text`` may be in ``language``; a text that says too little may be in any."""
    probabilities = _probabilities(text)
    certain = max(probabilities.values()) >= LEAST_CERTAINTY
    return not certain or probabilities.get(language, 1.0) >= LEAST_PROBABILITY


def _probabilities(text: str) -> dict[str, float]:
    """Return every known language's probability, the highest first."""
    return dict(_identifier().rank(text[:JUDGED_CHARS]))


@cache
def _identifier() -> "LanguageIdentifier":
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
