"""A simulated fleet through its nights: commissioning, scoring, silence, late arrivals, backfill, retraining."""

import json
import re
import shutil
import zipfile
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from conftest import FAKE, modification_times, run_humwatch, sorted_scores
from recordings import tone, wav, write_zip

from humwatch.flows.night import night_run
from humwatch.flows.presets import overrides
from humwatch.flows.simulation import FleetPlan, simulate
from humwatch.tasks.evaluation.store import read_scores
from humwatch.tasks.plan.night_tables import read_nights
from humwatch.tasks.plan.scores import score_paths
from humwatch.tasks.reports.night.fleet_view import fleet_of
from humwatch.tasks.reports.night.night_site import most_abnormal, top_recordings_of

FLEET = (
    *FAKE,
    *("--set", "fit.commissioning_nights=3", "--set", "fit.min_training_recordings=8"),
    *("--set", "fit.false_alarm_rate=0.2"),
)
FAN, PUMP = ["fan id_00", "fan id_01"], ["pump id_00", "pump id_01"]
WORK = ("recordings_decoded", "windows_embedded", "models_fitted", "recordings_scored")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Two fans and two pumps, four recordings a night each; on the fifth night the fans run at another speed."""
    folder = tmp_path_factory.mktemp("fleet") / "nights"
    plan = FleetPlan(
        machines=4, nights=5, snr_db=6.0, seed=1, first_night=date(2026, 1, 1), types=("fan", "pump"),
        duration_s=3.0, fault_fraction=0.0, dropout_rate=0.0, broken_rate=0.0,
    )  # fmt: skip
    simulate(plan, folder, workers=1)
    last = folder / "2026-01-05" / "fan.zip"
    with zipfile.ZipFile(last) as archive:
        names = archive.namelist()
    write_zip(last, {name: wav(tone(seed, frequency_hz=1500.0)) for seed, name in enumerate(names)})
    return folder


@pytest.fixture(scope="module")
def filled(sources, tmp_path_factory):
    """Five nights, backfilled oldest first; the pumps were not heard on the last one."""
    folder = tmp_path_factory.mktemp("heard") / "nights"
    shutil.copytree(sources, folder)
    (folder / "2026-01-05" / "pump.zip").unlink()
    lake = tmp_path_factory.mktemp("lake")
    ran = run_humwatch("backfill", folder, "--lake", lake, "--from", "2026-01-01", "--to", "2026-01-05", *FLEET)
    assert ran.status == 0, ran.stderr
    return lake, folder, ran


@pytest.fixture(scope="module")
def caught_up(sources, filled, tmp_path_factory):
    """A copy of that lake after a nightly run that found the pumps' fifth night, and late.zip of the fourth."""
    folder, lake = filled[1], tmp_path_factory.mktemp("late") / "lake"
    shutil.copytree(filled[0], lake)
    before = modification_times(lake)
    pumps = folder / "2026-01-05" / "pump.zip"
    shutil.copy(sources / "2026-01-05" / "pump.zip", pumps)
    late = write_zip(folder / "2026-01-04" / "late.zip", {"fan/id_00/late.wav": wav(tone(1))})
    ran = run_humwatch("nightly", folder, "--lake", lake, *FLEET)
    assert ran.status == 0, ran.stderr
    pumps.unlink()
    late.unlink()
    return lake, before, ran


@pytest.fixture(scope="module")
def retrained(caught_up, tmp_path_factory):
    """A copy of that lake after retraining on the first four nights behind a gate of the fifth."""
    lake = tmp_path_factory.mktemp("retrained") / "lake"
    shutil.copytree(caught_up[0], lake)
    gate = ("--set", "retrain.gate_nights=1", "--set", "retrain.min_gate_recordings=4")
    ran = run_humwatch("retrain", "--lake", lake, *FLEET, *gate)
    assert ran.status == 0, ran.stderr
    return lake, pd.DataFrame(ran.summary["retrained"]).set_index("machine")


def versions(lake: Path) -> dict[str, str]:
    """The current model version of every machine."""
    pointers = lake.glob("models/*/*/*/current.json")
    return {" ".join(path.parts[-3:-1]): json.loads(path.read_text())["version"] for path in pointers}


def report(lake: Path, night: str) -> tuple[dict, pd.DataFrame, str]:
    """The newest report of a night: its summary, scores and page."""
    folder = max(lake.glob(f"reports/night-{night}-*"), key=lambda path: (path / "summary.json").stat().st_mtime_ns)
    summary = json.loads((folder / "summary.json").read_text())
    return summary, pd.read_parquet(folder / "scores.parquet"), (folder / "index.html").read_text()


