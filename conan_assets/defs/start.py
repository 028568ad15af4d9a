"""Stage 5a, `round_0/checkpoint`, where the rounds start: the base model, that model pretrained, the last release."""

import shutil
from dataclasses import replace
from pathlib import Path

import dagster as dg

from conan_assets.defs.checkpoints import MODEL, build_pretrained, round_key
from conan_assets.defs.limits import retried
from conan_assets.defs.reuse import Report, code_version, reuse_or_build
from conan_assets.defs.storage import Storage
from conan_assets.encoding.models import fingerprint_model, locate_model
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.files import ArtifactError
from conan_assets.settings import Settings

KEY = round_key(0, "checkpoint")

START_VERSION = 1
"""Raise it when the same model and release give another start of the rounds."""


def build_base_checkpoint(settings: Settings) -> list[dg.AssetsDefinition]:
    """Return `round_0/checkpoint`."""
    if settings.pretraining is not None:
        return [build_pretrained(settings, settings.pretraining)]
    if settings.start_from == "released_model":
        return [_build_warm_start(settings)]

    @dg.asset(key=KEY, group_name="round_0", kinds={"pytorch"}, code_version=code_version(start=START_VERSION))
    @retried
    def base_checkpoint(context: dg.AssetExecutionContext, storage: Storage) -> dg.MaterializeResult[None]:
        """Take the base model as it is."""
        model = settings.base_model
        weights = fingerprint_model(model.model, model.revision)

        def build(directory: Path) -> Report:
            _copy_model(model, directory / MODEL)
            return {"base_model": model.model, "weights_fingerprint": weights}

        return reuse_or_build(context, storage, {"base_model": model, "weights": weights}, build)

    return [base_checkpoint]


def _build_warm_start(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        key=KEY,
        deps=["training_pairs"],
        group_name="round_0",
        kinds={"pytorch"},
        code_version=code_version(start=START_VERSION),
    )
    @retried
    def released_checkpoint(context: dg.AssetExecutionContext, storage: Storage) -> dg.MaterializeResult[None]:
        """Take the release that was there when the training pairs last changed; the base model if there was none."""
        pairs = storage.artifacts.current("training_pairs").content
        release = _release_before(storage, pairs)
        base = settings.base_model
        model = replace(base, model=str(storage.release_of(release)), revision=None) if release else base
        weights = None if release else fingerprint_model(base.model, base.revision)

        def build(directory: Path) -> Report:
            _copy_model(model, directory / MODEL)
            return {
                "started_from": f"release {release}" if release else base.model,
                "release": release,
                "training_pairs": pairs,
                "weights_fingerprint": fingerprint_model(str(directory / MODEL)),
            }

        recipe = {"base_model": base, "release": release, "weights": weights}
        return reuse_or_build(context, storage, recipe, build)

    return released_checkpoint


def _release_before(storage: Storage, pairs: str) -> str:
    """Return the fingerprint of the release to start from, or "" for the base model.

    While the training pairs stay the same so does the start, or every run would train on top of the run before.
    """
    try:
        start = storage.current(KEY)
    except ArtifactError:
        start = None
    if start is not None and start.report.get("training_pairs") == pairs:
        return str(start.report["release"])
    return storage.release.name if storage.release else ""


def _copy_model(model: EncoderSettings, folder: Path) -> None:
    """Copy a model as a sentence-transformers folder."""
    source = locate_model(model.model, model.revision)
    if (source / "modules.json").exists():
        shutil.copytree(source, folder, dirs_exist_ok=True)
    else:
        from conan_assets.encoding.loading import load_model

        load_model(replace(model, max_tokens=None)).save(str(folder))
