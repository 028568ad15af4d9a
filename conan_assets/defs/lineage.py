"""What a round was made from and what its stages took, read from the assets' reports."""

from importlib.metadata import version

import dagster as dg

from conan_assets.artifacts import fingerprint
from conan_assets.defs.checkpoints import round_key
from conan_assets.defs.storage import Storage
from conan_assets.defs.teachers import teacher_key
from conan_assets.evaluation.report import StageCost, StageReport, parse
from conan_assets.settings import Settings

SOFTWARE = ("conan-assets", "mteb", "sentence-transformers", "transformers", "torch")
WHERE_AND_HOW_LONG = {
    "home",
    "keep_versions",
    "keep_releases",
    "keep_embeddings_days",
    "launch",
    "release",
    "catalogue",
}
"""Settings that change no weight."""


def lineage_of(settings: Settings, storage: Storage, round_name: str) -> dict[str, str]:
    """Return what made a round's checkpoint: versions of data, negatives, settings and software, by name."""
    checkpoint = storage.artifacts.current(f"{round_name}/checkpoint")
    return {
        **checkpoint.made_from,
        checkpoint.key: checkpoint.content,
        "settings": fingerprint(settings.model_dump(mode="json", exclude=WHERE_AND_HOW_LONG)),
        **{name: version(name) for name in SOFTWARE},
    }


def stage_costs(settings: Settings, storage: Storage) -> list[StageCost]:
    """Return what every stage but the evaluations took, when it was built."""
    costs = []
    for round_name, stage, key in _stages(settings):
        report = parse(StageReport, storage.current(key).report, key.to_user_string())
        tokens = report.prompt_tokens + report.completion_tokens
        costs.append(StageCost(round_name, stage, report.seconds, report.encoded, tokens))
    return costs


def stage_versions(settings: Settings, storage: Storage) -> dict[str, str]:
    """Return which version of every stage the costs are those of; unlike seconds, the same wherever it is built."""
    return {key.to_user_string(): storage.current(key).fingerprint for _, _, key in _stages(settings)}


def _stages(settings: Settings) -> list[tuple[str, str, dg.AssetKey]]:
    stages = [
        ("round_0", "writing pairs", dg.AssetKey("prompt_response_pairs")),
        ("round_0", "curation", dg.AssetKey("training_pairs")),
        *(("round_0", f"scores of {name}", teacher_key(name)) for name in settings.mining.teachers_used),
    ]
    if settings.pretraining is not None:
        stages.append(("round_0", "training", round_key(0, "checkpoint")))
    for number in range(1, settings.rounds + 1):
        stages.append((f"round_{number}", "mining", round_key(number, "hard_negatives")))
        stages.append((f"round_{number}", "training", round_key(number, "checkpoint")))
    return stages
