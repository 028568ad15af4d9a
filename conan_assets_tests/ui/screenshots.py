"""Take the README's pictures of a finished graph: ``python -m conan_assets_tests.ui.screenshots FOLDER``.

The programme is the one of ``$CONAN_PROFILE``, ``$CONAN_HOME`` and ``$DAGSTER_HOME``, as `make screenshots` sets them.
"""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser

from conan_assets_tests.ui.browser import CHROMIUM, Ui, chromium, served

NEGATIVES = "round_1/hard_negatives"
MILLISECONDS_TO_SETTLE = 1000
MARGIN = 8
AUDIT_WIDTH = 840


def take_lineage(ui: Ui, path: Path) -> None:
    """The finished graph with every group expanded."""
    ui.open_lineage().first.wait_for()
    ui.page.wait_for_timeout(MILLISECONDS_TO_SETTLE)
    boxes = [node.bounding_box() for node in ui.page.locator("foreignObject").all()]
    left, top = (min(box[side] for box in boxes) - MARGIN for side in ("x", "y"))
    right = max(box["x"] + box["width"] for box in boxes) + MARGIN
    bottom = max(box["y"] + box["height"] for box in boxes) + MARGIN
    graph = {"x": left, "y": top, "width": right - left, "height": bottom - top}
    ui.page.screenshot(path=path, clip=graph, style="[class*=zoomSliderContainer] {visibility: hidden}")


def take_audit(ui: Ui, path: Path) -> None:
    """The figures in the metadata of mined negatives."""
    table = ui.open_asset(NEGATIVES).filter(has_text="removed_by").locator("xpath=ancestor::table").first
    ui.page.wait_for_timeout(MILLISECONDS_TO_SETTLE)
    first = table.get_by_role("row").filter(has=ui.page.get_by_text("rows", exact=True)).bounding_box()
    whole = table.bounding_box()
    bottom = whole["y"] + whole["height"]
    figures = {"x": first["x"], "y": first["y"], "width": AUDIT_WIDTH, "height": bottom - first["y"]}
    ui.page.screenshot(path=path, clip=figures)


def take_markdown(ui: Ui, key: str, name: str, path: Path) -> None:
    """A page or a picture of an asset's metadata."""
    ui.open_asset(key)
    dialog = ui.open_markdown(name)
    ui.page.wait_for_timeout(MILLISECONDS_TO_SETTLE)
    dialog.screenshot(path=path)


def take_screenshots(browser: Browser, address: str, folder: Path) -> None:
    """Write the graph, the audit of mined negatives with its histogram, and the leaderboard into ``folder``."""
    take_lineage(Ui(browser, address, scale=1.5), folder / "graph.png")
    ui = Ui(browser, address, width=1700, height=2400)
    take_audit(ui, folder / "negatives.png")
    take_markdown(ui, NEGATIVES, "histogram", folder / "histogram.png")
    take_markdown(ui, "leaderboard", "leaderboard", folder / "leaderboard.png")


def main() -> None:
    """Start the UI on the finished programme and take its pictures."""
    if CHROMIUM is None:
        sys.exit("Chromium is not installed: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder, served(Path(folder) / "ui.log") as address, chromium() as browser:
        take_screenshots(browser, address, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
