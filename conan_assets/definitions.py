"""The one door to the graph: `dagster -m conan_assets.definitions` finds `defs` here."""

from collections.abc import Mapping

import dagster as dg

import conan_assets.environment  # noqa: F401  # before torch is loaded
from conan_assets.artifacts import fingerprint
from conan_assets.defs.automation import automate, build_schedule, build_source_sensor, failed_runs, train_job
from conan_assets.defs.catalogue import describe
from conan_assets.defs.checkpoint_checks import build_checkpoint_checks
from conan_assets.defs.console import be_brief
from conan_assets.defs.corpus import build_corpus_assets
from conan_assets.defs.curation import build_curation_assets
from conan_assets.defs.dead_runs import dead_runs
from conan_assets.defs.exports import build_export_assets
from conan_assets.defs.io_managers import TableReader
from conan_assets.defs.launchers import build_launcher
from conan_assets.defs.release import build_release_assets
from conan_assets.defs.report_checks import build_report_checks
from conan_assets.defs.reports import build_report_assets
from conan_assets.defs.rounds import build_round
from conan_assets.defs.serving import build_serving_assets
from conan_assets.defs.start import build_base_checkpoint
from conan_assets.defs.storage import Storage
from conan_assets.defs.synthesis import build_synthesis_assets
from conan_assets.defs.table_checks import build_table_checks
from conan_assets.defs.teachers import build_teacher_assets
from conan_assets.settings import Settings, load_settings


def build_defs(settings: Settings, resource_overrides: Mapping[str, object] | None = None) -> dg.Definitions:
    """Return the asset graph of a training programme.

    Parameters
    ----------
    settings
        The programme; its number of rounds, teachers and suites decide which assets there are.
    resource_overrides
        Resources by name that replace the default ones, as tests and other environments need.
    """
    storage = Storage(
        home=str(settings.home),
        programme=settings.name,
        sources=fingerprint({name: source.model_dump(mode="json") for name, source in settings.sources.items()}),
        keep_versions=settings.keep_versions,
        stages_on_gpu=settings.launch.stages_on_gpu,
        compute=settings.compute.model_dump(exclude_none=True),
    )
    assets = [
        *build_corpus_assets(settings),
        *build_synthesis_assets(settings),
        *build_curation_assets(settings),
        *build_teacher_assets(settings),
        *build_base_checkpoint(settings),
        *(asset for number in range(1, settings.rounds + 1) for asset in build_round(settings, number)),
        *build_report_assets(settings),
        *build_table_checks(settings),
        *build_checkpoint_checks(settings),
        *build_report_checks(settings),
    ]
    checks = [asset for asset in assets if isinstance(asset, dg.AssetChecksDefinition)]
    rounds = [asset for asset in assets if not isinstance(asset, dg.AssetChecksDefinition)]
    outcome = [*build_release_assets(settings, checks), *build_export_assets(settings), *build_serving_assets(settings)]
    return dg.Definitions(
        assets=describe(automate([*rounds, *outcome], settings), settings.catalogue),
        asset_checks=checks,
        jobs=[train_job],
        schedules=[build_schedule(settings)],
        sensors=[build_source_sensor(settings), failed_runs, dead_runs],
        resources={
            "storage": storage,
            "io_manager": TableReader(storage=storage),
            "launcher": build_launcher(settings.launch),
            **(resource_overrides or {}),
        },
    )


be_brief()
defs = build_defs(load_settings())
