"""The same samples twice: which recording of a machine stays, and what copies in other places are told as."""

import itertools

import numpy as np
import pandas as pd
import pytest
from lakes import build, small
from recordings import RATE_HZ, machine, tone, wav, write_zip

from humwatch.flows.summary import RunSummary
from humwatch.storage.models import Machine
from humwatch.tasks.alarms.facts import night_facts
from humwatch.tasks.plan.repeats import repeats
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.suspicions import suspicions
from humwatch.tasks.settings import AlarmSettings, FitSettings

FAN = {"site": None, "machine_type": "fan", "machine_id": "id_00", "condition": None}
UNKNOWN = {"split": None, "recorded_at": pd.NaT, "batch": "all", "label": None, "reason": None}


def table(*rows):
    """Recordings called a, b, ... that all have the same samples unless told otherwise."""
    names = [chr(ord("a") + index) for index in range(len(rows))]
    return pd.DataFrame(
        [
            {"recording_id": name, **FAN, **UNKNOWN, "sound_hash": "0f", **row}
            for name, row in zip(names, rows, strict=True)
        ]
    )


def left_out(recordings, usable=None):
    usable = np.ones(len(recordings), bool) if usable is None else np.array(usable)
    return "".join(recordings["recording_id"][repeats(recordings, usable)])


def at(day):
    return pd.Timestamp(f"2026-11-{day:02d}", tz="UTC")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([{}, {}, {}], "bc"),
        ([{"sound_hash": "1"}, {"sound_hash": "2"}, {"sound_hash": "2"}], "c"),
        ([{"sound_hash": None}, {"sound_hash": None}], ""),
        ([{"recorded_at": at(3)}, {"recorded_at": at(1)}, {"recorded_at": at(2)}], "ac"),
        ([{}, {"recorded_at": at(1)}], "a"),
        ([{"batch": "2026-11-02"}, {"batch": "2026-11-01"}], "a"),
        ([{"split": "test", "recorded_at": at(1)}, {"split": "train", "recorded_at": at(2)}], "a"),
        ([{"split": None}, {"split": "train"}, {"split": "train"}], "ac"),
        ([{"machine_id": "x"}, {"site": "oslo"}, {"condition": "6_dB"}, {"machine_type": "pump"}, {}, {}], "f"),
    ],
)
def test_one_of_a_machine_stays(rows, expected):
    assert left_out(table(*rows)) == expected


def test_the_order_of_rows_and_their_index_do_not_matter():
    rows = table({"recorded_at": at(2)}, {"recorded_at": at(1)}, {"split": "train"}, {"sound_hash": "1"}, {})
    for order in itertools.permutations(range(5)):
        assert sorted(left_out(rows.iloc[list(order)].set_axis([0] * 5))) == ["a", "b", "e"]


def test_what_is_rejected_otherwise_is_not_what_stays():
    assert left_out(table({}, {}, {}), usable=[False, True, True]) == "c"


@pytest.mark.parametrize("null", [None, np.nan, pd.NA])
def test_nulls_are_one_site(null):
    assert left_out(table({"site": None}, {"site": null})) == "b"


# --- suspicions


def test_a_copy_of_a_training_recording_among_the_test_recordings_is_a_leak():
    rows = table({"split": "train"}, {"split": "test", "reason": "repeated"}, {"split": "test", "sound_hash": "1"})
    told = [(Machine("fan", "id_00"), "1 test recordings are copies of training recordings, a leak: left out")]
    assert suspicions(rows, rows) == told
    assert suspicions(rows[1:2], rows) == told
    assert suspicions(rows[2:], rows) == []


def test_a_stuck_recorder_is_told_as_a_fault_of_its_sensor():
    rows = table({}, *[{"reason": "repeated"}] * 11, {"sound_hash": "1"})
    told = "11 recordings left out with the samples of another: a sensor fault (a stuck recorder), or copies"
    assert suspicions(rows, rows) == [(Machine("fan", "id_00"), told)]


def test_labels_that_contradict_each_other_and_machines_with_the_same_sound():
    rows = table(
        {"label": "normal"}, {"label": "abnormal", "reason": "repeated"}, {"label": "normal", "sound_hash": "1"},
        {"machine_id": "id_02", "label": "normal"}, {"machine_id": "id_02", "sound_hash": "2", "condition": "0_dB"},
        {"machine_id": "id_02", "sound_hash": "2", "condition": "6_dB"},
        {"machine_id": "id_04", "sound_hash": "1", "reason": "silent"},
    )  # fmt: skip
    repeated = "1 recording left out with the samples of another: a sensor fault (a stuck recorder), or copies"
    assert suspicions(rows, rows) == [
        (Machine("fan", "id_00"), repeated),
        (Machine("fan", "id_00"), "2 recordings have the same samples and different labels"),
        (Machine("fan", "id_00"), "2 recordings have the same samples as recordings of fan id_02"),
        (Machine("fan", "id_02"), "1 recordings have the same samples as recordings of fan id_00"),
    ]