def test_each_night_is_decoded_and_scored_once(filled):
    nights = pd.DataFrame(filled[2].summary["nights"]).set_index("night")
    assert list(nights.index) == [f"2026-01-0{day}" for day in range(1, 6)]
    assert nights["recordings_decoded"].tolist() == [16, 16, 16, 16, 8]
    # No machine has a model before the third night; then its whole commissioning window is over.
    assert nights["models_fitted"].tolist() == [0, 0, 4, 0, 0]
    assert nights["recordings_scored"].tolist() == [0, 0, 16, 16, 8]


def test_the_passport_says_that_normality_was_assumed(filled):
    passports = [json.loads(path.read_text()) for path in filled[0].glob("models/**/passport.json")]
    assert [passport["training"] for passport in passports] == ["assumed_normal"] * 4
    assert [len(passport["training_recordings"]) for passport in passports] == [12] * 4


def test_a_machine_that_sent_nothing_is_silent_and_not_forgotten(filled):
    summary, scores, page = report(filled[0], "2026-01-05")
    assert summary["silent"] == PUMP
    assert "silent: it sent nothing" in page
    assert set(scores["machine_type"]) == {"fan"}
    assert "silent" not in report(filled[0], "2026-01-04")[0]


def test_a_night_is_published_as_a_site(filled):
    lake, _, ran = filled
    index = Path(ran.summary["report"])
    summary = json.loads((index.parent / "summary.json").read_text())
    machines = pd.read_csv(index.parent / "machines.csv")
    assert (summary["kind"], summary["night"]) == ("night", "2026-01-05")
    assert {state: n for state, n in summary["machines"].items() if n} == machines["state"].value_counts().to_dict()
    assert summary["machines"]["silent"] == 2
    page = index.read_text()
    links = set(re.findall(r'href="(machines/[^"]+)"', page))
    assert {path.name for path in (index.parent / "machines").iterdir()} == {link.split("/")[1] for link in links}
    assert len(links) == 4
    assert "Newly silent" in page
    for name in re.findall(r'<a href="([a-z][^"/]*)">', page):
        assert (index.parent / name).is_file(), name
    assert "pump id_00" in (index.parent / "mail.html").read_text()
    nights = re.findall(r">Night of ([0-9-]+)<", (lake / "reports" / "index.html").read_text())
    assert nights == [f"2026-01-0{day}" for day in (5, 4, 3, 2, 1)]


def test_what_is_seen_and_heard_of_a_machine_in_alarm(filled):
    path, _, _ = filled
    model = {"features": {"backbones": ["fake"]}, "fit": {"detectors": ["gmm"]}}
    sections = overrides(None, model, [item for item in FLEET if "=" in item])
    del sections["report"]  # its sounds are left out of the other tests
    run = night_run(str(path), date(2026, 1, 5), None, "default", sections)
    lake = run.lake
    catalog = run.catalog().restricted_to(run.scope)
    scores = most_abnormal(read_scores(lake, score_paths(run)), ("fake", "gmm", 0))
    nights = read_nights(run, 10)
    listen = top_recordings_of(catalog, scores, run)
    calm = fleet_of(nights, "2026-01-05", ("fake", "gmm", 0)).machines
    assert [list(listen(view)) for view in calm] == [[]] * 4
    alarmed = fleet_of(nights.assign(state="alarm"), "2026-01-05", ("fake", "gmm", 0)).machines
    heard = {view.machine.label: listen(view) for view in alarmed}
    assert {label: len(found) for label, found in heard.items()} == {
        "fan id_00": 3, "fan id_01": 3, "pump id_00": 0, "pump id_01": 0,
    }  # fmt: skip
    for found in heard["fan id_00"], heard["fan id_01"]:
        in_order = [recording.row["score"] for recording in found]
        assert in_order == sorted(in_order, reverse=True)
        assert all(recording.mime == "audio/mpeg" and recording.audio for recording in found)
        assert [recording.relevance is None for recording in found][1:] == [True, True]
        relevance = found[0].relevance
        assert relevance is None or relevance.shape == found[0].logmel.shape
    assert any(found[0].relevance is not None for found in heard.values() if found)


