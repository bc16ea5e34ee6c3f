"""Facts from names: real data sets' names, every rule, and names that contradict themselves."""

from dataclasses import asdict
from datetime import UTC, datetime

import pytest

from humwatch.storage.errors import BadConfiguration
from humwatch.storage.reasons import Reason
from humwatch.tasks.ingest.name_rules import NameRules
from humwatch.tasks.ingest.names import file_key, read_name
from humwatch.tasks.plan.times import date_of, parse_time, strip_dates, time_of
from humwatch.tasks.settings import IngestSettings

NOTHING = {
    "site": None,
    "machine_id": "all",
    "batch": "all",
    "condition": None,
    "domain": None,
    "label": None,
    "split": None,
    "recorded_at": None,
    "channel": None,
    "attributes": None,
    "problem": None,
}


def pattern_of(expression):
    return NameRules.of(IngestSettings(name_pattern=expression))


def facts(machine_type, **others):
    return NOTHING | {"machine_type": machine_type} | others


def said(path):
    described = asdict(read_name(path))
    del described["origins"], described["above"], described["further"]
    return described


CASES = {
    # DCASE 2023 as it is packed
    "dcase2023_ToyCar.zip/ToyCar/train/section_00_source_train_normal_0004_car_B1_spd_31V_mic_1.flac": facts(
        "ToyCar",
        machine_id="section_00",
        split="train",
        domain="source",
        label="normal",
        attributes="car_B1_spd_31V_mic_1",
        batch="train",
    ),
    "dcase2023_ToyCar.zip/ToyCar/test/section_00_target_test_anomaly_0049_car_E2_spd_40V_mic_2.flac": facts(
        "ToyCar",
        machine_id="section_00",
        split="test",
        domain="target",
        label="abnormal",
        attributes="car_E2_spd_40V_mic_2",
        batch="test",
    ),
    # DCASE 2020: development (in two layouts), evaluation without label
    "dcase2020_samples.zip/valve/id_02/normal/normal_id_02_00000017.wav": facts(
        "valve", machine_id="id_02", label="normal"
    ),
    "dev_data_fan.zip/fan/test/anomaly_id_02_00000003.wav": facts(
        "fan", machine_id="id_02", label="abnormal", split="test", batch="test"
    ),
    "eval_data_test_ToyConveyor.zip/ToyConveyor/test/id_05_00000003.wav": facts(
        "ToyConveyor", machine_id="id_05", split="test", batch="test"
    ),
    "dev_data/ToyCar/train/normal_id_01_00000000.wav": facts(
        "ToyCar", machine_id="id_01", label="normal", split="train", batch="train"
    ),
    # DCASE 2021: domain in the folder too; evaluation
    "dev_data_gearbox.zip/gearbox/source_test/section_01_source_test_normal_0012.wav": facts(
        "gearbox", machine_id="section_01", domain="source", split="test", label="normal", batch="test"
    ),
    "eval_data_test_gearbox.zip/gearbox/target_test/section_03_target_test_0199.wav": facts(
        "gearbox", machine_id="section_03", domain="target", split="test", batch="test"
    ),
    "eval_data/gearbox/target_test/section_03_0199.wav": facts(
        "gearbox", machine_id="section_03", domain="target", split="test", batch="test"
    ),
    # DCASE 2022 to 2025
    "eval.zip/slider/test/section_00_test_0000.wav": facts(
        "slider", machine_id="section_00", split="test", batch="test"
    ),
    "eval_data/raw/ToyDrone/test/section_00_0000.wav": facts(
        "ToyDrone", machine_id="section_00", split="test", batch="test"
    ),
    "section.zip/3DPrinter/section_00_0000.wav": facts("3DPrinter", machine_id="section_00"),
    "dev.zip/bearing/train/section_00_source_train_normal_0000_noAttribute.wav": facts(
        "bearing",
        machine_id="section_00",
        split="train",
        domain="source",
        label="normal",
        attributes="noAttribute",
        batch="train",
    ),
    "dev.zip/ToyCar/supplemental/section_00_source_supplemental_normal_0000_noAttribute.wav": facts(
        "ToyCar",
        machine_id="section_00",
        split="supplemental",
        domain="source",
        label="normal",
        attributes="noAttribute",
        batch="supplemental",
    ),
    # MIMII, with and without its condition
    "mimii_fan.zip/fan/id_00/abnormal/00000000.wav": facts("fan", machine_id="id_00", label="abnormal"),
    "-6_dB_fan.zip/fan/id_00/normal/00000000.wav": facts(
        "fan", machine_id="id_00", label="normal", condition="-6_dB", batch="-6_dB"
    ),
    "6_dB_fan.zip/fan/id_00/normal/00000000.wav": facts(
        "fan", machine_id="id_00", label="normal", condition="6_dB", batch="6_dB"
    ),
    "mimii/0_dB/pump/id_04/abnormal/00000001.wav": facts(
        "pump", machine_id="id_04", label="abnormal", condition="0_dB", batch="0_dB"
    ),
    "mimii/valve_-6_dB/id_04/abnormal/00000001.wav": facts(
        "valve", machine_id="id_04", label="abnormal", condition="-6_dB", batch="-6_dB"
    ),
    # folders with any ID
    "bldc_motor.zip/bldc/M4/abnormal/bearing_1700rpm.wav": facts("bldc", machine_id="M4", label="abnormal"),
    "x.zip/pump/alpha/recording one.wav": facts("pump", machine_id="alpha"),
    "fan/id_00/anomalous/0.wav": facts("fan", machine_id="id_00", label="abnormal"),
    "site/hall/compressor/C-17b/normal/0.wav": facts("compressor", machine_id="C-17b", label="normal"),
    "fan.zip/train/id_00/normal/0.wav": facts("fan", machine_id="id_00", split="train", label="normal"),
    # no ID, no type
    "fan.zip/a.wav": facts("fan"),
    "fan.tar.gz/normal/a.wav": facts("fan", label="normal"),
    "fan.zip/fan/a.wav": facts("fan"),
    "archive.zip/fan/normal/a.wav": facts("fan", label="normal"),
    "pumps.zip/pump_0007/a.wav": facts("pumps", machine_id="pump_0007"),
    "a.wav": facts("unknown"),
    # dates
    "2026-11-21/pump.zip/pump/pump_0007/x.wav": facts("pump", machine_id="pump_0007", batch="2026-11-21"),
    "lake/20261121/pump.zip/pump/pump_0007/20261121T020000Z.wav": facts(
        "pump",
        machine_id="pump_0007",
        batch="2026-11-21",
        recorded_at=datetime(2026, 11, 21, 2, tzinfo=UTC),
    ),
    "pump_2026-11-21.zip/a.wav": facts("pump", batch="2026-11-21"),
    "2026-11-21_-6_dB_pump.tgz/pump/id_00/a.wav": facts(
        "pump", machine_id="id_00", condition="-6_dB", batch="2026-11-21"
    ),
    "00000000/pump/id_00/a.wav": facts("pump", machine_id="id_00"),
    # in a folder above the archive, and a name seen before
    "fleet/fan/id_00.zip/normal/a.wav": facts("fan", machine_id="id_00", label="normal"),
    "night/fan.zip/id_00/a.wav#2": facts("fan", machine_id="id_00"),
    # a speed is no label, a label word in a longer name neither
    "bldc_motor.zip/bldc/M1/normal/healthy_1400rpm.wav": facts("bldc", machine_id="M1", label="normal"),
    "x.zip/bldc/M1/abnormal/normal_load_3.wav": facts("bldc", machine_id="M1", label="abnormal"),
    "x.zip/bldc/M1/anomaly_0003.wav": facts("bldc", machine_id="M1", label="abnormal"),
}


