"""Alarms through the command line: a simulated fault is found, dated, published and told once; feedback is heeded."""

import json
import shutil
import uuid
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from conftest import FAKE, prefect_api, run_humwatch
from prefect_server import ask
from small_fleet import FLEET, LAST, PLAN, SETTINGS

from humwatch.flows.night import night_run
from humwatch.flows.presets import overrides
from humwatch.flows.simulation import simulate
from humwatch.storage.lake import Lake
from humwatch.storage.naming import path_component
from humwatch.storage.tables import MACHINE_NIGHTS
from humwatch.tasks.alarms.task import EVENT, judge_nights
from humwatch.tasks.plan.actions import ACTION_COLUMNS


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """Twelve nights of four fans, one of them with a fault that grows; all taken in by one nightly run."""
    folder = tmp_path_factory.mktemp("alarms")
    fleet = simulate(PLAN, folder / "nights", workers=1)
    truth = pd.read_csv(fleet.machines_csv).dropna(subset="onset").iloc[0]
    ran = run_humwatch("nightly", folder / "nights", "--lake", folder / "lake", *FLEET)
    assert ran.status == 0, ran.stdout + ran.stderr
    return folder / "lake", folder / "nights", truth, ran


def events(lake: Path) -> list[dict]:
    """The alarms of this lake that Prefect was told of; the server is that of other tests, too."""
    marks = [path.relative_to(lake).as_posix() for path in lake.glob("nights/*/raised/*.json")]
    uri = path_component(Lake(str(lake)).uri)
    ids = {str(uuid.uuid5(uuid.NAMESPACE_URL, f"{uri}/{mark}")) for mark in marks}
    wanted = {"filter": {"event": {"name": [EVENT]}}, "limit": 50}
    return [event for event in ask(f"{prefect_api()}/events/filter", wanted)["events"] if event["id"] in ids]


def test_the_fault_is_an_alarm_with_its_onset(night):
    _, _, truth, ran = night
    machines = ran.table("machines").set_index("machine_id")
    assert list(ran.table("machines").columns) == [*MACHINE_NIGHTS.names, *ACTION_COLUMNS]
    faulty = machines.loc[truth["machine_id"]]
    assert faulty["state"] == "alarm"
    assert truth["onset"] <= faulty["alarm_since"] <= LAST
    assert abs((pd.Timestamp(faulty["onset"]) - pd.Timestamp(truth["onset"])).days) <= 2
    assert (machines.drop(truth["machine_id"])["state"] == "normal").sum() >= 2
    assert machines["drift"].idxmax() == truth["machine_id"]
    report = Path(ran.summary["report"]).parent
    alarms = ran.table("alarms")
    assert truth["machine_id"] in set(alarms["machine_id"])
    assert [row["machine_id"] for row in json.loads((report / "alarms.json").read_text())] == list(alarms["machine_id"])
    assert pd.read_csv(report / "alarms.csv")["machine_id"].tolist() == list(alarms["machine_id"])


def test_nights_in_training_have_no_score_and_all_nights_their_rows(night):
    lake = night[0]
    tables = sorted((lake / "nights").rglob("*.parquet"))
    rows = pd.concat([pd.read_parquet(path) for path in tables])
    assert rows.groupby("night").size().tolist() == [4] * 12
    training = rows[rows["night"] <= "2026-01-06"]
    assert set(training["state"]) == {"learning"}
    assert training["reason"].notna().all()
    assert training[["night_score", "evidence", "drift"]].isna().all(axis=None)
    assert set(training["night"][training["statistic"].notna()]) == {"2026-01-06"}  # the sixth, provisionally
    assert training["provisional"].eq(training["statistic"].notna()).all()
    assert rows[rows["night"] > "2026-01-06"][["statistic", "drift"]].notna().all(axis=None)


