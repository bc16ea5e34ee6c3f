"""The published page in a real browser: it works from a file, asks the network for nothing, and reads at any width."""

import base64
import contextlib
import io
import json
import runpy
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from websockets.sync.client import ClientConnection, connect

from tasks.reports.page import render

SAMPLES = runpy.run_path(str(Path(__file__).parents[1] / "tasks" / "reports" / "report_samples.py"))
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)
TIMEOUT_S = 60
DASH = "\N{EN DASH}"
WIDTHS_PX = (390, 1440)
SCHEMES = ("light", "dark")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on PATH")

# WCAG 2.2 contrast of every text against the nearest opaque background; large text may have 3:1.
LOW_CONTRAST = """(() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = color.slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const color = rgb(getComputedStyle(e).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const e of document.querySelectorAll("body *")) {
    const says = [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim());
    if (!says || !e.checkVisibility() || e.closest("script, title, desc")) continue;
    const style = getComputedStyle(e);
    const [a, b] = [light(rgb(e.closest("svg") ? style.fill : style.color)), light(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const enough = parseFloat(style.fontSize) >= 24 ? 3 : 4.5;
    if (ratio < enough) low.push(`${e.tagName} ${e.textContent.slice(0, 40)} ${ratio.toFixed(2)}`);
  }
  return low;
})()"""


