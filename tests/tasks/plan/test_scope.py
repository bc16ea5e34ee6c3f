"""Scopes: which recordings and parts a run is about."""

import pandas as pd
import pytest

from humwatch.storage.parts import Part
from humwatch.tasks.plan.scope import EVERYTHING, Scope

MACHINES = {
    "fan/id_00": (None, "fan", "id_00"),
    "fan/id_01": (None, "fan", "id_01"),
    "fan/id_10": (None, "fan", "id_10"),
    "fancy/id_00": (None, "fancy", "id_00"),
    "siteA/fan/id_00": ("siteA", "fan", "id_00"),
    "siteA/fan/id_02": ("siteA", "fan", "id_02"),
    "siteA/pump/id_00": ("siteA", "pump", "id_00"),
    "siteB/fan/id_00": ("siteB", "fan", "id_00"),
}
NIGHTS = ["2026-11-20", "2026-11-21"]


def recordings():
    """A row for every machine and night, under an index of its own."""
    rows = [(*machine, night) for machine in MACHINES.values() for night in NIGHTS]
    table = pd.DataFrame(rows, columns=["site", "machine_type", "machine_id", "batch"])
    return table.set_index(pd.Index(range(100, 100 + len(table))))


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("*", list(MACHINES)),
        ("fan/*", ["fan/id_00", "fan/id_01", "fan/id_10"]),
        ("fan/id_0?", ["fan/id_00", "fan/id_01"]),
        ("fan/id_00", ["fan/id_00"]),
        ("siteA/fan/id_0?", ["siteA/fan/id_00", "siteA/fan/id_02"]),
        ("siteA/*", ["siteA/fan/id_00", "siteA/fan/id_02", "siteA/pump/id_00"]),
        ("*/fan/id_00", ["siteA/fan/id_00", "siteB/fan/id_00"]),
        ("FAN/*", []),
        ("fan", []),
        ("", []),
    ],
)
def test_machines_are_chosen_by_a_pattern_on_their_whole_name(pattern, wanted):
    table = recordings()
    found = Scope(machines=pattern).recordings(table)
    assert sorted(set(Scope.names(found))) == sorted(wanted)
    assert len(found) == len(NIGHTS) * len(wanted)
    pd.testing.assert_frame_equal(found, table.loc[found.index])


def test_batches_and_machines_are_both_asked_for():
    found = Scope(frozenset({NIGHTS[1], "2026-01-01"}), "fan/id_0?").recordings(recordings())
    assert list(Scope.names(found)) == ["fan/id_00", "fan/id_01"]
    assert found["batch"].tolist() == [NIGHTS[1]] * 2
    assert Scope(frozenset()).recordings(recordings()).empty


def test_everything_is_everything():
    pd.testing.assert_frame_equal(EVERYTHING.recordings(recordings()), recordings())
    parts = [Part("fan", night, "0") for night in NIGHTS]
    assert EVERYTHING.parts(parts) == parts


def test_parts_are_chosen_by_batch_alone_since_they_hold_many_machines():
    parts = [Part(kind, night, "0") for kind in ("fan", "pump") for night in NIGHTS]
    assert Scope(frozenset({NIGHTS[0]}), "fan/*").parts(parts) == [parts[0], parts[2]]
    assert Scope(machines="fan/*").parts(parts) == parts


def test_nothing_is_chosen_from_nothing():
    assert Scope(machines="fan/*").recordings(recordings()[:0]).empty
