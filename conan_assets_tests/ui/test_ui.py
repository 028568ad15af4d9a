"""What a user sees and does in the UI, in a real browser whose console stays free of errors."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from playwright.sync_api import Browser, expect

from conan_assets.artifacts import ArtifactStore
from conan_assets.definitions import build_defs
from conan_assets.defs.metadata import markdown_table
from conan_assets.settings import load_settings
from conan_assets_tests.processes import BIN, answers, free_port, started, wait_until
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


def test_the_ui_starts_without_a_warning_and_says_where_to_look(address: str, log: Path):
    printed = log.read_text()
    assert "warn" not in printed.lower(), printed
    assert f"{address}/asset-groups" in printed
    assert f"{address}/assets/leaderboard" in printed


def test_the_lineage_shows_every_asset_of_the_finished_graph_in_green(ui: Ui, definitions: dg.Definitions):
    assets = definitions.resolve_asset_graph().get_all_asset_keys()
    expect(ui.open_lineage()).to_have_count(len(assets))


def test_three_clicks_lead_from_the_first_screen_to_what_the_release_gained(ui: Ui, instance: dg.DagsterInstance):
    figures = latest_metadata(instance, dg.AssetKey("released_model"))
    assert figures["best_round"] != "round_0"
    ui.page.goto("/")
    ui.page.get_by_role("link", name=re.compile("Lineage$")).click()
    for name in ("outcome", "released_model"):
        ui.page.locator("foreignObject").get_by_text(name, exact=True).click()
    for name in ("best_round", "dev_gain_over_base_model", "test_gain_over_base_model"):
        row = ui.page.get_by_role("row").filter(has=ui.page.get_by_text(name, exact=True)).first
        expect(row).to_have_text(f"{name}{figures[name]}")


def test_a_mined_negative_is_read_on_the_page_of_its_round(ui: Ui, finished: dict[str, str]):
    key, home = "round_1/hard_negatives", Path(finished["CONAN_HOME"])
    artifacts = ArtifactStore(home / "assets")
    example = artifacts.current(key).report["examples"][0]
    corpus = pl.read_parquet(artifacts.current("raw_corpus").path / "table.parquet")
    negative = corpus.row(by_predicate=pl.col("doc_id") == example["doc_id"], named=True)
    ui.open_asset(key)
    page = ui.open_markdown("examples")
    expect(page.get_by_role("heading", name=f"1. {example['why']}")).to_be_visible()
    expect(page.get_by_role("cell", name=f"{negative['title']} {negative['text']}").first).to_be_visible()


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


HOSTILE = [
    "![x](http://127.0.0.1:{port}/p.png)",
    "<img src=http://127.0.0.1:{port}/q.png>",
    "[c](javascript:alert(1))",
    "&#91;d](javascript:alert(2))",
    "`e` **f** _g_ h_i ~~j~~",
    "x\\|y | z\\",
    '![k][1]\n\n[1]: http://127.0.0.1:{port}/r.png "l"',
]


def test_a_corpus_cannot_make_the_browser_fetch_or_run_anything_and_is_shown_as_it_is(browser: Browser, tmp_path: Path):
    """The page has Dagster's own renderer: metadata of an asset in a programme of its own."""
    port = free_port()
    texts = [text.format(port=port) for text in HOSTILE]
    with dg.DagsterInstance.from_config(write_instance(tmp_path)) as instance:
        table = markdown_table([{"text": text} for text in texts])
        instance.report_runless_asset_event(
            dg.AssetMaterialization("hostile", metadata={"fingerprint": "f", "rows": dg.MetadataValue.md(table)})
        )
    (tmp_path / "hostile.py").write_text(
        "import dagster as dg\n\ndefs = dg.Definitions(assets=[dg.AssetSpec('hostile')])\n"
    )
    command = [str(BIN / "dagster-webserver"), "-f", "hostile.py", "-h", "127.0.0.1", "-p", str(free := free_port())]
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path)}
    with started(command, tmp_path / "log", cwd=tmp_path, env=environment) as process:
        address = f"http://127.0.0.1:{free}"
        wait_until(lambda: answers(f"{address}/server_info"), process, tmp_path / "log")
        ui = Ui(browser, address)
        asked: list[str] = []
        ui.page.on("request", lambda request: asked.append(request.url))
        ui.open_asset("hostile")
        for text in texts:
            expect(ui.page.get_by_role("cell", name=" ".join(text.split()), exact=True)).to_be_visible()
        rows = ui.page.get_by_role("row").filter(has=ui.page.get_by_text("rows", exact=True))
        assert rows.locator("img").count() == 0
        assert not [link for link in rows.locator("a").all() if "javascript" in (link.get_attribute("href") or "")]
        assert not [url for url in asked if str(port) in url]
        ui.page.close()


def write_instance(folder: Path) -> str:
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\nnux: {enabled: false}\n")
    return str(folder)