def test_each_alarm_is_told_once_and_a_rerun_changes_nothing(night):
    lake, sources, truth, _ = night
    tables = sorted((lake / "nights").rglob("*.parquet"))
    raised = pd.concat([pd.read_parquet(path) for path in tables]).query("new_alarm")
    told = events(lake)
    assert sorted((event["payload"]["machine_id"], event["payload"]["night"]) for event in told) == sorted(
        zip(raised["machine_id"], raised["night"], strict=True)
    )
    assert truth["machine_id"] in {event["payload"]["machine_id"] for event in told}
    assert not [event for event in told if str(lake) in json.dumps(event)]
    before = {path: path.read_bytes() for path in (lake / "nights").rglob("*") if path.is_file()}
    ran = run_humwatch("nightly", sources, "--lake", lake, *FLEET)
    assert ran.status == 0, ran.stderr
    assert {path: path.read_bytes() for path in (lake / "nights").rglob("*") if path.is_file()} == before
    assert len(events(lake)) == len(told)


def test_a_night_judged_again_without_the_later_ones_is_the_same(night, tmp_path):
    lake = tmp_path / "lake"
    shutil.copytree(night[0], lake)
    kept = {path.parent.name: path.read_bytes() for path in (lake / "nights").rglob("*.parquet")}
    for path in (lake / "nights").rglob("*.parquet"):
        path.unlink()  # the marks of what was told stay
    settings = overrides(
        None, {"features": {"backbones": ("fake",)}, "fit": {"detectors": ("gmm",)}}, [*SETTINGS, *FAKE[5::2]]
    )
    judge_nights.fn(night_run(str(lake), date(2026, 1, 9), None, "default", settings))
    again = {path.parent.name: path.read_bytes() for path in (lake / "nights").rglob("*.parquet")}
    assert sorted(again) == [f"2026-01-{day:02d}" for day in range(1, 10)]
    assert again == {night: kept[night] for night in again}
    judge_nights.fn(night_run(str(lake), date(2026, 1, 12), None, "default", settings))
    assert {path.parent.name: path.read_bytes() for path in (lake / "nights").rglob("*.parquet")} == kept


def test_what_people_do_about_an_alarm_counts_from_the_next_run_on(night, tmp_path):
    original, sources, truth, _ = night
    lake, machine = tmp_path / "lake", f"fan/{truth['machine_id']}"
    shutil.copytree(original, lake)

    def tables():
        return {path.relative_to(lake): path.read_bytes() for path in (lake / "nights").rglob("*.parquet")}

    def say(*words):
        ran = run_humwatch("alarms", *words, "--lake", lake, "--by", "kim", "--json")
        assert ran.status == 0, ran.stderr
        return ran.summary["action"]["action_id"]

    def judged():
        ran = run_humwatch("nightly", sources, "--lake", lake, *FLEET)
        assert ran.status == 0, ran.stderr
        page = (next((Path(ran.summary["report"]).parent / "machines").glob(f"*{truth['machine_id']}*"))).read_text()
        return ran, ran.table("machines").set_index("machine_id").loc[truth["machine_id"]], page

    before, told = tables(), len(events(lake))
    say("ack", machine, "--text", "bearing ordered")
    ran, row, page = judged()
    assert (row["state"], row["acknowledged_by"]) == ("alarm", "kim")
    (listed,) = [
        alarm
        for alarm in json.loads((Path(ran.summary["report"]).parent / "alarms.json").read_text())
        if alarm["machine_id"] == truth["machine_id"]
    ]
    assert listed["acknowledged_by"] == "kim"
    assert "<b>Acknowledged</b> by kim" in page
    assert "bearing ordered" in page
    assert tables() == before  # it says nothing of the sound

    repair = say("repaired", machine, "--night", "2026-01-11")
    _, row, page = judged()
    assert row["state"] != "alarm"
    assert pd.isna(row["alarm_since"])
    assert (row["reference_nights"], row["repaired"]) == (1, "2026-01-11")
    assert row["reason"] == "1 reference nights; a statistic needs 5"
    assert "nights before 2026-01-11 are no reference" in page
    assert before.items() < tables().items()

    say("undo", repair)
    _, row, page = judged()
    assert (row["state"], row["acknowledged_by"]) == ("alarm", "kim")
    assert "withdrawn by kim" in page
    assert len(events(lake)) == told  # of the same alarm nobody is told again
    listed = run_humwatch("alarms", "list", "--lake", lake, "--json").summary["actions"]
    assert [(each["action"], each["withdrawn_by"]) for each in listed] == [
        ("ack", None), ("repaired", "kim"), ("undo", None),
    ]  # fmt: skip