@pytest.mark.parametrize("path", CASES)
def test_names(path):
    assert said(path) == CASES[path]


@pytest.mark.parametrize(
    ("path", "origins"),
    [
        (
            "sound/2026/11/01/pump/id_00/normal/20261102T010000Z.wav",
            {"machine_type": "folder", "machine_id": "folder", "batch": "folder date", "label": "folder",
             "recorded_at": "file name"},
        ),
        (
            "-6_dB_fan.zip/normal_0001.wav",
            {"machine_type": "archive name", "machine_id": "default", "batch": "archive name",
             "condition": "archive name", "label": "file name"},
        ),
        (
            "sound/machine=7/day=01/month=11/year=2026/a.wav",
            {"machine_type": "folder", "machine_id": "Hive key", "batch": "Hive key"},
        ),
        (
            "x/ToyCar/test/section_00_source_test_normal_0000_a.wav",
            {"machine_type": "folder", "machine_id": "DCASE name", "batch": "DCASE name", "split": "DCASE name",
             "domain": "DCASE name", "label": "DCASE name", "attributes": "DCASE name"},
        ),
        ("20261102T010000Z.wav", {"machine_type": "default", "machine_id": "default", "batch": "file name",
                                  "recorded_at": "file name"}),
    ],
)  # fmt: skip
def test_every_fact_tells_which_rule_said_it(path, origins):
    assert read_name(path).origins == origins


def test_what_a_manifest_or_the_pattern_said_is_told_too():
    named = read_name("a/pump/7/x.wav", pattern_of("(?P<site>^a)"), {"label": None, "batch": "spring"})
    assert named.origins == {
        "site": "name_pattern", "machine_type": "folder", "machine_id": "folder", "batch": "manifest",
    }  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [
        "x.zip/valve/id_02/normal/anomaly_id_02_00000017.wav",
        "x.zip/valve/id_02/abnormal/normal_00000017.wav",
        "x.zip/valve/id_02/normal/normal_id_04_00000017.wav",
        "x.zip/valve/train/section_00_source_test_normal_0000.wav",
        "x.zip/valve/target_test/section_00_source_test_normal_0000.wav",
        "-6_dB_valve.zip/6_dB/valve/id_02/normal/0.wav",
        "x.zip/normal/valve/id_02/abnormal/0.wav",
    ],
)
def test_names_that_contradict_themselves(path):
    assert read_name(path).problem is Reason.CONFLICTING_NAMES


