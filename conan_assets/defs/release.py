"""Stage 7, the outcome: the `leaderboard` over all rounds and the `released_model`, the best checkpoint."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from conan_assets.artifacts import atomic_path, fingerprint
from conan_assets.defs.reports import report_keys
from conan_assets.defs.reuse import Report, reuse_or_build
from conan_assets.defs.rounds import MODEL, round_key
from conan_assets.defs.storage import Storage
from conan_assets.settings import Settings

if TYPE_CHECKING:
    from conan_assets.evaluation.leaderboard import LeaderboardEntry

BASE_MODEL = "base model"
LEADERBOARD_FILES = ("leaderboard.json", "leaderboard.md", "leaderboard.html")


def build_release_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """Return the assets that compare the rounds and release the best checkpoint."""
    return [_build_leaderboard(settings), _build_released_model(settings)]


def _build_leaderboard(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(group_name="outcome", deps=list(report_keys(settings)), kinds={"markdown"}, code_version="1")
    def leaderboard(context: dg.AssetExecutionContext, storage: Storage) -> dg.MaterializeResult:
        """Compare all rounds, the base model and BM25."""
        from conan_assets.evaluation.leaderboard import build_leaderboard

        def build(directory: Path) -> Report:
            return build_leaderboard(_entries(settings, storage), directory)

        result = reuse_or_build(context, storage, {}, build)
        folder = storage.artifacts.current("leaderboard").path
        for name in LEADERBOARD_FILES:
            with atomic_path(storage.root / name) as path:
                shutil.copyfile(folder / name, path)
        return result

    return leaderboard


def _build_released_model(settings: Settings) -> dg.AssetsDefinition:
    checkpoints = [round_key(number, "checkpoint") for number in range(settings.rounds + 1)]

    @dg.asset(
        group_name="outcome",
        deps=["leaderboard", *report_keys(settings), *checkpoints],
        kinds={"huggingface"},
        code_version="1",
    )
    def released_model(context: dg.AssetExecutionContext, storage: Storage) -> dg.MaterializeResult:
        """Release the best checkpoint by the dev metric as a sentence-transformers folder with a model card."""
        from conan_assets.evaluation.leaderboard import choose_best
        from conan_assets.evaluation.release import RELEASE_FOLDER, publish, write_release

        def build(directory: Path) -> Report:
            chosen_by = settings.dev_metric
            best = choose_best(_entries(settings, storage), chosen_by.suite, chosen_by.split, chosen_by.metric)
            checkpoint = storage.artifacts.current(f"{best.round}/checkpoint")
            rounds = range(1, int(best.round.removeprefix("round_")) + 1)
            lineage = {
                "checkpoint": checkpoint.fingerprint,
                **{
                    f"round_{number}/hard_negatives": storage.current(round_key(number, "hard_negatives")).content
                    for number in rounds
                },
                "training_pairs": storage.artifacts.current("training_pairs").fingerprint,
                "settings": fingerprint(settings.model_dump(mode="json", exclude={"home", "keep_versions"})),
            }
            weights = replace(settings.base_model, model=str(checkpoint.path / MODEL), revision=None)
            return write_release(best, weights, settings.base_model, lineage, settings.name, directory)

        recipe = {"dev_metric": settings.dev_metric, "name": settings.name}
        result = reuse_or_build(context, storage, recipe, build)
        built = storage.artifacts.current("released_model")
        release = storage.root / "releases" / built.fingerprint
        if not release.exists():
            partial = release.with_name(f"{release.name}.partial")
            shutil.copytree(built.path / RELEASE_FOLDER, partial, dirs_exist_ok=True)
            partial.rename(release)
        publish(release, storage.root / "released_model")
        return result

    return released_model


def _entries(settings: Settings, storage: Storage) -> list["LeaderboardEntry"]:
    """Return the reports of all rounds, in order, after those of BM25 and the base model."""
    from conan_assets.evaluation.leaderboard import BM25_MODEL, LeaderboardEntry

    entries = []
    for key, (number, _) in report_keys(settings).items():
        report = storage.current(key).report
        for part, model in (("bm25", BM25_MODEL), ("base_model", BASE_MODEL)):
            if part in report:
                baseline = report[part]
                entries.append(LeaderboardEntry("round_0", model, baseline["checkpoint_fingerprint"], baseline))
        label = BASE_MODEL if number == 0 and settings.pretraining is None else f"round {number}"
        entries.append(LeaderboardEntry(f"round_{number}", label, report["checkpoint_fingerprint"], report))
    return entries