def test_of_a_muted_machine_nobody_is_told_until_that_is_over(night, tmp_path):
    original, sources, truth, _ = night
    lake = tmp_path / "lake"
    shutil.copytree(original, lake)
    shutil.rmtree(lake / "nights")
    log = tmp_path / "log.csv"
    log.write_text(
        "machine_type,machine_id,action,night,until,text,by\n"
        f"fan,{truth['machine_id']},mute,2026-01-02,2026-02-28,under repair,lee\n"
    )
    imported = run_humwatch("labels", "import", log, "--lake", lake)
    assert imported.status == 0, imported.stderr
    assert imported.summary["actions"] == 1

    def told_of():
        ran = run_humwatch("nightly", sources, "--lake", lake, *FLEET)
        assert ran.status == 0, ran.stderr
        row = ran.table("machines").set_index("machine_id").loc[truth["machine_id"]]
        assert row["state"] == "alarm"
        found = [event for event in events(lake) if event["payload"]["machine_id"] == truth["machine_id"]]
        return row, len(found)

    before = [event for event in events(lake) if event["payload"]["machine_id"] == truth["machine_id"]]
    row, told = told_of()
    assert (row["muted_until"], row["muted_by"], told) == ("2026-02-28", "lee", len(before))
    (action,) = run_humwatch("alarms", "list", "--lake", lake, "--json").summary["actions"]
    assert run_humwatch("alarms", "undo", action["action_id"], "--lake", lake, "--by", "kim").status == 0
    for _ in range(2):
        row, told = told_of()
        assert pd.isna(row["muted_until"])
        assert told == len(before) + 1


def test_nights_called_normal_count_as_such_from_the_next_run_on(night, tmp_path):
    lake, sources, truth, first = night
    log = tmp_path / "log.csv"
    log.write_text(
        "machine_type,machine_id,from,until,label,note\n"
        f"fan,{truth['machine_id']},{truth['onset']},{LAST},normal,a new filter was fitted\n"
    )
    assert run_humwatch("labels", "import", log, "--lake", lake).status == 0
    ran = run_humwatch("nightly", sources, "--lake", lake, *FLEET)
    assert ran.status == 0, ran.stderr
    machine = ran.table("machines").set_index("machine_id").loc[truth["machine_id"]]
    assert machine["state"] == "normal"
    assert machine["label"] == "normal"
    before = first.table("machines").set_index("machine_id").loc[truth["machine_id"]]
    assert machine["reference_nights"] > before["reference_nights"]


def test_an_evaluation_stands_beside_a_night_with_labels(night, tmp_path):
    lake, sources, truth, first = night
    shutil.copytree(lake, tmp_path / "lake")
    scores = first.table("scores")
    rows = scores[scores["machine_id"] == truth["machine_id"]].sort_values("score")["recording_id"].tolist()
    labels = ["normal"] * (len(rows) - 1) + ["abnormal"]
    log = tmp_path / "log.csv"
    log.write_text(
        "recording_id,label\n" + "".join(f"{row},{label}\n" for row, label in zip(rows, labels, strict=True))
    )
    assert run_humwatch("labels", "import", log, "--lake", tmp_path / "lake").status == 0
    ran = run_humwatch("nightly", sources, "--lake", tmp_path / "lake", *FLEET)
    assert ran.status == 0, ran.stderr
    auc = ran.table("auc").set_index("machine_id").loc[truth["machine_id"]]
    assert (auc["auc"], auc["n_normal"], auc["n_abnormal"]) == (1.0, len(rows) - 1, 1)
    report = Path(ran.summary["report"])
    assert 'href="evaluation.html"' in report.read_text()
    page = (report.parent / "evaluation.html").read_text()
    assert f"fan {truth['machine_id']}" in page
    assert "<svg" in page
    assert not (Path(first.summary["report"]).parent / "evaluation.html").exists()
