"""Layouts of plants, data sets and recorders: what is made of a path, without a setting."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from humwatch.storage.reasons import Reason
from humwatch.tasks.ingest.layout import compile_layouts
from humwatch.tasks.ingest.name_rules import NameRules
from humwatch.tasks.ingest.names import read_name
from humwatch.tasks.settings import IngestSettings


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
    # a flat folder: what stands before the time is the machine, or the recorder that hangs on it
    "sound/pump_03_2026-11-01T01-00-00.wav": {"machine_type": "sound", "machine_id": "pump_03", "batch": NIGHT},
    "line2.zip/press-7 20261101_010000.wav": {"machine_type": "line2", "machine_id": "press-7", "recorded_at": START},
    "sound/SMU01234_20261101_010000.wav": {"machine_id": "SMU01234", "recorded_at": START},
    "sound/24F3190361CBE8CF_20261101_010000.WAV": {"machine_id": "24F3190361CBE8CF", "recorded_at": START},
    "sound/REC001_20261101_010000.wav": {"machine_id": "all", "recorded_at": START},
    "sound/mic2_20261101_010000.wav": {"machine_id": "all", "recorded_at": START},
    "sound/pump_03_20261101.wav": {"machine_id": "all", "batch": NIGHT},
    # AudioMoth, triggered (its manual: a T after the time); Song Meter Mini and SM4 (user guides: PREFIX_DATE_TIME,
    # before 2019 with channels between: _0+1_)
    "sound/pump/03/20261101_010000T.WAV": {"batch": NIGHT, "recorded_at": START},
    "sound/pump/03/S4A01234_0+1_20261101_010000.wav": {"batch": NIGHT, "recorded_at": START},
    "sound/pump/03/SMART-A1B2C3_20261101_010000_250000.wav": {"batch": NIGHT, "recorded_at": START},
    # Tascam: DA-6400 owner's manual; Portacapture reference manual, file names by word and by date (no year of four
    # digits, so no night without a template)
    "sound/pump/03/T001_20261101-010000_001_01.wav": {"batch": NIGHT, "recorded_at": START},
    "sound/pump/03/TASCAM_0001_1.wav": {"machine_id": "03", "batch": "all", "recorded_at": None},
    "sound/pump/03/251121_0001.wav": {"machine_id": "03", "batch": "all", "recorded_at": None},
    # Zoom H4n, H5, H6 (operation manuals: MULTI, FOLDER01, a folder a take, files by track)
    "sound/pump/03/FOLDER01/ZOOM0001/ZOOM0001_Tr1.WAV": {"machine_type": "pump", "machine_id": "03", "batch": "all"},
    "sound/pump/03/ZOOM0001_LR.WAV": {"machine_type": "pump", "machine_id": "03", "recorded_at": None},
    "sound/pump/03/TASCAM_0001/TASCAM_0001S12.wav": {"machine_type": "pump", "machine_id": "03"},
    # weeks, months, parts (see also test_mixed_machines.py)
    "sound/week47.zip/pump_03/0.wav": {"machine_type": "sound", "machine_id": "pump_03", "batch": "all"},
    "sound/line2/pump_03/November 2026/0.wav": {"machine_type": "line2", "machine_id": "pump_03"},
    "sound/part2.tar.gz/line2/pump_03/0.wav": {"machine_type": "line2", "machine_id": "pump_03"},
    # words for labels
    "sound/press/7/OK/0.wav": {"machine_type": "press", "machine_id": "7", "label": "normal"},
    "sound/press/7/NG/0.wav": {"machine_type": "press", "machine_id": "7", "label": "abnormal"},
    "sound/press/7/healthy/0.wav": {"label": "normal"},
    "sound/press/7/Faulty/0.wav": {"label": "abnormal"},
    "sound/press/7/Anomalies/0.wav": {"label": "abnormal"},
    "sound/press/7/NG_0001.wav": {"machine_type": "press", "machine_id": "7", "label": "abnormal"},
    "sound/press/7/good-12.wav": {"label": "normal"},
    "sound/press/7/bad_bearing_0001.wav": {"label": None},
    "sound/press/7/defect/0.wav": {"machine_type": "press", "machine_id": "7", "label": "abnormal"},
    # ToyADMOS (Zenodo 3351307, README: case, condition and recording style as folders)
    "ToyADMOS/ToyCar/case1/NormalSound_IND/1100010001_ToyCar_case1_normal_IND_ch1_0001.wav": {
        "machine_type": "ToyCar", "machine_id": "case1", "label": "normal", "batch": "all", "recorded_at": None,
    },
    "ToyADMOS/ToyCar/case1/AnomalousSound_IND/1101010001_ToyCar_case1_ab01_IND_ch1_0001.wav": {
        "machine_type": "ToyCar", "machine_id": "case1", "label": "abnormal",
    },
    "ToyCar/case1/NormalSound_CNT/1100110001_ToyCar_case1_normal_CNT_ch1_0001.wav": {
        "machine_type": "ToyCar", "machine_id": "case1", "label": "normal",
    },
    # MVTec AD's folders, as people lay out sound after them
    "mvtec/engine/test/defect/0.wav": {"machine_type": "mvtec", "machine_id": "engine", "split": "test",
                                       "label": "abnormal"},
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
    # DCASE 2025 Task 2 (Zenodo, development data set: train, test and supplemental)
    "dev_data/ToyCar/supplemental/section_00_source_supplemental_normal_0000_noAttribute.wav": {
        "machine_type": "ToyCar", "machine_id": "section_00", "split": "supplemental", "label": "normal",
    },
    "dev_data/ToyCar/supplemental/noise_0000.wav": {"split": "supplemental"},
    # MIMII DG (Zenodo 6529888) and MIMII DUE (4740355): sections, domains, attributes
    "bearing.zip/bearing/test/section_01_target_test_anomaly_0049_f-n_C.wav": {
        "machine_type": "bearing", "machine_id": "section_01", "domain": "target", "split": "test",
        "label": "abnormal", "attributes": "f-n_C",
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


# What needs a template, as docs/your-recordings.md has it: template, path, what it says.
TEMPLATES = [
    # IDMT-ISA-Electric-Engine (Fraunhofer IDMT): three states of one engine
    (
        "{machine_type}/{split}_cut/engine{}_{label}/{}.wav",
        "IDMT-ISA-ELECTRIC-ENGINE/train_cut/engine1_good/pure_0.wav",
        {"machine_type": "IDMT-ISA-ELECTRIC-ENGINE", "machine_id": "all", "split": "train", "label": "normal"},
    ),
    (
        "{machine_type}/{split}_cut/engine{}_{label}/{}.wav",
        "IDMT-ISA-ELECTRIC-ENGINE/test_cut/engine3_heavyload/talking_12.wav",
        {"machine_type": "IDMT-ISA-ELECTRIC-ENGINE", "split": "test", "label": "abnormal"},
    ),
    (
        "{machine_type}/{machine_id}/{label}/{}_ch{channel}_{}.wav",
        "ToyADMOS/ToyTrain/case2/AnomalousSound_IND/2101010001_ToyTrain_case2_ab01_IND_ch4_0001.wav",
        {"machine_type": "ToyTrain", "machine_id": "case2", "label": "abnormal", "channel": 4},
    ),
    (
        "{machine_id}/{split}/{label}/{}.wav",
        "mvtec/engine/test/scratch/000.wav",
        {"machine_type": "unknown", "machine_id": "engine", "split": "test", "label": "abnormal"},
    ),
    ("{machine_id}/{recorded_at:%y%m%d}_{}.wav", "s/pump_03/251121_0001.wav",
     {"machine_id": "pump_03", "batch": "2025-11-21", "recorded_at": None}),
    (
        "{machine_type}/{machine_id}/T{}_{recorded_at:%Y%m%d-%H%M%S}_{}_{channel}.wav",
        "s/pump/03/T001_20261101-010000_001_12.wav",
        {"machine_type": "pump", "machine_id": "03", "recorded_at": START, "channel": 12},
    ),
    ("{site}/{machine_type}/{machine_id}/{}.wav", "s/plantA/line2/pump_03/0.wav",
     {"site": "plantA", "machine_type": "line2", "machine_id": "pump_03"}),
    ("{}.zip/{machine_id}/{}.wav", "s/export_0047.zip/pump_03/0.wav", {"machine_id": "pump_03", "batch": "all"}),
    (
        "{machine_type}_{machine_id}_{recorded_at:%Y%m%dT%H%M%SZ}_ch{channel}.wav",
        "press_7_20261101T010000Z_ch2.wav",
        {"machine_type": "press", "machine_id": "7", "recorded_at": START, "batch": NIGHT, "channel": 2},
    ),
    # serial numbers of eight digits above the machine, which look like dates
    ("{}/{machine_type}/{machine_id}/{}.wav", "20190312/pump/3/0.wav", {"machine_type": "pump", "machine_id": "3"}),
]  # fmt: skip


@pytest.mark.parametrize(("template", "path", "says"), TEMPLATES)
def test_what_a_path_says_by_a_template_of_the_docs(template, path, says):
    words = dict.fromkeys(("broken", "heavyload", "scratch"), "abnormal")
    facts = read_name(path, NameRules.of(IngestSettings(layout=(template,), label_words=words)))
    assert facts.problem is None
    assert {name: getattr(facts, name) for name in says} == says


def test_the_templates_of_the_docs_are_templates():
    page = (Path(__file__).parents[3] / "docs" / "your-recordings.md").read_text()
    table = page[page.index("| layout | template |") : page.index("## Recorders")]
    templates = [code for code in re.findall(r"`([^`]*)`", table) if "{machine" in code or "{split}" in code]
    assert len(templates) >= 10
    assert len(compile_layouts([template for template in templates if not template.endswith("/")])) >= 10


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
    facts = read_name("2026/11/rec.wav", given=given)
    assert (facts.machine_type, facts.machine_id, facts.problem) == ("2026", "11", None)
