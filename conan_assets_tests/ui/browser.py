"""The UI in a real browser: `make ui` on a free port, opened with Debian's Chromium."""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from playwright.sync_api import Browser, Locator, sync_playwright

from conan_assets_tests.processes import answers, free_port, make, started, wait_until

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MILLISECONDS_TO_WAIT = 30_000


@contextlib.contextmanager
def served(log: Path, environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Start `make ui` with a programme's environment; yield its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with started(make("ui", UI_PORT=port), log, env=dict(environment)) as process:
        wait_until(lambda: answers(f"{address}/server_info"), process, log)
        yield address


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser with a fresh profile."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


class Ui:
    """What a user does in a window on the UI at ``address``, and the errors that its console shows meanwhile."""

    def __init__(self, browser: Browser, address: str, width: int = 1400, height: int = 1000, scale: float = 1):
        size = {"width": width, "height": height}
        self.page = page = browser.new_page(base_url=address, viewport=size, device_scale_factor=scale)
        page.set_default_timeout(MILLISECONDS_TO_WAIT)
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(f"{page.url}: {error}"))
        page.on(
            "console", lambda message: message.type == "error" and self.errors.append(f"{page.url}: {message.text}")
        )
        page.on("response", lambda answer: answer.status >= 400 and self.errors.append(f"{answer.status} {answer.url}"))

    def open_lineage(self) -> Locator:
        """Open the global lineage with every group expanded; return the nodes of the assets that are up to date."""
        self.page.goto("/asset-groups")
        self.page.locator("foreignObject").first.wait_for()
        self.page.keyboard.press("Alt+e")
        self.page.wait_for_url(re.compile("expanded="))
        self.page.reload()  # fits the expanded graph into the window
        return self.page.locator("foreignObject [style*='accent-green']")

    def open_group(self, group: str) -> Locator:
        """Open the lineage of one group; return what its nodes say of the assets that are materialized."""
        self.page.goto(f"/locations/conan_assets.definitions/asset-groups/{group}")
        return self.page.locator("foreignObject").get_by_text("Materialized", exact=True)

    def open_asset(self, key: str) -> Locator:
        """Open the overview of an asset; return the rows of metadata of its latest materialization."""
        self.page.goto(f"/assets/{key}")
        self.page.get_by_text("fingerprint", exact=True).first.wait_for()
        return self.page.get_by_role("row")

    def open_markdown(self, name: str) -> Locator:
        """Open what the metadata of the asset's page has under ``name``, a page or a picture, in a dialog."""
        row = self.page.get_by_role("row").filter(has=self.page.get_by_text(name, exact=True))
        row.get_by_text("[Show Markdown]").click()
        return self.page.get_by_role("dialog")

    def materialize(self, key: str) -> Locator:
        """Launch a run of one asset and open the run; return the status that its page shows."""
        self.open_asset(key)
        self.page.get_by_role("button", name="Materialize").first.click()
        self.page.get_by_role("link", name="View", exact=True).click()
        return self.page.get_by_text(re.compile("^(Success|Failure|Canceled)$"))

    def open_checks(self, key: str, name: str) -> Locator:
        """Open the checks of an asset; return the status of the check ``name``."""
        self.page.goto(f"/assets/{key}?view=checks")
        return self.page.locator(f"[title='{name}'] + span").first