def test_what_is_given_settles_a_contradiction():
    named = read_name("x.zip/valve/id_02/normal/anomaly_id_02_00000017.wav", given={"label": "abnormal"})
    assert (named.label, named.problem) == ("abnormal", None)
    unknown = read_name("x.zip/valve/id_02/normal/normal_id_02_00000017.wav", given={"label": None})
    assert (unknown.label, unknown.machine_id) == (None, "id_02")


def test_given_facts_shape_the_batch():
    path = "-6_dB_fan.zip/fan/id_00/normal/0.wav"
    assert read_name(path, given={"condition": "0_dB"}).batch == "0_dB"
    assert read_name(path, given={"batch": "spring"}).batch == "spring"


def test_the_pattern_wins_over_names_and_leaves_the_rest_to_them():
    pattern = pattern_of(r"(?P<site>\w+)/[^/]+/(?P<machine_id>P\d+)_(?P<recorded_at>\d{8}T\d{6}Z)_(?P<label>\w+)\.wav$")
    named = read_name("oslo/pump/P07_20261121T020000Z_anomaly.wav", pattern)
    assert named.site == "oslo"
    assert named.machine_id == "P07"
    assert named.label == "abnormal"
    assert named.recorded_at == datetime(2026, 11, 21, 2, tzinfo=UTC)
    assert read_name("fan.zip/a.wav", pattern).machine_type == "fan"


@pytest.mark.parametrize("pattern", ["(", "(?P<colour>.)"])
def test_a_wrong_pattern_is_refused(pattern):
    with pytest.raises(BadConfiguration, match="name_pattern"):
        pattern_of(pattern)


def test_a_pattern_that_catches_no_label_is_refused():
    with pytest.raises(BadConfiguration, match="'bearing' is no label"):
        read_name("bldc/M4/bearing_1700rpm.wav", pattern_of(r"(?P<label>[a-z]+)_\d+rpm"))


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("-6_dB_fan.zip/fan/id_00/normal/00000000.wav", "fan/id_00/normal/00000000.wav"),
        ("6_dB_fan.zip/fan/id_00/normal/00000000.wav", "fan/id_00/normal/00000000.wav"),
        ("mimii/0_dB_fan.zip/fan/id_00/normal/00000000.wav", "fan/id_00/normal/00000000.wav"),
        ("-6_dB/fan/id_00/normal/00000000.wav", "fan/id_00/normal/00000000.wav"),
        ("0_dB_fan/id_00/normal/00000000.wav", "fan/id_00/normal/00000000.wav"),
        ("a.wav", "a.wav"),
    ],
)
def test_file_key_is_the_same_under_all_conditions(path, key):
    assert file_key(path) == key


def test_file_key_by_the_pattern_s_index():
    pattern = pattern_of(r"take(?P<index>\d+)_at")
    keys = {file_key(f"{db}_dB_fan.zip/fan/id_00/normal/take7_at_{db}.wav", pattern) for db in (-6, 0, 6)}
    assert keys == {"fan/id_00/normal/7"}
    assert file_key("fan.zip/fan/id_00/normal/other.wav", pattern) == "fan/id_00/normal/other.wav"


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("20261121T020000Z", datetime(2026, 11, 21, 2, tzinfo=UTC)),
        ("2026-11-21_02-00-00", datetime(2026, 11, 21, 2, tzinfo=UTC)),
        ("mic1_20261121-020000_ch0", datetime(2026, 11, 21, 2, tzinfo=UTC)),
        ("2026-11-21T02:00:00+01:00", datetime(2026, 11, 21, 1, tzinfo=UTC)),
        ("20261121T020000.250Z", datetime(2026, 11, 21, 2, tzinfo=UTC)),
        ("20261121", None),
        ("20261321T020000Z", None),
        ("20261121T250000Z", None),
        ("120261121T020000Z", None),
        ("20261121T020000Z_20261121T030000Z", datetime(2026, 11, 21, 2, tzinfo=UTC)),
    ],
)
def test_times_in_names(text, time):
    assert time_of(text) == time


@pytest.mark.parametrize(
    ("text", "date", "rest"),
    [
        ("2026-11-21", "2026-11-21", ""),
        ("night_20261121_b", "2026-11-21", "night__b"),
        ("2026-11-21 to 20261121", "2026-11-21", " to "),
        ("2026-11-01_2026-11-30", None, "_"),
        ("serial_20261321", None, "serial_20261321"),
        ("2026-1121", None, "2026-1121"),
        ("120261121", None, "120261121"),
    ],
)
def test_dates_in_names(text, date, rest):
    assert (date_of(text), strip_dates(text)) == (date, rest)


def test_times_in_tables():
    assert parse_time("2026-11-21T02:00:00-05:00") == datetime(2026, 11, 21, 7, tzinfo=UTC)
    assert parse_time("2026-11-21") == datetime(2026, 11, 21, tzinfo=UTC)
    with pytest.raises(ValueError, match="Invalid isoformat"):
        parse_time("last night")
