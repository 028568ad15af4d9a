"""What a user sees and does in the UI, in a real browser whose console stays free of errors."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from playwright.sync_api import Browser, expect

from conan_assets.definitions import build_defs
from conan_assets.settings import load_settings
from conan_assets_tests.ui.browser import CHROMIUM, MILLISECONDS_TO_WAIT, Ui
from conan_assets_tests.ui.screenshots import take_screenshots

WIDTHS = "image => image.decode().then(() => [image.naturalWidth, image.closest('[role=dialog]').clientWidth])"
MILLISECONDS_TO_RUN = 300_000
expect.set_options(timeout=MILLISECONDS_TO_WAIT)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian's package chromium)"),
]


@pytest.fixture(scope="module")
def definitions(finished: dict[str, str]) -> dg.Definitions:
    return build_defs(load_settings(finished["PROFILE"], finished))


@pytest.fixture(scope="module")
def instance(finished: dict[str, str]) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(finished["DAGSTER_HOME"]) as instance:
        yield instance


def latest_metadata(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, object]:
    """What the metadata of an asset's latest materialization says, without what Dagster shows in its own places."""
    metadata = instance.get_latest_materialization_event(key).asset_materialization.metadata
    return {name: value.value for name, value in metadata.items() if not name.startswith("dagster/")}


def test_the_lineage_shows_every_asset_of_the_finished_graph_in_green(ui: Ui, definitions: dg.Definitions):
    assets = definitions.resolve_asset_graph().get_all_asset_keys()
    expect(ui.open_lineage()).to_have_count(len(assets))


def test_a_rounds_group_shows_its_assets_as_materialized(ui: Ui):
    expect(ui.open_group("round_1")).to_have_count(3)
    for name in ("hard_negatives", "checkpoint", "beir_report"):
        expect(ui.page.locator(f"[data-tooltip='{name}']").first).to_be_visible()


def test_every_asset_shows_its_metadata_and_every_picture_of_it(
    ui: Ui, definitions: dg.Definitions, instance: dg.DagsterInstance
):
    shown = set()
    for key in definitions.resolve_asset_graph().get_all_asset_keys():
        rows = ui.open_asset(key.to_user_string())
        for name, value in latest_metadata(instance, key).items():
            expect(rows.filter(has=ui.page.get_by_text(name, exact=True)).first).to_be_visible()
            if str(value).startswith("!["):
                picture = ui.open_markdown(name).locator("img")
                expect(picture).to_be_visible()
                width, room = picture.evaluate(WIDTHS)
                assert 200 < width < room, f"{name} of {key} is {width} pixels wide in a dialog of {room}"
                ui.page.get_by_role("button", name="Close").click()
                expect(picture).to_have_count(0)
                shown.add(name)
    assert {"histogram", "plot"} <= shown


def test_one_asset_is_materialized_and_its_figures_are_plotted(ui: Ui, instance: dg.DagsterInstance):
    expect(ui.materialize("leaderboard")).to_have_text("Success", timeout=MILLISECONDS_TO_RUN)
    run_id = instance.get_latest_materialization_event(dg.AssetKey("leaderboard")).run_id
    assert ui.page.url.endswith(f"/runs/{run_id}")
    ui.open_asset("leaderboard")
    ui.page.get_by_text("Plots", exact=True).click()
    expect(ui.page.locator("canvas").first).to_be_visible()


def test_every_check_of_mined_negatives_is_shown_as_passed(ui: Ui, definitions: dg.Definitions):
    key = dg.AssetKey(["round_1", "hard_negatives"])
    checks = definitions.resolve_asset_graph().get_check_keys_for_assets({key})
    assert len(checks) >= 4
    for check in checks:
        expect(ui.open_checks(key.to_user_string(), check.name)).to_have_text("Succeeded")


def test_the_readmes_pictures_are_taken_and_small(browser: Browser, address: str, tmp_path: Path):
    take_screenshots(browser, address, tmp_path)
    sizes = {path.stem: path.stat().st_size for path in tmp_path.glob("*.png")}
    assert set(sizes) == {"graph", "negatives", "histogram", "leaderboard"}
    assert all(10_000 < size < 300_000 for size in sizes.values()), sizes
