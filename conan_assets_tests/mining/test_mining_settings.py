"""Settings refuse what they do not know and say what they accept."""

import subprocess
import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from conan_assets.mining.ensembles import ENSEMBLES
from conan_assets.mining.rules import RULES
from conan_assets.mining.selection import SELECTIONS
from conan_assets.mining.settings import MiningSettings
from conan_assets.search.settings import TeacherSettings


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_can_be_named_and_its_parameters_are_those_of_the_function(rule):
    (veto,) = MiningSettings.model_validate({"veto": [{"rule": rule, "teacher": "t"}]}).veto
    assert set(veto.parameters) == set(RULES[rule].__kwdefaults__ or RULES[rule].__annotations__) - {
        "scores", "references", "ranks", "return",
    }  # fmt: skip


@pytest.mark.parametrize("rule", SELECTIONS)
def test_every_selection_can_be_named(rule):
    assert MiningSettings.model_validate({"selection": {"rule": rule}}).selection.rule == rule


@pytest.mark.parametrize("rule", ENSEMBLES)
def test_every_ensemble_can_be_named(rule):
    chosen = MiningSettings.model_validate({"ensemble": {"rule": rule, "teachers": ["a", "b"]}})
    assert chosen.teachers_used == ("a", "b")


def test_defaults_are_the_published_constants():
    vetoes = [{"rule": rule} for rule in RULES]
    _, shifted, absolute, margin, percentage = MiningSettings.model_validate({"veto": vetoes}).veto
    assert (shifted.shift, absolute.threshold, margin.margin, percentage.ratio) == (10, 0.7, 0.05, 0.95)
    assert MiningSettings().veto == (percentage,)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"veto": [{"rule": "top_p"}]}, "top_k_perc_pos"),
        ({"veto": [{"rule": "top_k_abs", "ratio": 0.9}]}, "ratio"),
        ({"veto": [{"rule": "top_k_perc_pos", "ratio": 1.5}]}, "less than or equal to 1"),
        ({"depht": 5}, "depht"),
        ({"pool_depth": 2, "negatives_per_query": 4}, "pool_depth is 2 and negatives_per_query 4"),
        ({"on_shortage": "fill"}, "'keep', 'drop' or 'resample'"),
    ],
)
def test_what_is_not_accepted_is_named(values, message):
    with pytest.raises(ValidationError, match=message):
        MiningSettings.model_validate(values)


def test_a_teacher_is_chosen_by_its_kind():
    teacher = TypeAdapter(TeacherSettings).validate_python(
        {"kind": "bi_encoder", "encoder": {"model": "m", "query_prompt": "q: "}}
    )
    assert teacher.encoder.query_prompt == "q: "
    with pytest.raises(ValidationError, match="'bm25', 'bi_encoder', 'hybrid', 'cross_encoder'"):
        TypeAdapter(TeacherSettings).validate_python({"kind": "oracle"})


def test_settings_are_light_to_import():
    code = (
        "import sys, conan_assets.mining.settings; print([m for m in ('numpy', 'polars', 'torch') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