def test_repeating_a_backfill_the_other_way_round_recomputes_and_doubles_nothing(filled):
    lake, folder, _ = filled
    before, scores = modification_times(lake), sorted_scores(lake)
    span = ("--from", "2026-01-03", "--to", "2026-01-05", "--newest-first")
    ran = run_humwatch("backfill", folder, "--lake", lake, *span, *FLEET)
    assert ran.status == 0, ran.stderr
    assert [night["night"] for night in ran.summary["nights"]] == ["2026-01-05", "2026-01-04", "2026-01-03"]
    assert [ran.summary[name] for name in WORK] == [0, 0, 0, 0]
    assert sorted_scores(lake) == scores
    after = modification_times(lake)
    # The report that was asked for last is the one that `latest.json` names.
    assert {path for path in after if after[path] != before.get(path)} == {"reports/latest.json"}


def test_a_dry_run_says_what_there_is_and_does_nothing(filled):
    lake = filled[0]
    before = modification_times(lake)
    span = ("--from", "2026-01-04", "--to", "2026-01-06")
    ran = run_humwatch("backfill", "--lake", lake, *span, "--dry-run", "--newest-first", *FLEET)
    assert ran.status == 0, ran.stderr
    nothing_waits = {"pending": 0, "not_embedded": 0, "not_scored": 0}
    assert ran.summary["nights"] == [
        {"night": "2026-01-06", "recordings": 0, **nothing_waits},
        {"night": "2026-01-05", "recordings": 8, **nothing_waits},
        {"night": "2026-01-04", "recordings": 16, **nothing_waits},
    ]
    told = run_humwatch("backfill", "--lake", lake, *span, "--dry-run", *FLEET, as_json=False)
    lines = [re.findall(r"[\w-]+", line) for line in told.stdout.splitlines() if "2026-01" in line]
    assert lines == [
        ["2026-01-04", "16", "0", "0", "0"], ["2026-01-05", "8", "0", "0", "0"], ["2026-01-06", "0", "0", "0", "0"],
    ]  # fmt: skip
    assert modification_times(lake) == before


def test_late_arrivals_are_scored_by_the_standing_models_and_their_nights_reported(caught_up, filled):
    lake, before, ran = caught_up
    assert (ran.summary["late"], ran.summary["night"]) == (["2026-01-04"], "2026-01-05")
    assert "silent" not in ran.summary
    # Without a date the two nights that had no model when they were backfilled are scored too.
    unscored = 2 * 16
    work = [ran.summary[name] for name in ("recordings_decoded", "models_fitted", "recordings_scored")]
    assert work == [9, 0, 9 + unscored]
    changed = {path for path, time in modification_times(lake).items() if before.get(path, time) != time}
    assert changed == {"reports/index.html", "reports/latest.json"}
    assert len(report(lake, "2026-01-04")[1]) == 17
    assert len(report(lake, "2026-01-05")[1]) == 16
    assert report(lake, "2026-01-05")[0] == {**ran.summary, **report(lake, "2026-01-05")[0]}
    assert len(set(sorted_scores(lake))) == len(sorted_scores(lake)) == len(sorted_scores(filled[0])) + 9 + unscored


def test_a_candidate_with_five_times_the_stated_rate_is_refused_and_a_good_one_becomes_current(caught_up, retrained):
    (lake, decided), before = retrained, versions(caught_up[0])
    assert list(decided.index) == [*FAN, *PUMP]
    assert (decided["recordings"] == 4).all()
    assert (decided.loc[FAN, "false_alarms"] / 4 == 5 * decided.loc[FAN, "stated"]).all()
    assert decided["accepted"].tolist() == [False, False, True, True]
    assert versions(lake) == {**{name: before[name] for name in FAN}, **decided.loc[PUMP, "version"].to_dict()}
    assert not {versions(lake)[name] for name in PUMP} & set(before.values())


def test_the_next_report_says_why_and_its_scores_name_their_models_until_a_rollback(caught_up, retrained):
    lake, _ = retrained
    before, current = versions(caught_up[0]), versions(lake)
    ran = run_humwatch("nightly", "--lake", lake, "--date", "2026-01-05", *FLEET)
    assert ran.status == 0, ran.stderr
    assert (ran.summary["models_fitted"], ran.summary["recordings_scored"]) == (0, 8)
    page = Path(ran.summary["report"]).read_text()
    assert "a new model was refused on" in page
    assert "too many false alarms: 4 false alarms in 4 recordings" in page
    scores = ran.table("scores")
    named = scores.groupby(scores["machine_type"] + " " + scores["machine_id"])["model_version"].unique()
    assert {machine: list(found) for machine, found in named.items()} == {m: [current[m]] for m in [*FAN, *PUMP]}

    back = run_humwatch("rollback", "--lake", lake, *FLEET)
    assert back.status == 0, back.stderr
    assert back.summary["rolled_back"] == PUMP
    assert versions(lake) == before
