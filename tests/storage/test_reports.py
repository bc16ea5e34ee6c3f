"""Reports: nothing leads to one before it is whole, wherever its writer dies."""

import json

import pytest

from humwatch.storage.lake import Lake
from humwatch.storage.records import Latest, PublishedSummary
from humwatch.storage.reports import is_published, publish, read_latest, read_summary, set_latest

FILES = {"index.html": b"<p>page</p>", "auc.csv": b"auc\n1\n", "auc.parquet": b"PAR1"}


class PowerCut(BaseException):
    """The end of a writer; no `except Exception` survives it, as none survives SIGKILL."""


class DyingLake(Lake):
    """A lake whose writer dies when it is about to write its object number `lives` + 1."""

    lives = 0

    def write(self, path: str, data: bytes) -> None:
        if self.lives == 0:
            raise PowerCut
        self.lives -= 1
        super().write(path, data)


@pytest.fixture
def lake(tmp_path):
    return Lake.open(str(tmp_path / "lake"))


def summary(report_id, day=21, **more):
    return PublishedSummary(report_id=report_id, created_at=f"2026-11-{day}T00:00:00+00:00", **more)


def index(summaries):
    return " ".join(one.report_id for one in summaries)


def test_a_published_report_is_whole_and_the_latest(lake):
    assert read_latest(lake) is None
    assert not is_published(lake, "r1")
    uri = publish(lake, "r1", FILES.items(), summary("r1", listed=3), index)
    assert uri == lake.uri_of("reports/r1/index.html")
    assert is_published(lake, "r1")
    assert {path: lake.read(path) for path in lake.list("reports/r1")} == {
        **{f"reports/r1/{name}": data for name, data in FILES.items()},
        "reports/r1/summary.json": lake.read("reports/r1/summary.json"),
    }
    assert read_summary(lake, "r1") == summary("r1", listed=3)
    assert read_latest(lake) == Latest(report_id="r1", index="reports/r1/index.html")


def test_the_index_names_every_report_newest_first(lake):
    for report_id, day in (("b", 22), ("c", 20), ("a", 22)):
        publish(lake, report_id, FILES.items(), summary(report_id, day), index)
    assert lake.read("reports/index.html") == b"b a c"
    assert read_latest(lake).report_id == "a"


def test_files_called_summary_elsewhere_in_a_report_are_no_reports(lake):
    publish(
        lake, "r1", {**FILES, "my-summary.json": b"{}", "machines/summary.json": b"{}"}.items(), summary("r1"), index
    )
    publish(lake, "r2", FILES.items(), summary("r2"), index)
    assert lake.read("reports/index.html") == b"r2 r1"


def test_wherever_the_writer_dies_nothing_leads_to_half_a_report(tmp_path):
    steps = []
    for lives in range(100):
        root = str(tmp_path / str(lives))
        lake = Lake.open(root)
        publish(lake, "old", FILES.items(), summary("old", 20), index)
        dying = DyingLake(root)
        dying.lives = lives
        try:
            publish(dying, "new", FILES.items(), summary("new", 21), index)
            break
        except PowerCut:
            pass
        latest = read_latest(lake).report_id
        named = lake.read("reports/index.html").decode().split()
        for report_id in {latest, *named}:
            assert is_published(lake, report_id)
            assert {f"reports/{report_id}/{name}" for name in FILES} <= set(lake.list(f"reports/{report_id}"))
        steps.append((is_published(lake, "new"), named, latest))
        # Whoever comes next finishes it, or what leads to it.
        if is_published(lake, "new"):
            set_latest(lake, "new", index)
        else:
            publish(lake, "new", FILES.items(), summary("new", 21), index)
        assert (lake.read("reports/index.html"), read_latest(lake).report_id) == (b"new old", "new")
    # Its files, then its summary, then the index, then latest.json.
    assert steps == [
        *[(False, ["old"], "old")] * (len(FILES) + 1),
        (True, ["old"], "old"),
        (True, ["new", "old"], "old"),
    ]


def test_naming_the_latest_again_writes_nothing(lake, tmp_path):
    publish(lake, "r1", FILES.items(), summary("r1"), index)
    latest = tmp_path / "lake" / "reports" / "latest.json"
    before = latest.stat().st_mtime_ns
    assert set_latest(lake, "r1", index) == lake.uri_of("reports/r1/index.html")
    assert latest.stat().st_mtime_ns == before
    publish(lake, "r2", FILES.items(), summary("r2"), index)
    page = tmp_path / "lake" / "reports" / "index.html"
    before = page.stat().st_mtime_ns
    set_latest(lake, "r1", index)
    assert json.loads(latest.read_text())["report_id"] == "r1"
    assert page.stat().st_mtime_ns == before