# --- in a lake


def rejected(work):
    rows = work.history().rows
    return rows[rows["status"] == "rejected"].groupby("reason").size().to_dict()


def test_the_same_samples_in_another_file_are_a_copy(tmp_path):
    samples = np.round(tone(1, channels=2) * 2**15).astype(np.int16)
    other_channel = np.column_stack([samples[:, 0], samples[::-1, 1]])
    takes = {
        "first.wav": wav(samples),
        "as_flac.flac": wav(samples, container="FLAC"),
        "in_24_bits.wav": wav(samples, subtype="PCM_24"),
        "other_channel_not_used.wav": wav(other_channel),
        "other_rate.wav": wav(samples, rate_hz=2 * RATE_HZ),
        "one_sample_less.wav": wav(samples[:-1]),
    }
    source = write_zip(tmp_path / "plant.zip", {f"fan/id_00/normal/{name}": data for name, data in takes.items()})
    work = Run(str(tmp_path / "lake"), small(health={"duration_tolerance": 2.0}))
    build(work, source)
    rows = work.catalog().recordings
    assert rows["sound_hash"].str.fullmatch(r"[0-9a-f]{16}").all()
    of_one = rows[rows["sound_hash"].duplicated(keep=False)]
    assert {path.rpartition("/")[2] for path in of_one["path"]} == set(list(takes)[:4])
    assert rejected(work) == {"repeated": 3}


def test_a_test_set_that_leaks_is_scored_without_its_copies_and_told(tmp_path):
    train = {f"section_00_source_train_normal_{index:04d}.wav": wav(tone(index)) for index in range(8)}
    copies = {f"section_00_source_test_normal_{index:04d}.wav": wav(tone(index)) for index in range(3)}
    fresh = {f"section_00_source_test_normal_{index:04d}.wav": wav(tone(index)) for index in range(50, 53)}
    faults = {
        f"section_00_source_test_anomaly_{index:04d}.wav": wav(tone(index, frequency_hz=900.0)) for index in range(3)
    }
    members = {f"{name.split('_')[3]}/{name}": data for name, data in {**train, **copies, **fresh, **faults}.items()}
    source = write_zip(tmp_path / "dev_fan.zip", members)
    work = Run(str(tmp_path / "lake"), small())
    assert build(work, source)[2:] == (1, 14)
    assert rejected(work) == {"repeated": 3}
    rows = work.catalog().recordings
    assert set(rows["split"][rows["reason"] == "repeated"]) == {"test"}
    assert (rows["split"][rows["status"] == "accepted"] == "train").sum() == 8
    summary = RunSummary("run", work.lake_uri)
    summary.count(work)
    assert summary.as_json()["same_samples"] == [
        "dev_fan section_00: 3 test recordings are copies of training recordings, a leak: left out"
    ]


def test_a_stuck_recorder_is_a_sensor_fault_and_trains_with_one_take(tmp_path):
    nights = [f"2026-11-{day:02d}" for day in (1, 2, 3)]
    for index, night in enumerate(nights):
        stuck = {f"fan/id_00/{night.replace('-', '')}_{hour:02d}0000.wav": wav(tone(7)) for hour in range(6)}
        other = machine("pump/id_00", 6, 0, night=index)
        (tmp_path / "plant" / night).mkdir(parents=True)
        write_zip(tmp_path / "plant" / night / "night.zip", {**stuck, **other})
    work = Run(
        str(tmp_path / "lake"),
        small(fit={"training": "assumed_normal", "commissioning_nights": 2, "min_training_recordings": 4}),
    )
    build(work, *(tmp_path / "plant" / night for night in reversed(nights)))
    assert rejected(work) == {"repeated": 17}
    rows = work.history().rows
    fans = rows[rows["machine_type"] == "fan"]
    assert fans["recorded_at"][fans["status"] == "accepted"].tolist() == [pd.Timestamp("2026-11-01", tz="UTC")]
    recordings = work.catalog().recordings
    empty = pd.DataFrame(
        columns=["recording_id", "site", "machine_type", "machine_id", "condition", "in_training", "p_value",
                 "model_version", "score", "drift"]
    )  # fmt: skip
    for night, n_rejected in zip(nights, (5, 6, 6), strict=True):
        facts = night_facts(night, recordings, work.history().nights, empty, {}, AlarmSettings(), FitSettings())
        facts = facts.set_index("machine_type")
        assert facts.loc["fan", "state"] == "unhealthy_sensor"
        assert facts.loc["fan", "reason"].startswith(f"{n_rejected} of 6 recordings rejected ({n_rejected} repeated): ")
        assert facts.loc["pump", "state"] != "unhealthy_sensor"
