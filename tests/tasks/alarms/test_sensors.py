"""A night's sensor: what makes it unhealthy beside the recordings that trained the model, and what does not."""

import numpy as np
import pandas as pd
import pytest
from passports import passport

from humwatch.storage.models import Machine
from humwatch.storage.tables import MACHINE
from humwatch.tasks.alarms.facts import night_facts
from humwatch.tasks.alarms.sensors import sensor_fault, told_few, too_few, with_dropouts
from humwatch.tasks.settings import AlarmSettings, FitSettings

GOOD = {
    "batch": "2026-01-20", "status": "accepted", "reason": None, "rms_dbfs": -25.0, "ac_rms_dbfs": -25.0,
    "dc_offset": 0.0, "channels_heard": 1, "silent_fraction": 0.0, "constant_fraction": 0.0,
}  # fmt: skip
REPEATED, SILENT = ({"status": "rejected", "reason": reason} for reason in ("repeated", "silent"))


def recordings(*rows, **common):
    """Recordings like GOOD but for what is given."""
    return pd.DataFrame([GOOD | common | row for row in rows])


def fault(night, training=None):
    training = recordings(*[{}] * 20) if training is None else training
    return sensor_fault(night, training, with_dropouts(night, training), 12.0)


def gated(*shares):
    """Training recordings of a machine that stands still for these shares of them."""
    return recordings(*[{"silent_fraction": share, "constant_fraction": share} for share in shares])


def test_a_healthy_night():
    assert fault(recordings(*[{}] * 6)) is None
    assert fault(recordings({})) is None


def test_most_recordings_rejected_with_their_reasons():
    stuck = "4 of 6 recordings rejected (3 repeated, 1 silent): the recorder is stuck, or copies were sent"
    assert fault(recordings(*[REPEATED] * 3, SILENT, {}, {})) == stuck
    assert fault(recordings(*[SILENT] * 6)) == "6 of 6 recordings rejected (6 silent)"
    assert fault(recordings(*[SILENT] * 3, *[{}] * 3)) is None
    assert fault(recordings(*[SILENT] * 6), recordings({})[:0]).startswith("6 of 6")


@pytest.mark.parametrize("column", ["silent_fraction", "constant_fraction"])
def test_dropouts_in_most_recordings(column):
    dropouts = {column: 0.4}
    told = "4 of 6 recordings with dropouts: pieces that are silent or never change"
    assert fault(recordings(*[dropouts] * 4, {}, {})) == told
    assert fault(recordings(*[dropouts] * 3, *[{}] * 3)) is None
    both = fault(recordings(*[dropouts] * 2, *[SILENT] * 2, {}, {}))
    assert both == f"2 of 6 recordings rejected (2 silent); {told.replace('4', '2', 1)}"


def test_dropouts_are_what_training_recordings_had_not():
    def dropouts(share, training):
        return with_dropouts(recordings({"constant_fraction": share}), training).tolist() == [True]

    assert not dropouts(0.01, gated(0.0, 0.0))
    assert dropouts(0.011, gated(0.0, 0.0))
    assert not dropouts(0.44, gated(0.0, 0.0, 0.3))
    assert dropouts(0.46, gated(0.0, 0.0, 0.3))
    assert not dropouts(1.0, gated(0.0, 0.7))


def test_of_earlier_versions_only_silence_is_known():
    before = recordings(*[{"constant_fraction": None}] * 5).astype({"constant_fraction": float})
    assert fault(recordings(*[{"silent_fraction": 0.3, "constant_fraction": 0.4}] * 6), before).startswith("6 of 6")
    unknown = before.assign(silent_fraction=np.nan)
    assert fault(recordings(*[{"constant_fraction": 0.4}] * 6), unknown) is None
    assert not with_dropouts(recordings(SILENT | {"constant_fraction": 1.0}), gated(0.0)).any()


@pytest.mark.parametrize("level", [-38.0, -12.0])
def test_the_level_jumps(level):
    assert fault(recordings(*[{"rms_dbfs": level, "ac_rms_dbfs": level}] * 6)) == (
        f"level {level + 25:+.1f} dB from that of the training recordings"
    )
    near = level - np.sign(level + 25)
    assert fault(recordings(*[{"rms_dbfs": near, "ac_rms_dbfs": near}] * 6)) is None


