"""What people do about alarms: what may be said, that it is kept once, what it means on a night, and that it ends."""

import shutil
from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pytest

from humwatch.storage.errors import BadConfiguration
from humwatch.storage.lake import Lake
from humwatch.storage.models import Machine
from humwatch.storage.parts import create_part
from humwatch.storage.tables import MACHINE_NIGHTS, RECORDINGS, create_table
from humwatch.tasks.alarms.alarm_list import alarms_of, is_news
from humwatch.tasks.frames import rows_of
from humwatch.tasks.plan.actions import ACTION_COLUMNS, Actions
from humwatch.tasks.plan.catalog import current_recordings
from humwatch.tasks.plan.maintenance_log import import_labels
from humwatch.tasks.plan.new_actions import Plant, Said, checked, keep, withdrawing

NIGHTS = [f"2026-01-{day:02d}" for day in range(1, 21)]
PUMP = Machine("pump", "id_00")
MACHINES = [PUMP, Machine("pump", "id_01"), Machine("fan", "id_00", "north"), Machine("fan", "a", None, "-6_dB"),
            Machine("fan", "a", None, "0_dB")]  # fmt: skip


def named(machine):
    return {
        "site": machine.site, "machine_type": machine.machine_type, "machine_id": machine.machine_id,
        "condition": machine.condition,
    }  # fmt: skip


def night_row(night, since, machine=PUMP, *, new=False):
    return named(machine) | {"night": night, "alarm_since": since, "new_alarm": new}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """Five machines and twenty nights; the pump id_00 is in alarm since the 10th."""
    lake = Lake.open(str(tmp_path_factory.mktemp("fresh") / "lake"))
    for night in [*NIGHTS, "all", "2099-01-01"]:  # the last by a wrong clock
        rows = [
            named(machine) | {"recording_id": f"{machine.path}.{night}", "content_tag": "x", "batch": night,
                              "path": f"{machine.path}/{night}.wav", "ingested_at": datetime(2026, 2, 1, tzinfo=UTC)}
            for machine in MACHINES
        ]  # fmt: skip
        create_part(lake, "any", night, pa.Table.from_pylist(rows, schema=RECORDINGS))
    for night in NIGHTS:
        rows = [night_row(night, "2026-01-10" if night >= "2026-01-10" else None), night_row(night, None, MACHINES[1])]
        create_table(lake, f"nights/key/{night}/000-a.parquet", pa.Table.from_pylist(rows, schema=MACHINE_NIGHTS))
    return lake


@pytest.fixture
def lake(fresh, tmp_path):
    """A copy of it."""
    shutil.copytree(fresh.uri, tmp_path / "lake")
    return Lake(str(tmp_path / "lake"))


def say(lake, action, machine="pump/id_00", by="kim", **more):
    """Keep what is said; return it, and whether it was added."""
    plant = Plant(lake, current_recordings(lake)[0])
    said = checked(Said(action, machine, by, **more), plant)
    return said, bool(keep(lake, [said], plant.actions))


def undo(lake, action, by="lee"):
    actions = Actions.read(lake)
    withdrawal = withdrawing(action.action_id, by, None, actions)
    return withdrawal, bool(keep(lake, [withdrawal], actions))


def beside(lake, *rows):
    return rows_of(Actions.read(lake).beside(pd.DataFrame(rows)))


def test_an_acknowledgement_is_of_the_alarm_that_stood_and_of_no_later_one(lake):
    ack, added = say(lake, "ack", night="2026-01-12", text="bearing ordered")
    assert added
    rows = [night_row("2026-01-11", "2026-01-10"), night_row("2026-01-13", "2026-01-10"),
            night_row("2026-01-18", "2026-01-17"), night_row("2026-01-18", None),
            night_row("2026-01-13", "2026-01-10", MACHINES[1])]  # fmt: skip
    assert [row["acknowledged_by"] for row in beside(lake, *rows)] == [None, "kim", None, None, None]
    assert beside(lake, rows[1])[0]["acknowledged_at"] == ack.at.isoformat(timespec="seconds")


def test_acknowledged_alarms_come_after_the_others(lake):
    say(lake, "ack", night="2026-01-12")
    rows = [
        night_row("2026-01-12", "2026-01-12", new=True) | {"p_value": 0.1},
        night_row("2026-01-12", "2026-01-03", MACHINES[1]) | {"p_value": 0.1},
    ]
    assert alarms_of(pd.DataFrame(beside(lake, *rows)))["machine_id"].tolist() == ["id_01", "id_00"]


def test_a_mute_lasts_through_its_last_night_and_ends_by_itself(lake):
    say(lake, "mute", night="2026-01-12", until="2026-01-14")
    say(lake, "mute", night="2026-01-13", until="2026-01-13")  # it ends nothing
    rows = [night_row(night, None) for night in ("2026-01-11", "2026-01-12", "2026-01-14", "2026-01-15")]
    assert [row["muted_until"] for row in beside(lake, *rows)] == [None, "2026-01-14", "2026-01-14", None]


