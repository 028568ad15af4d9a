"""Stage 7, the outcome: the `leaderboard` over all rounds and the `released_model`, the best checkpoint."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from conan_assets.bucket.release import put_release, take_up_release
from conan_assets.bucket.working_copy import upload
from conan_assets.cleaning import LAST_PUBLISHED, POINTER, RELEASES, clean_storage
from conan_assets.defs.checkpoints import MODEL, base_model_of, round_key
from conan_assets.defs.limits import retried
from conan_assets.defs.lineage import WHERE_AND_HOW_LONG, lineage_of, stage_costs, stage_versions
from conan_assets.defs.metadata import markdown_table
from conan_assets.defs.release_gate import require_passed_checks
from conan_assets.defs.reports import BASE_MODEL_FOLDER, current_report, report_keys
from conan_assets.defs.reuse import Report, code_version, reuse_or_build
from conan_assets.defs.storage import Storage
from conan_assets.evaluation.report import (
    BASE_MODEL,
    BM25_MODEL,
    HYBRID_PER_QUERY,
    LEADERBOARD_VERSION,
    PER_QUERY,
    RELEASE_VERSION,
    LeaderboardEntry,
    as_json,
    baseline_per_query,
)
from conan_assets.files import atomic_path, flush, flush_tree, naming_a_full_disk
from conan_assets.integrity import digest_parts, set_aside
from conan_assets.manifest import PARTIAL_SUFFIX
from conan_assets.settings import Settings

if TYPE_CHECKING:
    from conan_assets.evaluation.choice import Choice

logger = logging.getLogger("conan_assets")

OUTCOME = "outcome.md"
LEADERBOARD_FILES = ("leaderboard.json", "leaderboard.md", "leaderboard.html", "leaderboard.png")


def build_release_assets(settings: Settings, checks: Sequence[dg.AssetChecksDefinition]) -> list[dg.AssetsDefinition]:
    """Return the assets that compare the rounds and release the best checkpoint, if its ``checks`` have passed."""
    keys = [key for check in checks for key in check.check_keys]
    return [_build_leaderboard(settings), _build_released_model(settings, keys)]


def _build_leaderboard(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        group_name="outcome",
        deps=list(report_keys(settings)),
        kinds={"markdown"},
        code_version=code_version(leaderboard=LEADERBOARD_VERSION),
    )
    def leaderboard(context: dg.AssetExecutionContext, storage: Storage) -> dg.MaterializeResult[None]:
        """Compare all rounds, the base model and BM25."""
        from conan_assets.evaluation.leaderboard import build_leaderboard

        def build(directory: Path) -> Report:
            entries, costs = leaderboard_entries(settings, storage), stage_costs(settings, storage)
            return build_leaderboard(entries, directory, costs, choice_of(settings, storage))

        recipe = {"stages": stage_versions(settings, storage), "dev_metric": settings.dev_metric}
        result = reuse_or_build(context, storage, recipe, build)
        folder = storage.current(dg.AssetKey("leaderboard")).path
        with naming_a_full_disk("leaderboard", storage.root):
            for name in LEADERBOARD_FILES:
                with atomic_path(storage.root / name) as path:
                    shutil.copyfile(folder / name, path)
                upload(storage.root / name)
        return result

    return leaderboard


def _build_released_model(settings: Settings, checks: Sequence[dg.AssetCheckKey]) -> dg.AssetsDefinition:
    checkpoints = [round_key(number, "checkpoint") for number in range(settings.rounds + 1)]

    @dg.asset(
        group_name="outcome",
        deps=["leaderboard", *report_keys(settings), *checkpoints],
        kinds={"huggingface"},
        code_version=code_version(release=RELEASE_VERSION),
    )
    @retried
    def released_model(context: dg.AssetExecutionContext, storage: Storage) -> dg.MaterializeResult[None]:
        """Release the best checkpoint by the dev metric as a sentence-transformers folder with a model card."""
        from conan_assets.evaluation.comparison import keep_scores
        from conan_assets.evaluation.hub import hub_token
        from conan_assets.evaluation.model_card import Origin, body_of
        from conan_assets.evaluation.registry import require_registry
        from conan_assets.evaluation.release import RELEASE_FOLDER, write_release

        token = hub_token(settings.release)
        require_registry(settings.release)
        choice = choice_of(settings, storage)
        best = choice.best
        before = [key for key in checks if _comes_before(key.asset_key, best.round)]
        verdicts = require_passed_checks(context, best.round, before)

        def build(directory: Path) -> Report:
            checkpoint = storage.current(dg.AssetKey([best.round, "checkpoint"]))
            weights = replace(settings.base_model, model=str(checkpoint.path / MODEL), revision=None)
            base_model = base_model_of(settings, storage.current(round_key(0, "checkpoint")))
            programme = settings.model_dump(mode="json", exclude=WHERE_AND_HOW_LONG)
            dims = () if best.round == "round_0" else settings.training[-1].matryoshka_dims
            origin = Origin(settings.name, base_model, lineage_of(settings, storage, best.round), programme, dims)
            report = write_release(choice, weights, origin, directory)
            keep_scores(best, directory)
            return as_json(report)

        recipe = {"dev_metric": settings.dev_metric, "name": settings.name}
        result = reuse_or_build(context, storage, recipe, build)
        built = storage.artifacts.current("released_model")
        release = storage.root / RELEASES / built.fingerprint
        in_use = _put_in_place(built.path / RELEASE_FOLDER, release, storage.root, choice.outcome())
        clean_storage(storage.root, settings.keep_releases, settings.keep_embeddings_days)
        seen = {
            **choice.figures(),
            **(result.metadata or {}),
            "model_card": dg.MetadataValue.md(body_of(release / "README.md")),
            "checks": dg.MetadataValue.md(markdown_table(verdicts)),
        }
        if in_use == release:
            seen |= _send(release, settings, choice, token)
        return result._replace(metadata=seen)

    return released_model


def _send(release: Path, settings: Settings, choice: "Choice", token: str | None) -> dict[str, dg.MetadataValue]:
    """Bring a release to the Hub, if there is a token, and to MLflow, as the profile asks; return where it is."""
    from conan_assets.evaluation.hub import push_release
    from conan_assets.evaluation.registry import register_release

    sent: dict[str, dg.MetadataValue] = {}
    if token is not None:
        message = f"{settings.name}: {choice.best.round}, release {release.name}"
        sent["pushed_to"] = dg.MetadataValue.url(push_release(release, settings.release, token, message))
    if name := settings.release.register_as:
        figures = {what: value for what, value in choice.figures().items() if isinstance(value, float)}
        sent["registered_as"] = dg.MetadataValue.text(register_release(release, name, figures))
    return sent


def _put_in_place(built: Path, release: Path, root: Path, outcome: str) -> Path:
    """Copy what was built to its place among the releases, point to it and write the outcome; return what is in use."""
    from conan_assets.evaluation.release import publish

    pointer, last = root / POINTER, release.with_name(LAST_PUBLISHED)
    with naming_a_full_disk("released_model", root):
        take_up_release(pointer, last)
        in_use = publish(_copy_release(built, release), pointer)
        if in_use == release:
            put_release(release, pointer, last)
        withdrawn = "" if in_use == release else f"; {release.name} was withdrawn: {in_use.name} stays in use"
        with atomic_path(root / OUTCOME) as path:
            path.write_text(f"{outcome}\n\nReleased model: {pointer}{withdrawn}\n", encoding="utf-8")
        upload(root / OUTCOME)
    if withdrawn:
        logger.warning("released_model%s", withdrawn)
    return in_use


def _copy_release(folder: Path, release: Path) -> Path:
    """Copy a released model to its place, also where what lies there is no longer what was released."""
    if release.exists() and digest_parts(release) != digest_parts(folder):
        logger.warning(
            "%s is damaged and copied again, %s keeps what is left", release, set_aside(release, release.parents[1])
        )
    if not release.exists():
        partial = release.with_name(f"{release.name}{PARTIAL_SUFFIX}")
        shutil.copytree(folder, partial, dirs_exist_ok=True)
        flush_tree(partial)
        partial.rename(release)
        flush(release.parent)
    return release


def _comes_before(key: dg.AssetKey, round_name: str) -> bool:
    """Return whether a round's release can depend on an asset: not on later rounds, nor on the release itself."""
    room = key.path[0]
    is_later = room.startswith("round_") and int(room.removeprefix("round_")) > int(round_name.removeprefix("round_"))
    return not is_later and room != "released_model"


