"""Roles on a fleet without labels: a machine's first nights train, and nothing that comes later changes that."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from humwatch.tasks.plan.roles import assign_roles, commissioning
from humwatch.tasks.plan.split import split
from humwatch.tasks.settings import FitSettings

NIGHTS = [f"2026-11-{day:02d}" for day in range(1, 11)]


def machine(nights, each=4, machine_id="id_00", **columns):
    """`each` unlabelled recordings a night; newer nights first, so that order shows."""
    row = {"site": None, "machine_type": "fan", "machine_id": machine_id, "condition": None, "label": None} | columns
    return pd.DataFrame([row | {"batch": night} for night in reversed(nights) for _ in range(each)])


def fleet(*machines):
    table = pd.concat(machines, ignore_index=True)
    return table.set_index(pd.Index(range(1000, 1000 + len(table))))


def window(nights=3, at_least=5, **settings):
    return FitSettings(
        training="assumed_normal", commissioning_nights=nights, min_training_recordings=at_least, **settings
    )


def nights_of(roles, recordings, role):
    return sorted(recordings.loc[roles == role, "batch"].unique())


def test_the_first_nights_train_and_the_later_ones_test():
    recordings = fleet(machine(NIGHTS))
    roles = commissioning(recordings, window(3))
    assert roles.index.equals(recordings.index)
    assert nights_of(roles, recordings, "train") == NIGHTS[:3]
    assert nights_of(roles, recordings, "test") == NIGHTS[3:]
    assert roles.value_counts().to_dict() == {"train": 12, "test": 28}


def test_every_machine_and_condition_has_a_window_of_its_own():
    recordings = fleet(
        machine(NIGHTS),
        machine(NIGHTS[5:], machine_id="id_02"),
        machine(NIGHTS[2:], site="oslo"),
        machine(NIGHTS[4:], condition="6_dB"),
        machine(NIGHTS[1:], machine_type="pump"),
    )
    roles = commissioning(recordings, window(2))
    first = recordings[roles == "train"].groupby(["machine_type", "machine_id", "site", "condition"], dropna=False)[
        "batch"
    ]
    assert sorted(first.unique().map(sorted).tolist()) == [NIGHTS[start : start + 2] for start in (0, 1, 2, 4, 5)]


def by_hand(rows, fit):
    """The roles of one machine, as the words say it."""
    nights = sorted(rows["batch"].unique())
    if fit.commissioning_from or fit.commissioning_until:
        last = str(fit.commissioning_until or nights[-1])
        inside = [night for night in nights if str(fit.commissioning_from or "") <= night <= last]
        inside = inside if nights[-1] >= last else []
    else:
        inside = nights[: fit.commissioning_nights] if len(nights) >= fit.commissioning_nights else []
    normals = rows["batch"].isin(inside) & (rows["label"] != "abnormal")
    if normals.sum() < fit.min_training_recordings:
        return ["test"] * len(rows)
    return [
        "test" if night not in inside else "unused" if label == "abnormal" else "train"
        for night, label in zip(rows["batch"], rows["label"], strict=True)
    ]


@pytest.mark.parametrize(
    "settings",
    [
        window(3),
        window(1, at_least=1),
        window(3, at_least=8),
        window(commissioning_from=date(2026, 11, 3)),
        window(commissioning_until=date(2026, 11, 4)),
        window(commissioning_from=date(2026, 11, 3), commissioning_until=date(2026, 11, 9)),
    ],
)
def test_a_random_fleet_has_the_roles_of_each_machine_by_itself(settings):
    draw = np.random.default_rng(0)
    rows = [
        {"site": site, "machine_type": kind, "machine_id": number, "condition": None, "batch": night, "label": label}
        for site in (None, "oslo")
        for kind in ("fan", "pump")
        for number in ("id_00", "id_01", "id_02")
        for night in draw.choice(NIGHTS, draw.integers(1, 10), replace=False)
        for label in draw.choice(["normal", "abnormal", None], draw.integers(1, 5))
    ]
    recordings = fleet(pd.DataFrame(rows).sample(frac=1, random_state=0))
    expected = recordings.groupby(["site", "machine_type", "machine_id"], dropna=False, group_keys=False).apply(
        lambda group: pd.Series(by_hand(group, settings), index=group.index)
    )
    roles = commissioning(recordings, settings)
    assert roles.to_dict() == expected.to_dict()
    assert set(roles) > {"test"}


def test_a_window_that_is_not_over_trains_nothing():
    recordings = fleet(machine(NIGHTS[:3]))
    assert set(commissioning(recordings, window(4))) == {"test"}
    assert set(commissioning(recordings, window(3))) == {"train"}


def test_a_window_given_by_dates_is_over_when_its_last_night_has_been_seen():
    settings = window(1, commissioning_from=date(2026, 11, 2), commissioning_until=date(2026, 11, 4))
    assert set(commissioning(fleet(machine(NIGHTS[:3])), settings)) == {"test"}
    recordings = fleet(machine(NIGHTS[:4]))
    roles = commissioning(recordings, settings)
    assert nights_of(roles, recordings, "train") == NIGHTS[1:4]
    assert nights_of(roles, recordings, "test") == NIGHTS[:1]
    # Nothing was recorded on its last night: it is over with the next one.
    gap = fleet(machine([*NIGHTS[:3], NIGHTS[6]]))
    roles = commissioning(gap, settings)
    assert nights_of(roles, gap, "train") == NIGHTS[1:3]


@pytest.mark.parametrize(
    ("first", "last", "trained"),
    [
        (None, date(2026, 11, 4), NIGHTS[:4]),
        (date(2026, 11, 8), None, NIGHTS[7:]),
        (date(2026, 11, 4), date(2026, 11, 4), [NIGHTS[3]]),
        (date(2025, 1, 1), date(2025, 12, 31), []),
    ],
)
def test_a_window_by_dates_may_be_open_at_an_end(first, last, trained):
    recordings = fleet(machine(NIGHTS, each=5))
    roles = commissioning(recordings, window(14, commissioning_from=first, commissioning_until=last))
    assert nights_of(roles, recordings, "train") == trained


def test_a_window_with_too_few_recordings_trains_nothing():
    recordings = fleet(machine(NIGHTS, each=2), machine(NIGHTS, each=3, machine_id="id_02"))
    roles = commissioning(recordings, window(2, at_least=5))
    assert set(roles[recordings["machine_id"] == "id_00"]) == {"test"}
    assert (roles[recordings["machine_id"] == "id_02"] == "train").sum() == 6


def test_what_is_labelled_abnormal_in_the_window_is_left_out_and_does_not_count():
    recordings = fleet(
        machine(NIGHTS[:2], each=1, label="abnormal"),
        machine(NIGHTS, each=3),
        machine(NIGHTS[:1], each=1, label="normal"),
    )
    roles = commissioning(recordings, window(2, at_least=7))
    assert set(roles[recordings["label"] == "abnormal"]) == {"unused"}
    assert roles.value_counts().to_dict() == {"test": 24, "train": 7, "unused": 2}
    # With one more recording asked for, the abnormal ones would have to count.
    assert set(commissioning(recordings, window(2, at_least=8))) == {"test"}


def test_abnormal_recordings_after_the_window_are_tested():
    recordings = fleet(machine(NIGHTS[:4]), machine(NIGHTS[4:5], label="abnormal"))
    roles = commissioning(recordings, window(3))
    assert set(roles[recordings["label"] == "abnormal"]) == {"test"}


def test_later_nights_leave_the_window_where_it_is():
    before = commissioning(fleet(machine(NIGHTS[:4])), window(3))
    recordings = fleet(machine(NIGHTS))
    after = commissioning(recordings, window(3))
    assert (before == "train").sum() == (after == "train").sum() == 12
    assert nights_of(after, recordings, "train") == NIGHTS[:3]


def test_a_late_arrival_belongs_to_its_own_night():
    """The batch says when it was recorded, whenever it came in."""
    recordings = fleet(machine(NIGHTS[:5]), machine(NIGHTS[1:2], each=1))
    roles = commissioning(recordings, window(3))
    assert roles.iloc[-1] == "train"
    recordings = fleet(machine(NIGHTS[:5]), machine(NIGHTS[4:5], each=1))
    assert commissioning(recordings, window(3)).iloc[-1] == "test"


def test_the_order_of_rows_says_nothing():
    recordings = fleet(machine(NIGHTS), machine(NIGHTS[3:], machine_id="id_02"))
    roles = commissioning(recordings, window(3))
    shuffled = recordings.sample(frac=1, random_state=0)
    pd.testing.assert_series_equal(commissioning(shuffled, window(3)), roles.loc[shuffled.index])


def test_which_rule_holds_is_a_setting():
    recordings = fleet(machine(NIGHTS, label="normal"), machine(NIGHTS[-1:], label="abnormal"))
    recordings = recordings.assign(split=None, file_key=[str(n) for n in range(len(recordings))])
    for mode in ("holdout", "paper"):
        settings = FitSettings(training="labelled", split=mode)
        pd.testing.assert_series_equal(assign_roles(recordings, settings, 3), split(recordings, seed=3, mode=mode))
    assert not assign_roles(recordings, FitSettings(), 3).equals(assign_roles(recordings, FitSettings(), 4))
    by_trust = [assign_roles(recordings, window(3), seed) for seed in (0, 1)]
    pd.testing.assert_series_equal(*by_trust)
    pd.testing.assert_series_equal(by_trust[0], commissioning(recordings, window(3)))


def test_no_recordings_have_no_roles():
    assert commissioning(fleet(machine(NIGHTS))[:0], window(3)).empty