def test_nobody_is_told_of_a_muted_alarm_until_the_mute_is_over(lake):
    mute, _ = say(lake, "mute", night="2026-01-12", until="2026-01-14")
    raised = night_row("2026-01-13", "2026-01-13", new=True)
    later = [night_row(f"2026-01-{day}", "2026-01-13") for day in (14, 15)]

    def told():
        actions = Actions.read(lake)
        return [is_news(row, actions) for row in (raised, *later)]

    assert told() == [False, False, True]
    ack, _ = say(lake, "ack", night="2026-01-14")
    assert told() == [False, False, False]
    undo(lake, ack)
    undo(lake, mute)
    assert told() == [True, True, True]
    old = Actions.read(lake)
    assert not is_news(night_row("2026-01-15", "2026-01-03"), old)  # it was told when it was raised
    assert not is_news(night_row("2026-01-15", None), old)


def test_repairs_and_notes_count_from_their_night_on(lake):
    say(lake, "repaired", night="2026-01-05")
    say(lake, "repaired", night="2026-01-15")
    say(lake, "note", night="2026-01-06", text="<b>loud</b>")
    rows = [night_row(night, None) for night in ("2026-01-04", "2026-01-05", "2026-01-14", "2026-01-15")]
    found = beside(lake, *rows)
    assert [row["repaired"] for row in found] == [None, "2026-01-05", "2026-01-05", "2026-01-15"]
    assert [row["note"] for row in found] == [None, None, "<b>loud</b>", "<b>loud</b>"]
    assert {name for row in found for name in row} >= set(ACTION_COLUMNS)


def test_without_a_night_the_newest_that_has_come_is_meant(lake):
    assert say(lake, "note", text="hums")[0].night == NIGHTS[-1]  # not that of a wrong clock


def test_what_was_said_is_kept_once_and_can_be_withdrawn_and_said_again(lake):
    first, _ = say(lake, "ack", night="2026-01-12")
    again, added = say(lake, "ack", night="2026-01-12")
    assert (again.action_id, added, len(lake.list("actions"))) == (first.action_id, False, 1)
    before = {path: lake.read(path) for path in lake.list("actions")}
    withdrawal, added = undo(lake, first)
    assert added
    assert beside(lake, night_row("2026-01-13", "2026-01-10"))[0]["acknowledged_by"] is None
    assert undo(lake, first, by="somebody else") == (withdrawal, False)
    anew, added = say(lake, "ack", night="2026-01-12")
    assert added
    assert anew.action_id != first.action_id
    assert not say(lake, "ack", night="2026-01-12")[1]
    assert beside(lake, night_row("2026-01-13", "2026-01-10"))[0]["acknowledged_by"] == "kim"
    assert before.items() <= {path: lake.read(path) for path in lake.list("actions")}.items()
    (rows,) = Actions.read(lake).until("2026-01-20").values()
    assert [(row["by"], row["withdrawn_by"]) for row in rows] == [("kim", None), ("kim", "lee")]
    assert Actions.read(lake).until("2026-01-11") == {}


def test_an_undo_is_of_an_action(lake):
    note, _ = say(lake, "note", text="hums")
    withdrawal, _ = undo(lake, note)
    with pytest.raises(BadConfiguration, match="is an undo itself"):
        undo(lake, withdrawal)
    with pytest.raises(BadConfiguration, match=r"'abc': there is none; `humwatch alarms list`"):
        withdrawing("abc", "kim", None, Actions.read(lake))
    with pytest.raises(BadConfiguration, match="HUMWATCH_USER"):
        withdrawing(note.action_id, None, None, Actions([]))


def test_two_writers_of_one_action_are_one(lake):
    plant = Plant(lake, current_recordings(lake)[0])
    both = [checked(Said("note", "pump/id_00", "kim", text=text), plant) for text in ("a", "b")]
    assert keep(lake, both[:1], Actions([]))
    assert keep(lake, both, Actions([]))  # it did not see the first
    assert [action.text for action in Actions.read(lake).kept] == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "machine"),
    [("pump/id_01", MACHINES[1]), ("north/fan/id_00", MACHINES[2]), ("fan/a/0_dB", MACHINES[4])],
)
def test_a_machine_is_named_as_patterns_name_it(lake, name, machine):
    assert say(lake, "note", name, text="x")[0].machine == machine


TODAY = datetime.now().astimezone().date()


@pytest.mark.parametrize("day", [TODAY, TODAY + timedelta(days=1)])
def test_a_repair_may_come_before_its_first_night(lake, day):
    assert say(lake, "repaired", night=day.isoformat())[0].night == day.isoformat()
    with pytest.raises(ValueError, match="no machine was heard on it"):
        say(lake, "note", text="x", night=day.isoformat())


