from collections.abc import Iterator

import pytest

from conan_assets.artifacts import fingerprint
from conan_assets.settings import Settings
from conan_assets.synthesis.settings import ExtractiveGeneration, NoGeneration, OpenAIGeneration

PRICES = {"price_per_million_prompt_tokens": 1.0, "price_per_million_completion_tokens": 2.0}


def recipe(**changes) -> str:
    return fingerprint(OpenAIGeneration(**({"kind": "openai", "model": "tiny"} | changes)).recipe())


@pytest.mark.parametrize(
    "changes",
    [
        {"calls": {"concurrency": 64, "timeout_seconds": 5, "max_retries": 1, "requests_per_minute": 9}},
        {"calls": {"tokens_per_minute": 9_000}},
        {"budget": PRICES},
        {"gates": {"examples_per_reason": 9}},
        {"base_url": "http://127.0.0.1:1/v1"},
        {"mode": "batch", "batch": {"poll_seconds": 1, "max_requests": 10, "max_file_megabytes": 1}},
    ],
)
def test_what_cannot_change_the_pairs_is_no_part_of_the_recipe(changes):
    assert recipe(**changes) == recipe()


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "other"},
        {"tasks": ["sts"]},
        {"max_pairs": 7},
        {"pairs_per_passage": 3},
        {"seed": 1},
        {"prompt_language": "zh"},
        {"max_passage_chars": 100},
        {"temperature": 0.1},
        {"max_completion_tokens": 9},
        {"calls": {"max_corrections": 0}},
        {"budget": {"max_tokens": 1_000}},
        {"gates": {"teacher": "bm25"}},
        {"gates": {"top_k": 3}},
        {"gates": {"min_teacher_score": 0.1}},
    ],
)
def test_what_can_change_the_pairs_is_part_of_the_recipe(changes):
    assert recipe(**changes) != recipe()


def test_prices_decide_where_a_cost_stops_the_run():
    dear = PRICES | {"price_per_million_prompt_tokens": 9.0}
    assert recipe(budget=PRICES | {"max_cost": 3}) != recipe(budget=dear | {"max_cost": 3})


def properties(schema: dict) -> Iterator[tuple[str, dict]]:
    for section in (schema, *schema.get("$defs", {}).values()):
        yield from section["properties"].items()


@pytest.mark.parametrize("kind", [NoGeneration, ExtractiveGeneration, OpenAIGeneration])
def test_every_setting_is_described_and_every_number_has_a_range(kind):
    for name, setting in properties(kind.model_json_schema()):
        assert setting.get("description") or "$ref" in setting, name
        for variant in (setting, *setting.get("anyOf", ())):
            if variant.get("type") in ("integer", "number"):
                assert {"minimum", "exclusiveMinimum"} & set(variant), name


def test_sentences_that_cannot_be_long_and_short_enough_are_refused():
    with pytest.raises(ValueError, match="min_sentence_chars 300 is above max_sentence_chars 200"):
        ExtractiveGeneration(kind="extractive", min_sentence_chars=300)


def programme(gates: dict) -> dict:
    return {
        "name": "p",
        "sources": {"docs": {"kind": "python_docs"}},
        "base_model": {"model": "m"},
        "teachers": {"bm25": {"kind": "bm25"}, "cross": {"kind": "cross_encoder", "model": "m"}},
        "generation": {"kind": "openai", "model": "tiny", "gates": gates},
        "mining": {"veto": [], "candidates": ["student"]},
        "rounds": 1,
        "suites": {"beir": {"docs": {"kind": "local", "dataset": "docs", "splits": ["dev"]}}},
        "dev_metric": {"suite": "docs"},
    }


def test_a_gate_teacher_is_one_of_the_programme_that_searches():
    assert Settings.model_validate(programme({"teacher": "bm25"})).generation.gates.teacher == "bm25"
    with pytest.raises(ValueError, match=r"generation\.gates\.teacher is 'bge'; the teachers are bm25, cross"):
        Settings.model_validate(programme({"teacher": "bge"}))
