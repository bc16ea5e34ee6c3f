"""Layouts of plants, data sets and recorders: what is made of a path, without a setting."""

from datetime import UTC, datetime

import pytest

from humwatch.storage.reasons import Reason
from humwatch.tasks.ingest.names import read_name


def at(*numbers):
    return datetime(*numbers, tzinfo=UTC)


NIGHT, START = "2026-11-01", at(2026, 11, 1, 1, 0, 0)
# Path (SOURCE's base name first), then what it says.
LAYOUTS = {
    # dates spread over folders, below and above the machine
    "sound/pump_03/2026/11/01/rec_0000.wav": {"machine_id": "pump_03", "batch": NIGHT},
    "sound/2026/11/01/pump_03/rec_0000.wav": {"machine_id": "pump_03", "batch": NIGHT},
    "sound/pump_03/2026-11/01/rec_0000.wav": {"machine_id": "pump_03", "batch": NIGHT},
    "sound/pump_03/2026/11-01/rec_0000.wav": {"machine_id": "pump_03", "batch": NIGHT},
    "bucket/line2/pump_03/2026/11/01/010000.wav": {"machine_type": "line2", "machine_id": "pump_03", "batch": NIGHT},
    "bucket/pump/id_03/2026/11/01/normal/0.wav": {"machine_type": "pump", "machine_id": "id_03", "label": "normal"},
    # Hive's keys, as Spark, Athena and DuckDB write them
    "sound/machine=pump_03/year=2026/month=11/day=01/rec.wav": {"machine_id": "pump_03", "batch": NIGHT},
    "sound/machine=pump_03/year=2026/month=11/day=1/rec.wav": {"machine_id": "pump_03", "batch": NIGHT},
    "sound/site=oslo/type=pump/machine_id=03/dt=2026-11-01/rec.wav": {
        "site": "oslo", "machine_type": "pump", "machine_id": "03", "batch": NIGHT,
    },
    "sound/date=20261101/line=press/asset=7/rec.wav": {"machine_type": "press", "machine_id": "7", "batch": NIGHT},
    # dates as folders and in archives
    "sound/2026-11-01/pump/id_00/rec.wav": {"machine_type": "pump", "machine_id": "id_00", "batch": NIGHT},
    "sound/01.11.2026/pump/id_00/rec.wav": {"machine_type": "pump", "machine_id": "id_00", "batch": NIGHT},
    "sound/21-11-2026/pump/id_00/rec.wav": {"machine_type": "pump", "batch": "2026-11-21"},
    "sound/11-21-2026/pump/id_00/rec.wav": {"machine_type": "pump", "batch": "2026-11-21"},
    "nights/2026-11-01/fan_2026-11-01.zip/fan/id_00/rec.wav": {"machine_type": "fan", "batch": NIGHT},
    # serial numbers are no dates
    "sound/2026-11-21/pump/SMU20210423/0.wav": {
        "machine_type": "pump", "machine_id": "SMU20210423", "batch": "2026-11-21",
    },
    "sound/2026-11-21/pump/SMU20210511/0.wav": {"machine_id": "SMU20210511", "batch": "2026-11-21"},
    # dates and times in file names: the night where no folder has one
    "sound/pump/pump_03/pump_03_20261101_010000.wav": {
        "machine_type": "pump", "machine_id": "pump_03", "batch": NIGHT, "recorded_at": START,
    },
    "sound/pump/pump_03/2026-11-01T01-00-00.wav": {"batch": NIGHT, "recorded_at": START},
    "sound/pump/pump_03/20261101010000.wav": {"batch": NIGHT, "recorded_at": START},
    "sound/pump/pump_03/2026_11_01_01_00_00.wav": {"batch": NIGHT, "recorded_at": START},
    "sound/pump/pump_03/take 7 20261101.wav": {"batch": NIGHT, "recorded_at": None},
    "sound/2026-11-02/pump_03/20261101_230000.wav": {"batch": "2026-11-02", "recorded_at": at(2026, 11, 1, 23)},
    # recorders: AudioMoth; Song Meter; Frontier Labs with zone, and with start and end
    "sound/pump/03/20261101_010000.WAV": {"batch": NIGHT, "recorded_at": START},
    "sound/pump/03/SMU01234_20261101_010000.wav": {"batch": NIGHT, "recorded_at": START},
    "sound/pump/03/20261121T020000-0500_REC.wav": {"batch": "2026-11-21", "recorded_at": at(2026, 11, 21, 7)},
    "sound/pump/03/20261121T020000+1000_20261121T030000+1000.wav": {"recorded_at": at(2026, 11, 20, 16)},
    # a number after a time is no zone
    "sound/pump/03/20261101T010000-0001.wav": {"recorded_at": START},
    # words for labels
    "sound/press/7/OK/0.wav": {"machine_type": "press", "machine_id": "7", "label": "normal"},
    "sound/press/7/NG/0.wav": {"machine_type": "press", "machine_id": "7", "label": "abnormal"},
    "sound/press/7/healthy/0.wav": {"label": "normal"},
    "sound/press/7/Faulty/0.wav": {"label": "abnormal"},
    "sound/press/7/Anomalies/0.wav": {"label": "abnormal"},
    "sound/press/7/NG_0001.wav": {"machine_type": "press", "machine_id": "7", "label": "abnormal"},
    "sound/press/7/good-12.wav": {"label": "normal"},
    "sound/press/7/bad_bearing_0001.wav": {"label": None},
    "mvtec/engine/train/good/0.wav": {"machine_type": "mvtec", "machine_id": "engine", "split": "train",
                                      "label": "normal"},
    # MIMII (Zenodo 3384388), DCASE Task 2 2020 and 2023, and the simulator, as ever
    "-6_dB_fan.zip/fan/id_00/normal/00000000.wav": {
        "machine_type": "fan", "machine_id": "id_00", "batch": "-6_dB", "condition": "-6_dB", "label": "normal",
    },
    "dev_data_fan.zip/fan/train/normal_id_00_00000000.wav": {"machine_type": "fan", "machine_id": "id_00"},
    "ToyCar.zip/ToyCar/train/section_00_source_train_normal_0000_car_A1.wav": {
        "machine_type": "ToyCar", "machine_id": "section_00", "batch": "train", "domain": "source",
    },
    "nights/2026-11-01/fan.zip/fan/id_00/20261101T010000Z.wav": {
        "machine_type": "fan", "machine_id": "id_00", "batch": NIGHT, "recorded_at": START,
    },
}  # fmt: skip


@pytest.mark.parametrize("path", LAYOUTS)
def test_what_a_path_says(path):
    facts = read_name(path)
    assert facts.problem is None
    assert {name: getattr(facts, name) for name in LAYOUTS[path]} == LAYOUTS[path]


@pytest.mark.parametrize(
    "path",
    [
        "11/01/rec_0000.wav",
        "2026/11/rec.wav",
        "sound/pump/2026/rec.wav",
        "sound/month=13/day=40/rec.wav",
        "sound/05-06-2026/id_00/rec.wav",
        "week=47/pump=3/rec.wav",
    ],
)
def test_a_machine_that_would_be_called_like_a_date_or_a_key_is_refused(path):
    assert read_name(path).problem is Reason.UNCLEAR_MACHINE


def test_what_is_given_is_believed_whatever_it_is_called():
    given = {"machine_type": "2026", "machine_id": "11"}
    facts = read_name("2026/11/rec.wav", None, given)
    assert (facts.machine_type, facts.machine_id, facts.problem) == ("2026", "11", None)
