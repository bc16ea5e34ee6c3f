"""Nights by the clock: a transfer that stopped is told, on the page, by the status and as an event."""

import json
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from conftest import FAKE, modification_times, prefect_api, run_humwatch
from prefect_server import ask
from recordings import tone, wav, write_zip

from humwatch.flows.arrivals import OVERDUE
from humwatch.flows.simulation import FleetPlan, simulate

FLEET = (*FAKE, "--set", "fit.commissioning_nights=3", "--set", "fit.min_training_recordings=8")
MACHINES = ["fan id_00", "fan id_01"]


def day(ago: int) -> str:
    return (datetime.now(UTC).date() - timedelta(days=ago)).isoformat()


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    """A week ago the transfer of two fans stopped, after four nights; all are taken in by hand."""
    folder = tmp_path_factory.mktemp("plant")
    plan = FleetPlan(
        machines=2, nights=4, snr_db=6.0, seed=1, first_night=date.fromisoformat(day(10)), types=("fan",),
        duration_s=2.2, recordings_per_night=3, fault_fraction=0.0, dropout_rate=0.0, broken_rate=0.0,
    )  # fmt: skip
    simulate(plan, folder / "nights", workers=1)
    ran = run_humwatch("nightly", folder / "nights", "--lake", folder / "lake", *FLEET)
    return folder, ran


@pytest.fixture
def lake(plant, tmp_path):
    shutil.copytree(plant[0] / "lake", tmp_path / "lake")
    return tmp_path / "lake"


def latest(lake: Path) -> str:
    return json.loads((lake / "reports/latest.json").read_text())["report_id"]


def events(lake: Path) -> list[dict]:
    told = ask(f"{prefect_api()}/events/filter", {"filter": {"event": {"name": [OVERDUE]}}, "limit": 50})["events"]
    return [event["payload"] for event in told if event["payload"]["lake"] == str(lake)]


def test_by_hand_the_newest_night_counts_however_old_and_its_age_is_told(plant):
    folder, ran = plant
    assert ran.status == 0, ran.stderr
    assert ran.summary["night"] == day(7)
    arrival = {"tonight": day(0), "expected": day(1), "newest": day(7), "nights_old": 7, "overdue": True}
    assert ran.summary["arrival"] == arrival
    assert "nothing_arrived" not in ran.summary
    assert events(folder / "lake") == []
    told = run_humwatch("nightly", "--lake", folder / "lake", *FLEET, as_json=False)
    assert told.status == 0
    assert f"the newest night is {day(7)}: 7 nights before tonight by the clock" in told.stdout
    assert "AUC by machine" not in told.stdout  # nobody labels a fleet
    assert f"night of {day(7)}: " in told.stdout
    assert "report: " in told.stdout


def test_by_the_clock_a_night_that_is_due_and_did_not_arrive_is_judged_and_told_once(lake):
    ran = run_humwatch("nightly", "--lake", lake, "--by-clock", *FLEET)
    assert ran.status == 4, ran.stderr
    sentence = f"nothing arrived of the night {day(1)}: the newest night with recordings is {day(7)}, 6 nights before"
    found = ran.summary["nothing_arrived"]
    assert (found["night"], found["newest"], found["message"]) == (day(1), day(7), sentence)
    assert (ran.summary["night"], ran.summary["silent"], ran.summary["machines"]["silent"]) == (day(1), MACHINES, 2)
    assert [(row["machine"], row["state"]) for row in ran.summary["not_normal"]] == [(m, "silent") for m in MACHINES]
    report = Path(ran.summary["report"])
    assert latest(lake) == report.parent.name
    assert sentence[1:] in report.read_text()
    assert sentence[1:] in (report.parent / "mail.html").read_text()
    assert json.loads((report.parent / "summary.json").read_text())["nothing_arrived"] == found
    assert events(lake) == [{"lake": str(lake), "tonight": day(0), **found}]

    again = run_humwatch("nightly", "--lake", lake, "--by-clock", *FLEET, as_json=False)
    assert again.status == 4
    assert sentence in again.stderr
    assert "2 silent" in again.stdout
    assert str(report) in again.stdout.replace("\n", "")
    assert len(events(lake)) == 1


def test_by_the_clock_a_night_in_time_is_a_night_like_any_other(lake):
    ran = run_humwatch("nightly", "--lake", lake, "--by-clock", "--set", "ingest.expect_within_nights=7", *FLEET)
    assert (ran.status, ran.summary["night"], ran.summary["arrival"]["overdue"]) == (0, day(7), False)
    ran = run_humwatch("nightly", "--lake", lake, "--by-clock", "--set", "ingest.expect_within_nights=none", *FLEET)
    assert (ran.status, ran.summary["night"]) == (0, day(7))
    assert events(lake) == []


def test_a_lake_in_which_nothing_ever_arrived_is_told_too(tmp_path):
    ran = run_humwatch("nightly", "--lake", tmp_path / "new", "--by-clock", *FLEET)
    assert (ran.status, ran.summary["report"]) == (4, None)
    assert ran.summary["nothing_arrived"]["message"] == f"nothing arrived of the night {day(1)}: the lake has no night"


