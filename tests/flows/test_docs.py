"""The pages for people say what the code does: settings, columns, reasons, links."""

import re
from pathlib import Path
from urllib.parse import unquote

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from humwatch.flows.settings_page import page
from humwatch.flows.summary import RunSummary
from humwatch.storage import tables
from humwatch.storage.alarm_actions import ACTIONS
from humwatch.storage.lake import Lake
from humwatch.storage.reasons import EXPLANATIONS, Reason
from humwatch.storage.records import PublishedSummary
from humwatch.storage.reports import publish
from humwatch.tasks.evaluation import auc_table, calibration_table, comparisons_table, published, summary_table
from humwatch.tasks.ingest.wording import Doubt
from humwatch.tasks.notify.task import Delivery
from humwatch.tasks.plan.absent_night import NothingArrived
from humwatch.tasks.plan.actions import ACTION_COLUMNS
from humwatch.tasks.plan.next_step import NextStep
from humwatch.tasks.reports.assemble import REJECTED_COLUMNS, files_of

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted({ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "deployments" / "README.md", *DOCS.glob("*.md")})

ARROW_TYPES = {
    pa.string(): "text",
    pa.int64(): "integer",
    pa.float64(): "number",
    pa.bool_(): "boolean",
    pa.timestamp("us", tz="UTC"): "time",
    pa.list_(pa.float64()): "list of numbers",
}
PANDAS_TYPES = {"object": "text", "int64": "integer", "float64": "number"}
# What publishing adds to the summary of a run.
PUBLISHED_FIELDS = ["report_id", "kind", "machines", "title", "created_at"]

_CODE = re.compile(r"^```.*?^```|^(?: {4}|\t).*?$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(\s*<?([^)\s>]+)[^)]*\)|^\[[^\]]+\]:\s*(\S+)|(?:src|href)=\"([^\"]+)\"", re.MULTILINE)
_HEADING = re.compile(r"^#+\s+(.*?)\s*#*$", re.MULTILINE)


def section(text, heading):
    """Return what is below a heading, up to the next one of any level."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"there is no section {heading!r}"
    return found[1]


def rows(text):
    """Return the rows of the tables in a text whose first cell is code: {its words: the other cells}."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]
    named = [row for row in cells if re.fullmatch(r"`[^`]+`", row[0])]
    names = [row[0].strip("`") for row in named]
    assert len(set(names)) == len(names), "a name is explained twice"
    return {name: row[1:] for name, row in zip(names, named, strict=True)}


def anchors(text):
    """Return the anchors of a page's headings, as GitHub makes them."""
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(_CODE.sub(_keep_spans, text)))
    return {heading.replace(" ", "-") for heading in words}


def broken_links(path):
    """Return the relative links of a page that point nowhere, or out of the folder that holds the pages' roots."""
    broken = []
    for groups in _LINK.findall(_CODE.sub("", path.read_text())):
        link = next(filter(None, groups))
        if re.match(r"[a-z][a-z0-9+.-]*:|//", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / unquote(file)).resolve() if file else path
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target.read_text())):
            broken.append(link)
    return broken


def _keep_spans(code):
    """Blocks of code hold no headings; `code` inside a heading is part of it."""
    return code[0] if re.fullmatch(r"`[^`\n]*`", code[0]) else ""


def documented():
    return (DOCS / "tables.md").read_text()


def test_the_settings_page_is_the_one_the_settings_make():
    assert (DOCS / "settings.md").read_text() == page() + "\n", "run `make docs`"


@pytest.mark.parametrize(
    ("heading", "schema"),
    [
        ("recordings", tables.RECORDINGS),
        ("health", tables.HEALTH),
        ("scores", tables.SCORES),
        ("machine_nights", tables.MACHINE_NIGHTS),
        ("actions", ACTIONS),
    ],
)
def test_every_column_of_the_lake_is_explained_in_its_order_with_its_type(heading, schema):
    columns = rows(section(documented(), heading))
    assert list(columns) == schema.names
    assert {name: cells[0].split(",")[0] for name, cells in columns.items()} == {
        field.name: ARROW_TYPES[field.type] for field in schema
    }


def test_what_people_say_of_a_night_is_explained_in_its_order():
    assert tuple(rows(section(documented(), "machines.csv"))) == ACTION_COLUMNS


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("auc.csv", auc_table.COLUMNS),
        ("summary.csv", summary_table.COLUMNS),
        ("comparisons.csv", comparisons_table.COLUMNS),
        ("calibration.csv", calibration_table.COLUMNS),
        ("published.csv", published.COLUMNS),
    ],
)
def test_every_column_of_an_evaluation_is_explained_in_its_order_with_its_type(heading, expected):
    columns = rows(section(documented(), heading).partition("`reason` is one of these")[0])
    assert list(columns) == list(expected)
    assert {name: cells[0].split(",")[0] for name, cells in columns.items()} == {
        name: PANDAS_TYPES[kind] for name, kind in expected.items()
    }


