"""`humwatch labels import` and `humwatch simulate` as users call them."""

import inspect
import re

import pandas as pd
import pytest
from operator_lake import humwatch, plant, work_on

from humwatch.flows.cli.operators import simulate_command
from humwatch.flows.grids import GRIDS
from humwatch.flows.simulation import FleetPlan
from humwatch.storage.lake import Lake
from humwatch.tasks.ingest.task import ingest_sources


@pytest.fixture
def lake(tmp_path):
    run = work_on(tmp_path / "lake")
    ingest_sources.fn(run, [str(plant(tmp_path))])
    return tmp_path / "lake"


def labels_of(lake):
    run = work_on(lake)
    rows = run.catalog().recordings
    return dict(zip(rows["member"], rows["label"], strict=True))


def test_a_log_from_a_spreadsheet_is_imported_once(lake, tmp_path):
    before = labels_of(lake)
    log = tmp_path / "log.csv"
    log.write_text("\ufefffile;label\n".replace(";", ",") + "pump/id_01/normal/00000002.wav,abnormal\n")
    answer = humwatch("labels", "import", log, "--lake", lake, "--json")
    assert answer.status == 0
    assert answer.json == {
        "command": "labels import",
        "lake": str(lake),
        "path": Lake(str(lake)).list("labels")[0],
        "added": True,
        "recordings": 1,
        "spans": 0,
        "changed": 1,
        "actions": 0,
        "errors": [],
    }
    assert labels_of(lake) == {**before, "pump/id_01/normal/00000002.wav": "abnormal"}
    again = humwatch("labels", "import", log, "--lake", lake)
    assert again.status == 0
    assert "nothing added" in again.stdout
    assert len(Lake(str(lake)).list("labels")) == 1


@pytest.mark.parametrize(
    ("data", "status", "code", "message"),
    [
        (
            b"file,label\nnothing.wav,abnormal\n",
            2,
            "bad_configuration",
            "line 2: recording 'nothing.wav': there is none",
        ),
        (b"file,label\n\xe4.wav,normal\n", 2, "bad_configuration", "is not UTF-8"),
        (None, 1, "source_not_found", "log.csv"),
    ],
)
def test_a_log_that_cannot_be_used_is_an_error_with_its_reason(lake, tmp_path, data, status, code, message):
    if data is not None:
        (tmp_path / "log.csv").write_bytes(data)
    answer = humwatch("labels", "import", tmp_path / "log.csv", "--lake", lake, "--json")
    assert answer.status == status
    (error,) = answer.json["errors"]
    assert error["code"] == code
    assert message in error["message"]
    assert Lake(str(lake)).list("labels") == []


def test_labels_need_a_lake(tmp_path):
    (tmp_path / "log.csv").write_text("recording_id,label\na,normal\n")
    answer = humwatch("labels", "import", tmp_path / "log.csv", "--lake", tmp_path / "gone", "--json")
    assert (answer.status, answer.json["errors"][0]["code"]) == (1, "source_not_found")
    assert not (tmp_path / "gone").exists()


FLEET = ("--machines", 2, "--nights", 2, "--snr", -6, "--seed", 3, "--recordings-per-night", 2, "--duration", 0.5)


def test_a_fleet_is_written_with_its_truth_beside_it(tmp_path):
    options = ("--fault-fraction", 1, "--fault-size", 0.5, "--first-night", "2026-11-20", "--workers", 1)
    answer = humwatch("simulate", tmp_path / "fleet", *FLEET, *options, "--json")
    assert (answer.status, answer.json["errors"]) == (0, [])
    archives = {str(path.relative_to(tmp_path / "fleet")) for path in (tmp_path / "fleet").rglob("*.zip")}
    assert archives == {f"2026-11-{night}/{kind}.zip" for night in (20, 21) for kind in ("fan", "pump")}
    truth = pd.read_csv(answer.json["recordings_csv"])
    assert (truth["snr_db"] == -6).all()
    assert answer.json["archives"] == 4
    assert answer.json["planned"] == len(truth) == 8
    for status in ("sent", "missing", "truncated", "silent"):
        assert answer.json[status] == (truth["status"] == status).sum()
    machines = pd.read_csv(answer.json["machines_csv"])
    assert answer.json["faulty_machines"] == machines["fault"].notna().sum() == 2
    assert machines["severity_last_night"].tolist() == [0.5, 0.5]


def test_progress_and_counts_are_told(tmp_path):
    answer = humwatch("simulate", tmp_path / "fleet", *FLEET, "--workers", 1)
    assert answer.status == 0
    assert [line for line in answer.stderr.splitlines() if line.startswith("simulate: ")] == [
        f"simulate: {done}/4" for done in (1, 2, 3, 4)
    ]
    assert "8 planned" in answer.stdout
    assert f"truth: {tmp_path}/fleet-truth\n" in answer.stdout


def test_a_fleet_is_written_in_a_layout(tmp_path):
    layout = "{machine_type}_{machine_id}/{batch:%Y-%m-%d}_{index:02d}.wav"
    answer = humwatch("simulate", tmp_path / "fleet", *FLEET, "--workers", 1, "--layout", layout, "--json")
    assert (answer.status, answer.json["errors"], answer.json["archives"]) == (0, [], 0)
    truth = pd.read_csv(answer.json["recordings_csv"])
    sent = set(truth["member"][truth["status"] != "missing"])
    assert {str(path.relative_to(tmp_path / "fleet")) for path in (tmp_path / "fleet").rglob("*.wav")} == sent
    assert all(re.fullmatch(r"(fan|pump)_id_\d+/2026-01-0[12]_0[01]\.wav", name) for name in truth["member"])


def test_defaults_and_numbers_that_help_names_without_importing_them_are_those_of_the_code():
    given = inspect.signature(simulate_command).parameters
    names = {"duration": "duration_s"}
    defaults = {
        name: given[name].default for name in ("recordings_per_night", "duration", "fault_fraction", "fault_size")
    }
    assert defaults == {name: getattr(FleetPlan, names.get(name, name)) for name in defaults}
    assert f"Unset: {FleetPlan.first_night}." in humwatch("simulate", "--help").stdout
    assert f"{len(GRIDS['mimii'])} runs" in humwatch("benchmark", "mimii", "--help").stdout


@pytest.mark.parametrize(
    ("destination", "option", "message"),
    [
        ("fleet", ("--duration", 0), "duration_s"),
        ("fleet", ("--layout", "{line}.wav"), "{line}.wav"),
        ("s3://bucket/fleet", (), "no local folder"),
    ],
)
def test_a_fleet_that_cannot_be_is_bad_usage(tmp_path, destination, option, message):
    target = destination if "://" in destination else tmp_path / destination
    answer = humwatch("simulate", target, *FLEET, *option, "--json")
    assert (answer.status, answer.json["errors"][0]["code"]) == (2, "bad_configuration")
    assert message in answer.json["errors"][0]["message"]
    assert list(tmp_path.iterdir()) == []