@pytest.mark.parametrize(
    ("action", "machine", "more", "message"),
    [
        ("ack", "pump/id_0", {}, r"machine 'pump/id_0': there is none; did you mean pump/id_0[01], pump/id_0[01]"),
        ("ack", "fan/id_00", {}, r"'fan/id_00': there is none; did you mean north/fan/id_00"),
        ("ack", "xyz", {}, r"there is none; there are fan/a/-6_dB, fan/a/0_dB, north/fan/id_00, pump/id_00, "),
        ("ack", "fan/a", {}, r"is 2: fan/a/-6_dB, fan/a/0_dB; name one"),
        ("ack", "pump/id_01", {}, r"no alarm of pump/id_01 stands on 2026-01-20"),
        ("ack", "pump/id_00", {"night": "2026-01-09"}, r"no alarm of pump/id_00 stands on 2026-01-09"),
        ("ack", "pump/id_00", {"night": "2026-01-21"}, r"2026-01-21: no machine .* near it 2026-01-18, "),
        ("ack", "pump/id_00", {"night": "yesterday"}, r"night 'yesterday' is no date"),
        ("ack", "pump/id_00", {"until": "2026-02-01"}, r"ack: has no until"),
        ("ack", "pump/id_00", {"by": None}, r"HUMWATCH_USER"),
        ("mute", "pump/id_00", {}, r"mute: name its last night, until"),
        ("mute", "pump/id_00", {"until": "31.01.2026"}, r"until '31.01.2026' is no date"),
        ("mute", "pump/id_00", {"until": "2026-01-19"}, r"until 2026-01-19 is before the night 2026-01-20"),
        ("note", "pump/id_00", {}, r"note: has no text"),
        ("repaired", "pump/id_00", {}, r"repaired: name its night, the first after the repair"),
        ("repaired", "pump/id_00", {"night": "2062-01-20"}, r"no machine was heard on it"),
        ("fixed", "pump/id_00", {}, r"action 'fixed' is none of ack, mute, note, repaired"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_an_error_that_says_why_and_keeps_nothing(lake, action, machine, more, message):
    with pytest.raises(ValueError, match=message):
        say(lake, action, machine, **more)
    assert lake.list("actions") == []


LOG = (
    "machine_type,machine_id,condition,action,night,until,text,by,label,from\n"
    "pump,id_00,,ACK,2026-01-12,,bearing ordered,,,\n"
    "fan,a,0_dB,mute,2026-01-12,2026-01-31,,lee,,\n"
    "pump,id_00,,repaired,2026-01-16,,,,,\n"
    "pump,id_01,,,,2026-01-18,,,abnormal,2026-01-17\n"
)


def imported(lake, text):
    return import_labels(lake, text, "log.csv", current_recordings(lake)[0], "kim")


def test_a_log_holds_actions_beside_labels(lake):
    done = imported(lake, LOG)
    assert (done.added, done.actions, done.spans) == (True, 3, 1)
    kept = Actions.read(lake).kept
    assert {(each.action, each.machine.label, each.by, each.until) for each in kept} == {
        ("ack", "pump id_00", "kim", None), ("mute", "fan a 0_dB", "lee", "2026-01-31"),
        ("repaired", "pump id_00", "kim", None),
    }  # fmt: skip
    again = imported(lake, LOG)
    assert (again.added, again.actions, len(lake.list("actions"))) == (False, 0, 1)
    more = imported(lake, LOG + "pump,id_00,,note,2026-01-16,,new bearing,,,\n")
    assert (more.added, more.actions) == (True, 1)
    only = imported(lake, "machine_type,machine_id,action,night,text\npump,id_01,note,2026-01-02,quiet\n")
    assert (only.added, only.actions, only.path, only.spans) == (True, 1, None, 0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("pump,id_07,,note,,,x,,,", r"line 2: machine 'pump/id_07': there is none; did you mean pump/id_0"),
        ("pump,id_00,,note,,,x,,normal,", r"line 2: is an action, and has no label"),
        ("pump,id_00,,note,,,x,,,2026-01-01", r"line 2: is an action, and has no from"),
        (",id_00,,note,,,x,,,", r"line 2: names no machine"),
        ("pump,id_00,,explode,,,x,,,", r"line 2: action 'explode' is none of"),
        ("pump,id_00,,,2026-01-12,,,,normal,2026-01-12", r"line 2: is a label, and has no night"),
        ("pump,id_00,,,,,,,,", r"line 2: label '' is neither"),
    ],
)
def test_a_row_of_a_log_that_cannot_be_imports_nothing(lake, line, message):
    with pytest.raises(BadConfiguration, match=message):
        imported(lake, LOG.replace("\n", f"\n{line}\n", 1))
    assert lake.list("actions") == lake.list("labels") == []