def choice_of(settings: Settings, storage: Storage) -> "Choice":
    """Return the best checkpoint by the dev metric, and what it gained."""
    from conan_assets.evaluation.choice import choose

    by = settings.dev_metric
    return choose(leaderboard_entries(settings, storage), by.suite, by.split, by.metric)


def leaderboard_entries(settings: Settings, storage: Storage) -> list[LeaderboardEntry]:
    """Return the reports of all rounds, each followed by BM25 with it, after those of baselines and the base model."""
    entries = []
    for key, (number, _) in report_keys(settings).items():
        report, folder = current_report(storage, key), storage.current(key).path
        for name, baseline in report.baselines.items():
            file = folder / baseline_per_query(name)
            entries.append(LeaderboardEntry("round_0", baseline.model, baseline, (file,), baseline=True))
        if report.base_model is not None:
            file = folder / BASE_MODEL_FOLDER / PER_QUERY
            entries.append(LeaderboardEntry("round_0", BASE_MODEL, report.base_model, (file,), baseline=True))
        label = BASE_MODEL if number == 0 and settings.starts_from_base_model else f"round {number}"
        entries.append(LeaderboardEntry(f"round_{number}", label, report, (folder / PER_QUERY,)))
        if report.hybrid is not None and report.hybrid.rows:
            file, model = folder / HYBRID_PER_QUERY, f"{BM25_MODEL} + {label}"
            entries.append(LeaderboardEntry(f"round_{number}", model, report.hybrid, (file,), baseline=True))
    return entries
