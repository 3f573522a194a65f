"""The report as a reader meets it: loaded in headless Chromium, light and dark, on a desk and on a phone.

`AELIF_SCREENSHOTS` names a folder that keeps the screenshots for a person to look at.
"""

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.report.example import SWEEP, Example, make_example

from aelif.report.overview import write_overview
from aelif.report.page import write_page

websocket = pytest.importorskip("websocket", reason="websocket-client speaks to the browser: pip install aelif[dev]")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium, chromium-browser, google-chrome or chrome on PATH"
)

PHONE, DESK = (360, 740), (1100, 900)
PATIENCE_S = 30.0


class Browser:
    """One tab of a headless Chromium, spoken to by the DevTools protocol."""

    def __init__(self, port: int) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=PATIENCE_S) as reply:
            (address,) = [tab["webSocketDebuggerUrl"] for tab in json.load(reply) if tab["type"] == "page"]
        self._socket = websocket.create_connection(address, timeout=PATIENCE_S, suppress_origin=True)
        self._numbers = itertools.count(1)
        self._events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (message := json.loads(self._socket.recv())).get("id") != number:
            self._events.append(message)
        assert "error" not in message, message
        result: dict[str, Any] = message["result"]
        return result

    def open(self, page: Path, size: tuple[int, int], scheme: str) -> list[str]:
        """Load a page and return what the browser complains of: errors, warnings, uncaught exceptions."""
        width, height = size
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=size == PHONE)  # fmt: skip
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.send("Page.navigate", url="about:blank")
        self._events.clear()
        self.send("Page.navigate", url=page.as_uri())
        deadline = time.monotonic() + PATIENCE_S
        while self.evaluate("document.readyState + ' ' + location.href") != f"complete {page.as_uri()}":
            assert time.monotonic() < deadline, "the page does not load"
            time.sleep(0.02)
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
        return [json.dumps(event) for event in self._events if _is_complaint(event)]

    def evaluate(self, expression: str) -> Any:
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def press_tab(self) -> None:
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)

    def screenshot(self, path: Path, *, whole: bool) -> None:
        reply = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(reply["data"]))

    def close(self) -> None:
        self._socket.close()


def _is_complaint(event: dict[str, Any]) -> bool:
    if event.get("method") == "Log.entryAdded":
        return event["params"]["entry"]["level"] in ("warning", "error")
    return event.get("method") in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    profile = tmp_path_factory.mktemp("profile")
    assert CHROMIUM is not None
    options = ["--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync",
               "--disable-component-update", "--hide-scrollbars", "--remote-debugging-port=0"]  # fmt: skip
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # as root, in a container, Chromium refuses to start with it
    with (profile / "log").open("wb") as log:
        process = subprocess.Popen([CHROMIUM, *options, f"--user-data-dir={profile}", "about:blank"],
                                   stdout=log, stderr=log)  # fmt: skip
    try:
        port_file, deadline = profile / "DevToolsActivePort", time.monotonic() + PATIENCE_S
        while not (port_file.exists() and port_file.read_text().strip()):
            assert process.poll() is None, (profile / "log").read_text()
            assert time.monotonic() < deadline, "Chromium does not start"
            time.sleep(0.05)
        tab = Browser(int(port_file.read_text().split()[0]))
        yield tab
        tab.close()
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_S)


def write(example: Example) -> Path:
    root = example.folder
    write_page(root / "report.html", summary=root / "summary.json", verdict=root / "verdict.json",
               table=root / "scores.parquet", prompts=root / "prompts.parquet", photos=root / "photos",
               images=example.image_folders, worst=root / "worst.parquet", worst_images=example.worst_folders,
               champion_images=example.champion_folder, trials=example.trials, settings=example.settings)  # fmt: skip
    return root / "report.html"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    pages = {"report": write(make_example(folder / "report")),
             "sweep": write(make_example(folder / "sweep", variants=SWEEP, seeds=(0,)))}  # fmt: skip
    write_overview(folder / "overview.html", {"miniature-sdxl": folder / "report", "miniature-sd3": folder / "report"})
    pages["champion"] = write(make_example(folder / "champion", champion=(0.86, 0.8)))
    return pages | {"overview": folder / "overview.html"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("name", ["report", "sweep", "champion", "overview"])
def test_the_page_loads_without_complaint_and_fits(
    browser: Browser, pages: dict[str, Path], tmp_path: Path, name: str, size: tuple[int, int], scheme: str
) -> None:
    assert browser.open(pages[name], size, scheme) == []
    browser.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    kept = os.environ.get("AELIF_SCREENSHOTS")
    browser.screenshot(Path(kept or tmp_path) / f"{name}-{size[0]}-{scheme}.png", whole=bool(kept))
    assert browser.evaluate("document.documentElement.scrollWidth") <= size[0], "the page is wider than the screen"
    outside = f"""[...document.querySelectorAll('body *')].filter(one =>
        !one.closest('.scroll, .skip, math, .hidden') && one.getClientRects().length
        && one.getBoundingClientRect().right > {size[0]} + 0.5).map(one => one.outerHTML)"""
    assert browser.evaluate(outside) == []
    light = browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert light == (scheme == "light")


@pytest.mark.parametrize("name", ["report", "sweep", "champion", "overview"])
def test_figures_have_text_alternatives_and_drawings_fit_their_size(
    browser: Browser, pages: dict[str, Path], name: str
) -> None:
    browser.open(pages[name], DESK, "light")
    silent = """[...document.querySelectorAll('svg, [role=img]')].filter(one =>
        one.getAttribute('aria-hidden') !== 'true' && !one.getAttribute('aria-label')).length"""
    assert browser.evaluate(silent) == 0
    cut = """[...document.querySelectorAll('svg.plot')].filter(one => one.getClientRects().length).flatMap(one => {
        const frame = one.getBoundingClientRect();
        return [...one.querySelectorAll('text')].filter(text => { const box = text.getBoundingClientRect();
            return box.left < frame.left - 1 || box.right > frame.right + 1 }).map(text => text.textContent) })"""
    assert browser.evaluate(cut) == [], "texts reach out of their drawing"
    browser.open(pages[name], PHONE, "light")
    assert browser.evaluate(cut) == [], "texts reach out of their drawing on a phone"


@pytest.mark.parametrize("name", ["report", "overview"])
def test_keys_lead_through_the_page(browser: Browser, pages: dict[str, Path], name: str) -> None:
    browser.open(pages[name], DESK, "light")
    browser.press_tab()
    focused = "document.activeElement"
    assert browser.evaluate(f"{focused}.className") == "skip"
    assert browser.evaluate(f"{focused}.getBoundingClientRect().left") >= 0, "the skip link shows when it has focus"
    assert browser.evaluate(f"getComputedStyle({focused}).outlineStyle") == "solid"
    reached = set()
    for _ in range(12):
        browser.press_tab()
        reached.add(browser.evaluate(f"{focused}.className || {focused}.tagName"))
    assert {"A", "scroll"} <= reached