def test_a_named_night_that_nobody_has_is_not_published(lake):
    before = modification_times(lake)
    ran = run_humwatch("nightly", "--lake", lake, "--date", day(3), *FLEET)
    assert (ran.status, ran.summary["report"], ran.summary["nothing_arrived"]["newest"]) == (4, None, day(7))
    assert modification_times(lake) == before
    assert events(lake) == []
    both = run_humwatch("nightly", "--lake", lake, "--date", day(3), "--by-clock", *FLEET, as_json=False)
    assert both.status == 2
    # In a range it is a night without recordings, and no failure.
    ran = run_humwatch("backfill", "--lake", lake, "--from", day(7), "--to", day(5), *FLEET)
    assert (ran.status, [night["night"] for night in ran.summary["nights"]]) == (0, [day(7), day(6), day(5)])
    assert (ran.summary["night"], sum(ran.summary["machines"].values())) == (day(7), 2)
    assert latest(lake) == Path(ran.summary["report"]).parent.name


def test_what_is_of_no_night_is_told_and_the_nights_go_on(plant, lake, tmp_path):
    sources = tmp_path / "nights"
    shutil.copytree(plant[0] / "nights", sources)
    sound = {f"id_00/{take}.wav": wav(tone(90 + take, duration_s=2.2)) for take in range(2)}
    for number, night in enumerate(("", "2026-02-30", "2099-01-01")):
        (sources / night).mkdir(exist_ok=True)
        write_zip(sources / night / "fan.zip", {f"fan/{name}": data + bytes(number) for name, data in sound.items()})
    new = sources / day(6)
    shutil.copytree(sources / day(7), new)
    write_zip(new / "fan.zip", {f"fan/{m}/x{take}.wav": wav(tone(70 + take, duration_s=2.2))
                                for m in ("id_00", "id_01") for take in range(3)})  # fmt: skip
    ran = run_humwatch("nightly", sources, "--lake", lake, *FLEET)
    assert ran.status == 0, ran.stderr
    assert ran.summary["night"] == day(6)
    assert "silent" not in ran.summary
    (apart,) = [doubt for doubt in ran.summary["doubts"] if doubt["code"] == "set_apart"]
    assert "2099-01-01 (2)" in apart["message"]
    assert "all (2)" in apart["message"]
    (refused,) = [doubt for doubt in ran.summary["doubts"] if doubt["code"] == "mixed_machines"]
    assert refused["message"].startswith("2 of ")  # those of 2026-02-30, none of a night
    named = run_humwatch("nightly", "--lake", lake, "--date", "2099-01-01", *FLEET)
    assert (named.status, named.summary["report"]) == (4, None)
    assert (
        "2099-01-01 is to come by this machine's clock, and 2 recordings" in named.summary["nothing_arrived"]["message"]
    )
    assert latest(lake) == Path(ran.summary["report"]).parent.name


def test_status_and_doctor_say_that_the_newest_night_is_old_and_that_no_alarm_can_be(plant):
    lake = plant[0] / "lake"
    status = run_humwatch("status", "--lake", lake, *FLEET)
    nights = status.summary["nights"]
    assert (nights["nights_old"], nights["overdue"], nights["judged"]) == (7, True, day(7))
    assert (nights["can_alarm"], sum(nights["states"].values())) == (0, 2)
    assert nights["why_no_alarm"].startswith(f"on the night {day(7)} none of 2 machines could have raised an alarm: 2")
    assert [machine["state"] for machine in status.summary["machines"]] == [
        state for state, n in nights["states"].items() for _ in range(n)
    ]
    told = run_humwatch("status", "--lake", lake, *FLEET, as_json=False).stdout
    assert f"the newest night is {day(7)}, 7 nights before {day(0)}" in told
    assert "could have raised an alarm" in told

    flags = ["--set" if flag in ("--backbone", "--detector") else flag for flag in FLEET]
    flags = ['features.backbones=["fake"]' if flag == "fake" else flag for flag in flags]
    flags = ['fit.detectors=["gmm"]' if flag == "gmm" else flag for flag in flags]
    doctor = run_humwatch("doctor", "--lake", lake, *flags)
    checks = {check["check"]: check for check in doctor.summary["checks"]}
    assert (doctor.status, checks["nights"]["state"], checks["alarms"]["state"]) == (0, "warn", "warn")
    assert checks["nights"]["found"] == f"the newest night is {day(7)}, 7 nights before {day(0)}"
    assert checks["alarms"]["found"] == nights["why_no_alarm"]
    doctor = run_humwatch("doctor", "--lake", lake, *flags, "--set", "ingest.expect_within_nights=7")
    assert {check["check"]: check["state"] for check in doctor.summary["checks"]}["nights"] == "pass"


def test_retrain_and_rollback_say_what_was_decided_and_why(lake):
    none = run_humwatch("retrain", "--lake", lake, *FLEET)
    why = [(row["machine"], row["reason"].partition(",")[0]) for row in none.summary["not_retrained"]]
    assert why == [(machine, "0 recordings on its 4 nights without the last 7") for machine in MACHINES]
    assert "retrained" not in none.summary
    few = run_humwatch("retrain", "--lake", lake, *FLEET, "--set", "retrain.gate_nights=1", as_json=False)
    said = " ".join(few.stdout.replace("│", " ").split())
    assert said.count("refused: the old one stays") == 2
    assert "the rate 0.01 takes 99 training recordings" in said
    back = run_humwatch("rollback", "--lake", lake, *FLEET, as_json=False)
    assert back.stdout.count("its model is its first") == 2