def test_every_column_of_the_rejected_and_every_field_of_the_summary_is_explained():
    assert list(rows(section(documented(), "rejected.csv"))) == REJECTED_COLUMNS
    full = RunSummary(
        "run",
        "lake",
        reasons={"a": 1},
        night="2026-01-01",
        arrival={"a": 1},
        nothing_arrived=NothingArrived("a", None, "b", "c"),
        machines={"a": 1},
        not_normal=[{"a": 1}],
        why_no_alarm="a",
        silent=["a"],
        same_samples=["a"],
        late=["a"],
        nights=[{"a": 1}],
        told=[Delivery("a", "sent", "b")],
        retrained=[{"a": 1}],
        not_retrained=[{"a": 1}],
        rolled_back=["a"],
        not_rolled_back=[{"a": 1}],
        doubts=[Doubt("a", "b", "c")],
        next_step=NextStep("a", "b", "c"),
    )
    assert set(rows(section(documented(), "summary.json"))) == {*full.as_json(), *PUBLISHED_FIELDS}


def test_every_column_says_what_it_means_and_when_it_is_empty():
    evaluated = ("auc.csv", "summary.csv", "comparisons.csv", "calibration.csv", "published.csv")
    lakes = ("recordings", "health", "scores", "machine_nights", "machines.csv", "actions")
    for heading in (*lakes, *evaluated, "rejected.csv", "summary.json"):
        for name, cells in rows(section(documented(), heading).partition("`reason` is one of these")[0]).items():
            assert len(cells) == 3, f"{heading}: {name}"
            assert all(cells), f"{heading}: {name}"


def test_every_reason_is_listed_with_its_explanation():
    listed = rows(section(documented(), "Reasons"))
    assert {name: cells[-1] for name, cells in listed.items()} == {
        str(reason): EXPLANATIONS[reason] for reason in Reason
    }


def test_the_lines_of_duckdb_read_the_newest_report(tmp_path):
    lake = Lake.open(str(tmp_path / "lake"))
    for report, file in (("old", "old.wav"), ("new", "b.wav")):
        decided = pd.DataFrame({"file": [file, "a.wav"], "decision": ["abnormal", "normal"], "p_value": [0.01, 0.5]})
        auc = pd.DataFrame({"machine_id": ["id_00", "id_02"], "auc": [0.9, 0.7]})
        summary = PublishedSummary(report_id=report, created_at="2026-11-22T00:00:00+00:00")
        publish(lake, report, files_of({"scores": decided, "auc": auc}).items(), summary, lambda _: "")
    (snippet,) = re.findall(r"```sql\n(.*?)```", documented(), re.DOTALL)
    with duckdb.connect() as connection:
        _, alarms, auc = (
            connection.execute(line.replace("/data/lake", lake.uri)).df() for line in snippet.splitlines()
        )
    assert alarms["file"].tolist() == ["b.wav"]
    assert auc["machine_id"].tolist() == ["id_02", "id_00"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(path):
    assert broken_links(path) == []


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "there.md").write_text("# The `auc.csv` table, twice\n\n```sh\n# no heading\n```\n")
    here = tmp_path / "here.md"
    here.write_text(
        "# Here\n[a](there.md) [b](there.md#the-auccsv-table-twice) [c](#here) [d](https://example.org/x)\n![e](gone.png)\n"
        '[f](gone.md "title") [g](there.md#no-heading) [h](#gone) <img src="lost.png"> `[i](code.md)`\n'
        "\n    [j](block.md)\n\n```\n[k](fence.md)\n```\n\n[l]: nowhere.md\n"
    )
    assert broken_links(here) == ["gone.png", "gone.md", "there.md#no-heading", "#gone", "lost.png", "nowhere.md"]


def test_a_missing_column_or_reason_would_be_found():
    text = "## one\n\n| column | type |\n|---|---|\n| `a` | text |\n| `b` | number, s |\n\n## two\n\n| `c` | text |\n"
    assert rows(section(text, "one")) == {"a": ["text"], "b": ["number, s"]}
    with pytest.raises(AssertionError, match="no section"):
        section(text, "three")
    with pytest.raises(AssertionError, match="twice"):
        rows("| `a` | x |\n| `a` | y |")
