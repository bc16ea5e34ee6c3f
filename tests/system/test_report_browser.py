"""The published page in a real browser: it works from a file, asks the network for nothing, and reads at any width."""

import io
from pathlib import Path

import numpy as np
import pytest
import report_samples
from chromium import LOW_CONTRAST, needs_browser
from PIL import Image

from humwatch.flows.presets import load
from humwatch.tasks.reports.evaluation.page import render

DASH = "\N{EN DASH}"
WIDTHS_PX = (390, 1440)
SCHEMES = ("light", "dark")

pytestmark = needs_browser


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("report") / "index.html"
    path.write_text(render(report_samples.degraded(report_samples.sample_report())), "utf-8")
    return path


def test_nothing_leaves_the_page_and_nothing_complains(browser, page):
    browser.open(page)
    browser.run("Promise.all([...document.images].map(i => { i.loading = 'eager'; return i.decode(); })).then(() => 0)")
    assert page.as_uri() in browser.requests()
    assert [url[:60] for url in browser.requests() if url != page.as_uri() and not url.startswith("data:")] == []
    assert browser.complaints() == []


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


@pytest.mark.parametrize("width_px", WIDTHS_PX)
def test_the_long_name_of_a_fused_representation_is_wrapped(browser, tmp_path, width_px):
    path = tmp_path / "index.html"
    (backbone,), (detector,) = load().features.backbones, load().fit.detectors
    path.write_text(render(report_samples.sample_report(2, models=((backbone, detector), ("alexnet", "gmm")))), "utf-8")
    browser.open(path, width_px)
    assert backbone in browser.run("document.querySelector('#fleet-table').textContent")
    assert browser.run("document.documentElement.scrollWidth") <= width_px
    widths = browser.run("[...document.querySelectorAll('#fleet-table .wrap')].map(cell => cell.offsetWidth)")
    assert widths
    assert max(widths) < 400


@pytest.mark.parametrize("models", [(("squeezenet1_1", "knn"),), (("squeezenet1_1", "knn"), ("alexnet", "gmm"))])
def test_machines_name_their_model_where_there_are_several(browser, tmp_path, models):
    path = tmp_path / "index.html"
    path.write_text(render(report_samples.sample_report(2, models=models)), "utf-8")
    browser.open(path)
    columns = browser.run(
        "[...document.querySelectorAll('#fleet-table thead th')].map(cell => cell.innerText.split(/\\s/)[0])"
    )
    assert ("Model" in columns) == (len(models) > 1)
    assert browser.run(
        "[...new Set([...document.querySelectorAll('#fleet-table tr')].map(row => row.cells.length))]"
    ) == [len(columns)]
    assert "0.00" <= browser.column("fleet-table", columns.index("AUC"))[0] <= "1.00"


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
