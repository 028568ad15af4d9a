"""The texts that go before queries and before documents."""

import json
from typing import NamedTuple

from conan_assets.encoding.models import locate_model
from conan_assets.encoding.settings import EncoderSettings

CONFIG = "config_sentence_transformers.json"


class Prompts(NamedTuple):
    """The text before every query, and before every document."""

    query: str
    document: str


def prompts_of(settings: EncoderSettings) -> Prompts:
    """Return the prompts of ``settings``; where they are None, those that ``encode_query`` and ``encode_document`` use.

    Raises
    ------
    ModelNotFoundError
        There is no such model, and a prompt is to come from it.
    """
    if settings.query_prompt is not None and settings.document_prompt is not None:
        return Prompts(settings.query_prompt, settings.document_prompt)
    own = _own_prompts(settings)
    query = own.query if settings.query_prompt is None else settings.query_prompt
    document = own.document if settings.document_prompt is None else settings.document_prompt
    return Prompts(query, document)


def _own_prompts(settings: EncoderSettings) -> Prompts:
    path = locate_model(settings.model, settings.revision) / CONFIG
    named = json.loads(path.read_text(encoding="utf-8")).get("prompts", {}) if path.exists() else {}
    return Prompts(named.get("query", ""), named.get("document", ""))