class Browser:
    """One tab of a headless Chromium, spoken to through the DevTools protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.events: list[dict] = []
        self.session: str | None = None
        self.calls = 0
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters):
        self.calls += 1
        message = {"id": self.calls, "method": method, "params": parameters}
        self.socket.send(json.dumps(message | ({"sessionId": self.session} if self.session else {})))
        while True:
            answer = json.loads(self.socket.recv(timeout=TIMEOUT_S))
            if answer.get("id") == self.calls:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def run(self, script: str):
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def open(self, page: Path, width_px: int = 1440, scheme: str = "light") -> None:
        self.events.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width_px, height=900, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=page.as_uri())
        loaded = "new Promise(r => document.readyState === 'complete' ? r() : addEventListener('load', () => r()))"
        deadline = time.monotonic() + TIMEOUT_S
        while self.run(f"{loaded}.then(() => location.href)") != page.as_uri():
            assert time.monotonic() < deadline

    def screenshot(self) -> bytes:
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def column(self, table: str, number: int) -> list[str]:
        rows = f"[...document.querySelectorAll('#{table} tbody:not([hidden]) > tr:not(.sub):not([hidden])')]"
        return self.run(f"{rows}.map(row => row.cells[{number}].textContent.trim())")

    def press(self, table: str, number: int) -> str:
        header = f"document.querySelector('#{table}').tHead.rows[0].cells[{number}]"
        return self.run(f"{header}.querySelector('button').click(), {header}.getAttribute('aria-sort')")


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    profile = tmp_path_factory.mktemp("profile")
    process = subprocess.Popen(
        [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port_file = profile / "DevToolsActivePort"
        deadline = time.monotonic() + TIMEOUT_S
        while not (port_file.exists() and len(port_file.read_text().split()) == 2):
            assert process.poll() is None, "the browser ended before it listened"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        port, path = port_file.read_text().split()
        with connect(f"ws://127.0.0.1:{port}{path}", max_size=None, proxy=None) as socket:
            yield Browser(socket)
            with contextlib.suppress(OSError, EOFError):
                socket.send(json.dumps({"id": 0, "method": "Browser.close"}))
        process.wait(TIMEOUT_S)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("report") / "index.html"
    path.write_text(render(SAMPLES["degraded"](SAMPLES["sample_report"]())), "utf-8")
    return path


def test_nothing_leaves_the_page_and_nothing_complains(browser, page):
    browser.open(page)
    browser.run("Promise.all([...document.images].map(i => { i.loading = 'eager'; return i.decode(); })).then(() => 0)")
    requests = [
        event["params"]["request"]["url"] for event in browser.events if event["method"] == "Network.requestWillBeSent"
    ]
    assert page.as_uri() in requests
    assert [url[:60] for url in requests if url != page.as_uri() and not url.startswith("data:")] == []
    complaints = (
        "Runtime.consoleAPICalled",
        "Runtime.exceptionThrown",
        "Log.entryAdded",
        "Page.javascriptDialogOpening",
    )
    assert [event for event in browser.events if event["method"] in complaints] == []


def test_a_script_that_slips_in_does_not_run(browser, page):
    browser.open(page)
    browser.run(
        "const s = document.createElement('script'); s.textContent = 'window.hacked = 1'; document.body.append(s)"
    )
    assert browser.run("typeof window.hacked") == "undefined"
    assert browser.run("fetch('data:,x').then(() => 'loaded', () => 'blocked')") == "blocked"


def test_machines_sort_with_their_domain_rows_and_undefined_last(browser, page):
    browser.open(page)
    before = [float(value) for value in browser.column("fleet-table", 7) if value != DASH]
    assert browser.press("fleet-table", 7) == "ascending"
    ascending = browser.column("fleet-table", 7)
    assert [float(value) for value in ascending[:-2]] == sorted(before)
    assert ascending[-2:] == [DASH, DASH]
    assert browser.press("fleet-table", 7) == "descending"
    descending = browser.column("fleet-table", 7)
    assert [float(value) for value in descending[:-2]] == sorted(before, reverse=True)
    assert descending[-2:] == [DASH, DASH]
    groups = browser.run(
        "[...document.querySelectorAll('#fleet-table tbody')].map(b => [...b.rows].map(r => r.className).join())"
    )
    assert set(groups) == {",sub,sub"}
    assert browser.press("fleet-table", 0) == "ascending"
    assert browser.run("document.querySelectorAll('#fleet-table [aria-sort]').length") == 1
    names = browser.column("fleet-table", 0)
    assert names == sorted(names, key=str.lower)


def test_tables_filter_by_text_and_type(browser, page):
    browser.open(page)
    assert browser.run("document.querySelector('form[data-for=fleet-table] output').textContent") == "12 of 12 rows"
    change = """(selector, value) => {
      const e = document.querySelector(`form[data-for=fleet-table] ${selector}`);
      e.value = value;
      e.dispatchEvent(new Event('input', {bubbles: true}));
      return document.querySelector('form[data-for=fleet-table] output').textContent;
    }"""
    assert browser.run(f"({change})('[data-match=type]', 'pump')") == "4 of 12 rows"
    assert {name.split()[0] for name in browser.column("fleet-table", 0)} == {"pump"}
    assert browser.run(f"({change})('[data-match=model]', 'squeezenet1_1 · knn')") == "2 of 12 rows"
    assert browser.run(f"({change})('input', 'ID_04 plant-b')") == "1 of 12 rows"
    assert browser.run(f"({change})('input', 'no such words')") == "0 of 12 rows"
    assert browser.column("fleet-table", 0) == []


def test_clips_can_be_played(browser, page):
    browser.open(page)
    durations = browser.run(
        "Promise.all([...document.querySelectorAll('audio')].map(a => new Promise((done, fail) => {"
        "a.onloadedmetadata = () => done(a.duration); a.onerror = () => fail(a.error); a.load(); })))"
    )
    assert durations == pytest.approx([3.0] * 4, abs=0.15)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width_px", WIDTHS_PX)
def test_the_page_fits_and_reads_at_any_width_in_both_schemes(browser, page, width_px, scheme):
    browser.open(page, width_px, scheme)
    assert browser.run("document.documentElement.scrollWidth") <= width_px
    assert browser.run(LOW_CONTRAST) == []
    image = Image.open(io.BytesIO(browser.screenshot()))
    pixels = np.asarray(image.convert("L"))
    assert image.width == width_px
    assert pixels[5, 5] > 200 if scheme == "light" else pixels[5, 5] < 50
    assert np.ptp(pixels) > 150


def test_everything_has_a_name_for_those_who_do_not_see_it(browser, page):
    browser.open(page)
    assert browser.run("document.documentElement.lang") == "en"
    assert browser.run("[...document.images].filter(i => !i.alt).length") == 0
    assert browser.run("[...document.querySelectorAll('thead th')].filter(h => h.scope !== 'col').length") == 0
    assert browser.run("[...document.querySelectorAll('tbody th')].filter(h => h.scope !== 'row').length") == 0
    assert browser.run("[...document.querySelectorAll('input, select')].filter(e => !e.labels.length).length") == 0
    assert browser.run("[...document.querySelectorAll('audio, [role=region]')].filter(e => !e.ariaLabel).length") == 0
    charts = "[...document.querySelectorAll('svg.chart')]"
    assert browser.run(f"{charts}.length") > 0
    described = "s.getAttribute('aria-labelledby').split(' ').every(id => document.getElementById(id).textContent)"
    assert browser.run(f"{charts}.filter(s => !({described})).length") == 0
    ids = browser.run("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