@pytest.mark.parametrize("measured", [True, False])
def test_a_dead_microphone_whose_offset_is_as_loud_as_the_machine(measured):
    dead = {"rms_dbfs": -25.0, "dc_offset": np.sqrt(10**-2.5 - 10**-7), "ac_rms_dbfs": -70.0 if measured else np.nan}
    assert fault(recordings(*[dead] * 6)) == "level without the DC offset -45.0 dB from that of the training recordings"


def test_an_offset_that_leaves_the_range_of_the_training_recordings():
    usual = recordings(*[{"dc_offset": offset} for offset in (-0.01, 0.0, 0.02)], rms_dbfs=-20.0, ac_rms_dbfs=-20.0)
    told = "DC offset {} of full scale; +0 in the training recordings"
    for offset, reason in ((0.05, told.format("+0.05")), (0.04, None), (-0.04, told.format("-0.04")), (-0.03, None)):
        night = recordings(*[{"dc_offset": offset}] * 6, rms_dbfs=-18.0, ac_rms_dbfs=-20.0)
        assert fault(night, usual) == reason
    assert fault(recordings({"dc_offset": 0.5}, rms_dbfs=-25.0), recordings({})[:0]) is None


def test_few_recordings_are_told_and_too_few_are_not_judged():
    six, many, none = np.array([6, 6, 5]), np.array([24, 24, 23]), np.array([], np.int64)
    assert told_few(1, six) == "judged by 1 of usually 6 recordings"
    assert told_few(3, six) is None
    assert too_few(1, six) is None
    assert too_few(2, many) == "2 of usually 24 recordings: too few to be judged"
    assert too_few(3, many) is None
    assert too_few(2, np.array([24, 24, 2])) is None
    assert (told_few(1, none), too_few(1, none)) == (None, None)


def test_a_night_is_judged_by_its_recordings_without_dropouts():
    fan = {"site": None, "machine_type": "fan", "machine_id": "id_00", "condition": None, "label": None}
    named = {"clipped_fraction": 0.0, **fan}
    tonight = recordings(
        *[{"recording_id": name, "constant_fraction": 0.4 * (name == "a"), **named} for name in "abc"]
    )  # fmt: skip
    training = recordings(*[{"recording_id": f"t{index}", **named} for index in range(8)], batch="2026-01-01")
    training.loc[4:, "batch"] = "2026-01-02"
    scored = {"in_training": False, "model_version": "v", "p_value": 0.5, "drift": 0.1, **fan}
    scores = pd.DataFrame([{"recording_id": name, "score": 9.0 if name == "a" else 1.5, **scored} for name in "abc"])
    passports = {
        (Machine("fan", "id_00"), "v"): passport(
            calibration_scores=[1.0, 2.0, 3.0], training_recordings=training["recording_id"].tolist()
        )
    }

    def facts(night):
        known = pd.concat([training, night], ignore_index=True)
        nights = known[[*MACHINE, "batch"]].drop_duplicates().assign(usable=1)
        judged = night_facts("2026-01-20", known, nights, scores, passports, AlarmSettings(), FitSettings())
        (row,) = judged.to_dict("records")
        return row

    one_lost = facts(tonight)
    assert (one_lost["n_scored"], one_lost["score_mean"], one_lost["state"]) == (2, 1.5, None)
    assert one_lost["reason"] == "1 of 3 recordings with dropouts: pieces that are silent or never change"
    assert facts(tonight.assign(constant_fraction=0.0))["n_scored"] == 3
    most_lost = facts(tonight.assign(constant_fraction=[0.4, 0.4, 0.0]))
    assert (most_lost["state"], most_lost["reason"][:6]) == ("unhealthy_sensor", "2 of 3")
    assert np.isnan(most_lost["night_score"])
    few = facts(tonight[2:])
    assert (few["n_scored"], few["state"], few["reason"]) == (1, None, "judged by 1 of usually 4 recordings")
