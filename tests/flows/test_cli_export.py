"""`humwatch export dcase` as users call it, on a small lake of DCASE recordings."""

import pytest
from operator_lake import FLAGS, humwatch, run_stages, work_on
from recordings import tone, wav, write_zip

FITTED = ("fit.false_alarm_rate=0.2", "fit.calibration_folds=2")
OPTIONS = (*FLAGS, *(part for assignment in FITTED for part in ("--set", assignment)))


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dcase")
    members = {}
    for index in range(6):
        members[f"ToyCar/train/section_00_source_train_normal_{index:04d}_spd_1.wav"] = wav(tone(index, duration_s=2.2))
    for index, label in enumerate(("normal", "normal", "anomaly")):
        domain = ("source", "target")[index % 2]
        sound = wav(tone(50 + index, duration_s=2.2, frequency_hz=900.0 if label == "anomaly" else 440.0))
        members[f"ToyCar/test/section_00_{domain}_test_{label}_{index:04d}_spd_1.wav"] = sound
    run_stages(work_on(folder / "lake", *FITTED), write_zip(folder / "dev_ToyCar.zip", members))
    return folder / "lake"


def export(lake, destination, *options, year=2023):
    return humwatch("export", "dcase", destination, "--year", year, "--lake", lake, *OPTIONS, *options, "--json")


def test_the_files_hold_every_test_recording(lake, tmp_path):
    answer = export(lake, tmp_path / "team")
    assert answer.status == 0
    names = ["anomaly_score_ToyCar_section_00_test.csv", "decision_result_ToyCar_section_00_test.csv"]
    assert answer.json["files"] == names == sorted(path.name for path in (tmp_path / "team").iterdir())
    assert (answer.json["backbone"], answer.json["detector"], answer.json["recordings"]) == ("fake", "gmm", 3)
    assert answer.json["missing"][0] == "ToyDrone/section_00"
    for name in names:
        lines = (tmp_path / "team" / name).read_text().splitlines()
        assert [line.partition(",")[0] for line in lines] == [
            "section_00_source_test_anomaly_0002_spd_1.wav",
            "section_00_source_test_normal_0000_spd_1.wav",
            "section_00_target_test_normal_0001_spd_1.wav",
        ]


def test_a_folder_with_files_is_left_alone(lake, tmp_path):
    (tmp_path / "old.csv").write_text("x")
    answer = export(lake, tmp_path)
    assert (answer.status, answer.json["errors"][0]["code"]) == (2, "bad_configuration")
    assert [path.name for path in tmp_path.iterdir()] == ["old.csv"]


@pytest.mark.parametrize(
    ("options", "year", "status", "message"),
    [
        (("--set", 'fit.detectors=["gmm", "knn"]'), 2023, 2, "choose by --detector: gmm, knn"),
        (("--set", 'fit.detectors=["knn"]'), 2023, 1, "no scores under these settings"),
        ((), 2020, 2, "not in DCASE 2020 Task 2: ToyCar/section_00"),
        (("--machines", "fan/*"), 2023, 2, "no test recordings"),
    ],
)
def test_what_cannot_be_exported_is_an_error_and_leaves_no_file(lake, tmp_path, options, year, status, message):
    answer = export(lake, tmp_path / "team", *options, year=year)
    assert answer.status == status
    assert message in answer.json["errors"][0]["message"]
    assert not (tmp_path / "team").exists()


def test_there_must_be_a_lake(tmp_path):
    answer = export(tmp_path / "gone", tmp_path / "team")
    assert (answer.status, answer.json["errors"][0]["code"]) == (1, "source_not_found")
    assert not (tmp_path / "gone").exists()
