"""The fleet on a night: who comes first, since when, and what changed since the night before."""

import re

import pandas as pd
import pytest

from humwatch.storage.tables import MACHINE_NIGHTS
from humwatch.tasks.plan.actions import ACTION_COLUMNS
from humwatch.tasks.reports.night.fleet_view import STATES, fleet_of

MODEL = ("net", "gmm", 0)


def rows(machine_id, states, *, model=MODEL, **facts):
    """Rows of one machine from 2026-01-01 on; a state None leaves its night out; `alarm_since` follows the states."""
    since, found = None, []
    for day, state in enumerate(states, 1):
        night = f"2026-01-{day:02d}"
        raised = state == "alarm" and since is None
        since = night if raised else since if state in ("alarm", "silent", None) else None
        if state is None:
            continue
        row = {
            "machine_type": "fan", "machine_id": machine_id, "backbone": model[0], "detector": model[1],
            "seed": model[2], "night": night, "state": state, "new_alarm": raised, "alarm_since": since,
        }  # fmt: skip
        found.append(row | facts)
    return found


def fleet(*machines, night="2026-01-03"):
    found = [row for machine in machines for row in machine]
    return fleet_of(pd.DataFrame(found, columns=[*MACHINE_NIGHTS.names, *ACTION_COLUMNS]), night, MODEL)


def names(views):
    return [view.machine.machine_id for view in views]


def test_the_most_urgent_come_first():
    found = fleet(
        *(rows(state, [state]) for state in sorted(STATES)),
        rows("more", ["attention"], evidence=7.0, level_alarm=9.0),
        rows("less", ["attention"], evidence=6.0, level_alarm=9.0),
        rows("old alarm", ["alarm", "alarm"])[1:],
        night="2026-01-01",
    )
    assert names(found.machines) == [
        "alarm",
        "more",
        "less",
        "attention",
        "unhealthy_sensor",
        "silent",
        "learning",
        "normal",
    ]
    both = fleet(rows("new", [None, "alarm"]), rows("old", ["alarm", "alarm"]), night="2026-01-02")
    assert names(both.machines) == ["new", "old"]


def test_what_somebody_knows_of_comes_after_what_nobody_does():
    both = fleet(
        rows("new", ["normal", "alarm"], acknowledged_by="kim"),
        rows("muted", ["alarm", "alarm"], muted_until="2026-02-01"),
        rows("old", ["alarm", "alarm"], level_alarm=9.0),
        rows("unusual", ["normal", "attention"]),
        night="2026-01-02",
    )
    assert names(both.machines) == ["old", "new", "muted", "unusual"]
    assert [view.is_known for view in both.machines] == [False, True, True, False]


def test_every_state_is_counted_in_its_order():
    found = fleet(rows("a", ["alarm"]), rows("b", ["normal"]), rows("c", ["normal"]), night="2026-01-01")
    assert found.counts() == {
        "alarm": 1, "attention": 0, "unhealthy_sensor": 0, "silent": 0, "learning": 0, "normal": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("states", "since"),
    [
        (["normal", "normal", "normal"], "2026-01-01"),
        (["normal", "attention", "attention"], "2026-01-02"),
        (["attention", "normal", "attention"], "2026-01-03"),
        (["alarm", "silent", "alarm"], "2026-01-01"),  # the alarm stood while the machine was silent
        (["silent", None, "silent"], "2026-01-01"),
    ],
)
def test_a_state_lasts_since_its_first_night_in_a_row(states, since):
    assert fleet(rows("a", states)).machines[0].since == since


@pytest.mark.parametrize(
    ("states", "changes"),
    [
        (["normal", "normal", "normal"], []),
        (["normal", "normal", "alarm"], ["New alarms"]),
        (["normal", "alarm", "alarm"], []),
        (["normal", "alarm", "normal"], ["Alarms cleared"]),
        (["normal", "alarm", "silent"], ["Newly silent"]),
        (["normal", "silent", "silent"], []),
        (["normal", "silent", "normal"], ["Back"]),
        (["alarm", "silent", "alarm"], ["Back"]),
        (["normal", "normal", "unhealthy_sensor"], ["Sensors newly unhealthy"]),
        (["normal", "unhealthy_sensor", "unhealthy_sensor"], []),
        ([None, None, "learning"], ["Heard for the first time"]),
    ],
)
def test_what_changed_is_told_against_the_night_before(states, changes):
    found = fleet(rows("a", states), rows("other", ["normal", "normal", "normal"]))
    assert found.previous == "2026-01-02"
    assert {title: names(views) for title, views in found.changes().items()} == {title: ["a"] for title in changes}


def test_the_night_before_is_the_last_one_that_was_judged():
    found = fleet(rows("a", ["normal", None, "silent"]))
    assert found.previous == "2026-01-01"
    assert list(found.changes()) == ["Newly silent"]
    assert fleet(rows("a", [None, None, "normal"])).changes() == {}


def test_later_nights_and_machines_without_tonight_are_left_out():
    found = fleet(rows("a", ["normal", "alarm", "alarm"]), rows("gone", ["normal"]), night="2026-01-02")
    assert names(found.machines) == ["a"]
    assert [row["night"] for row in found.machines[0].nights] == ["2026-01-01", "2026-01-02"]


def test_one_model_is_shown_and_the_others_of_tonight_are_kept_beside_it():
    other = ("net", "knn", 0)
    found = fleet(rows("a", ["normal", "normal", "normal"]), rows("a", ["alarm", "alarm", "alarm"], model=other))
    (view,) = found.machines
    assert view.state == "normal"
    assert [(row["detector"], row["night"], row["state"]) for row in view.others] == [("knn", "2026-01-03", "alarm")]


def test_pages_have_names_of_their_own_that_any_place_can_hold():
    hostile = ["a/b", "a b", "a_b", "../a", "<a>", "ä", '"', "%2F", "A_B"]
    found = fleet(*(rows(name, ["normal"]) for name in hostile), rows("a_b", ["normal"], site="x"), night="2026-01-01")
    pages = [view.page for view in found.machines]
    assert len({page.lower() for page in pages}) == len(pages) == 10
    assert [page for page in pages if not re.fullmatch(r"machines/fan-[A-Za-z0-9._-]+\.html", page)] == []


def test_evidence_is_told_as_a_share_of_the_level_of_an_alarm():
    found = fleet(
        rows("half", ["normal"], evidence=4.0, level_alarm=8.0),
        rows("no level", ["normal"], evidence=4.0),
        rows("none", ["normal"], level_alarm=8.0),
        night="2026-01-01",
    )
    assert {view.machine.machine_id: view.of_alarm for view in found.machines} == {
        "half": 0.5,
        "no level": None,
        "none": None,
    }
