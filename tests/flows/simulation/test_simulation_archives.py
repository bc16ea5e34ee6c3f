from __future__ import annotations

import hashlib
import io
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from humwatch.flows.simulation import FleetPlan, render_recording, simulate, simulate_labelled
from humwatch.flows.simulation.files import write_zip
from humwatch.storage.errors import BadConfiguration

PLAN = FleetPlan(
    machines=8,
    nights=4,
    snr_db=6,
    seed=5,
    recordings_per_night=3,
    duration_s=0.5,
    fault_fraction=0.5,
    dropout_rate=0.15,
)
LOSSY = replace(PLAN, broken_rate=0.3)


def _digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def _members(root: Path) -> dict[tuple[str, str], bytes]:
    members = {}
    for path in root.rglob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            for name in archive.namelist():
                members[path.relative_to(root).as_posix(), name] = archive.read(name)
    return members


def test_same_bytes_whatever_the_workers_and_again(tmp_path: Path) -> None:
    simulate(LOSSY, tmp_path / "one" / "fleet", workers=1)
    simulate(LOSSY, tmp_path / "two" / "fleet", workers=2)
    first = _digests(tmp_path / "one")
    assert len([name for name in first if name.endswith(".zip")]) > 10
    assert first == _digests(tmp_path / "two")
    simulate(LOSSY, tmp_path / "one" / "fleet", workers=1)
    assert _digests(tmp_path / "one") == first


def test_different_seeds_differ(tmp_path: Path) -> None:
    simulate(PLAN, tmp_path / "a", workers=1)
    simulate(replace(PLAN, seed=6), tmp_path / "b", workers=1)
    ours, theirs = _digests(tmp_path / "a"), _digests(tmp_path / "b")
    common = set(ours) & set(theirs)
    assert common
    assert not any(ours[name] == theirs[name] for name in common)


def test_the_truth_has_a_row_for_every_planned_recording(tmp_path: Path) -> None:
    fleet = simulate(LOSSY, tmp_path / "fleet", workers=1)
    truth = pd.read_csv(fleet.recordings_csv)
    assert fleet.recordings_csv == tmp_path / "fleet-truth" / "recordings.csv"
    assert len(truth) == fleet.planned == 8 * 4 * 3
    assert not truth.duplicated(["archive", "member"]).any()
    assert truth.groupby(["machine_type", "machine_id", "batch"]).size().eq(3).all()
    counts = truth["status"].value_counts().to_dict()
    assert counts == {
        "sent": fleet.sent, "missing": fleet.missing, "truncated": fleet.truncated, "silent": fleet.silent
    }  # fmt: skip
    assert min(counts.values()) > 0
    arrived = truth[truth["status"] != "missing"]
    assert set(zip(arrived["archive"], arrived["member"], strict=True)) == set(_members(tmp_path / "fleet"))
    assert (truth["label"] == "abnormal").equals(truth["severity"] > 0)
    assert (truth["label"] == "abnormal").sum() == fleet.abnormal
    assert truth.loc[truth["label"] == "abnormal", ["fault", "low_hz", "high_hz"]].notna().all(axis=None)
    assert truth.loc[truth["label"] == "normal", ["fault", "low_hz", "high_hz"]].isna().all(axis=None)


def test_the_truth_about_machines_agrees_with_that_about_recordings(tmp_path: Path) -> None:
    fleet = simulate(PLAN, tmp_path / "fleet", workers=1)
    machines = pd.read_csv(fleet.machines_csv).set_index(["machine_type", "machine_id"])
    recordings = pd.read_csv(fleet.recordings_csv)
    abnormal = recordings[recordings["label"] == "abnormal"].groupby(["machine_type", "machine_id"])
    faulty = machines[machines["fault"].notna()]
    assert len(machines) == 8
    assert len(faulty) == fleet.faulty_machines == 4
    pd.testing.assert_series_equal(
        abnormal["batch"].min().sort_index(), faulty["onset"].sort_index(), check_names=False
    )
    for column in ("fault", "low_hz", "high_hz"):
        pd.testing.assert_series_equal(abnormal[column].first(), faulty[column].sort_index())
    assert abnormal["severity"].max().eq(0.25).all()


def test_broken_files_are_broken_and_whole_ones_are_the_sound_rendered(tmp_path: Path) -> None:
    fleet = simulate(LOSSY, tmp_path / "fleet", workers=1)
    truth = pd.read_csv(fleet.recordings_csv).set_index(["archive", "member"])
    for key, data in _members(tmp_path / "fleet").items():
        status = truth.loc[key, "status"]
        if status == "truncated":
            promised = int.from_bytes(data[40:44], "little") if len(data) >= 44 else 2 * PLAN.n_samples
            assert promised == 2 * PLAN.n_samples
            assert 0 < len(data) < 44 + promised
            continue
        assert soundfile.info(io.BytesIO(data)).subtype == "PCM_16"
        samples, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32")
        assert rate_hz == 16_000
        if status == "silent":
            np.testing.assert_array_equal(samples, np.zeros(8000))
            continue
        machine, number, night, hour = re.fullmatch(r"(\w+)/id_(\d+)/202601(\d\d)T(\d\d)0000Z\.wav", key[1]).groups()
        index = 4 * int(number) + ["fan", "pump", "slider", "valve"].index(machine)
        np.testing.assert_allclose(samples, render_recording(LOSSY, index, int(night) - 1, int(hour) // 2), atol=1e-4)


def test_no_name_tells_the_label(tmp_path: Path) -> None:
    simulate(PLAN, tmp_path / "fleet", workers=1)
    names = [f"{archive}/{member}" for archive, member in _members(tmp_path / "fleet")]
    for name in names:
        assert re.fullmatch(r"(2026-01-0[1-4])/(\w+)\.zip/\2/id_0[01]/202601\d\dT0[024]0000Z\.wav", name), name
    files = [path for path in (tmp_path / "fleet").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".zip"}


def test_archives_are_reported_in_order_and_absent_types_have_none(tmp_path: Path) -> None:
    seen: list[Path] = []
    fleet = simulate(replace(PLAN, machines=2, dropout_rate=0.5), tmp_path / "fleet", workers=1, on_archive=seen.append)
    assert tuple(seen) == fleet.archives
    assert list(seen) == sorted(seen)
    assert set(seen) == set((tmp_path / "fleet").rglob("*.zip"))
    assert 0 < len(seen) < 8
    assert fleet.missing > 0


def test_a_folder_with_another_fleet_is_left_alone(tmp_path: Path) -> None:
    simulate(PLAN, tmp_path / "fleet", workers=1)
    before = _digests(tmp_path)
    with pytest.raises(BadConfiguration, match=r"2026-01-03/fan\.zip"):
        simulate(replace(PLAN, nights=2), tmp_path / "fleet", workers=1)
    assert _digests(tmp_path) == before


def test_only_local_folders(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="no local folder"):
        simulate(PLAN, "s3://bucket/fleet")


def test_an_archive_that_fails_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "fan.zip"
    write_zip(path, [("a", b"1")])
    before = path.read_bytes()

    def members():
        yield "a", b"2"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_zip(path, members())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_labelled_archives_have_the_layout_of_mimii(tmp_path: Path) -> None:
    plan = replace(PLAN, snr_db=-6, types=("fan", "valve"), machines=4)
    fleet = simulate_labelled(plan, tmp_path / "mimii", 3, 4, workers=1)
    assert [path.name for path in fleet.archives] == ["-6_dB_fan.zip", "-6_dB_valve.zip"]
    names = {member for _, member in _members(tmp_path / "mimii")}
    assert names == {
        f"{kind}/id_{machine:02d}/{label}/{index:08d}.wav"
        for kind in ("fan", "valve")
        for machine in (0, 1)
        for label, number in (("normal", 3), ("abnormal", 4))
        for index in range(number)
    }
    truth = pd.read_csv(fleet.recordings_csv)
    assert (truth["label"] == truth["member"].str.split("/").str[2]).all()
    fan = truth[truth["member"].str.startswith("fan/id_00/abnormal")]
    assert fan["fault"].tolist() == ["bearing", "imbalance", "looseness", "bearing"]
    assert (fleet.planned, fleet.sent, fleet.abnormal, fleet.faulty_machines) == (28, 28, 16, 4)


def test_labelled_conditions_stand_side_by_side_and_share_their_takes(tmp_path: Path) -> None:
    plan = replace(PLAN, types=("fan",), machines=1)
    for snr_db in (-20, 20):
        simulate_labelled(replace(plan, snr_db=snr_db), tmp_path / "mimii", 1, 1, workers=1)
    members = _members(tmp_path / "mimii")
    key = "fan/id_00/abnormal/00000000.wav"
    quiet, _ = soundfile.read(io.BytesIO(members["20_dB_fan.zip", key]))
    loud, _ = soundfile.read(io.BytesIO(members["-20_dB_fan.zip", key]))
    normal, _ = soundfile.read(io.BytesIO(members["20_dB_fan.zip", key.replace("abnormal", "normal")]))
    assert np.corrcoef(quiet, loud)[0, 1] > 3 * abs(np.corrcoef(normal, loud)[0, 1])
    assert {path.name for path in (tmp_path / "mimii-truth").iterdir()} == {
        f"{snr_db}_dB_{table}.csv" for snr_db in (-20, 20) for table in ("recordings", "machines")
    }


def test_labelled_archives_need_a_whole_snr(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="whole number"):
        simulate_labelled(replace(PLAN, snr_db=2.5), tmp_path, 1, 1)


LAYOUT = "line_7/{machine_type}_{machine_id}/{recorded_at:%Y/%m/%d/%H%M%S}.wav"


def test_a_layout_has_the_same_takes_as_the_archives(tmp_path: Path) -> None:
    archived = simulate(LOSSY, tmp_path / "archives", workers=1)
    fleet = simulate(LOSSY, tmp_path / "files", workers=2, layout=LAYOUT)
    expected = {}
    for (_, member), data in _members(tmp_path / "archives").items():
        machine_type, machine_id, name = member.split("/")
        at = pd.Timestamp(name.removesuffix(".wav"))
        expected[f"line_7/{machine_type}_{machine_id}/{at:%Y/%m/%d/%H%M%S}.wav"] = data
    written = {path: (tmp_path / "files" / path).read_bytes() for path in _digests(tmp_path / "files")}
    assert written == expected
    assert fleet.archives == ()
    counts = ("planned", "sent", "missing", "truncated", "silent", "abnormal", "faulty_machines")
    assert [getattr(fleet, name) for name in counts] == [getattr(archived, name) for name in counts]
    truth, of_archives = pd.read_csv(fleet.recordings_csv), pd.read_csv(archived.recordings_csv)
    assert set(truth["member"][truth["status"] != "missing"]) == set(written)
    places = ["archive", "member"]
    pd.testing.assert_frame_equal(truth.drop(columns=places), of_archives.drop(columns=places))


def test_a_layout_again_takes_away_what_went_missing(tmp_path: Path) -> None:
    lossless = replace(PLAN, dropout_rate=0.0)
    simulate(lossless, tmp_path / "fleet", workers=1, layout=LAYOUT)
    whole = _digests(tmp_path / "fleet")
    simulate(PLAN, tmp_path / "fleet", workers=1, layout=LAYOUT)
    assert _digests(tmp_path / "fleet").keys() < whole.keys()


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ("{machine_type}/{batch}/{index}.wav", "calls 2 recordings"),
        ("{line}/{machine_id}.wav", "its fields are {machine_type}, {machine_id}, {batch}, {recorded_at}, {index}"),
        ("{}/{machine_id}.wav", "its fields are"),
        ("{machine_id", "its fields are"),
        ("{machine_id:%Y}.wav", "its fields are"),
        ("../{machine_type}/{machine_id}/{recorded_at:%s}.wav", "below the destination"),
        ("/tmp/{machine_type}/{machine_id}/{recorded_at:%s}.wav", "below the destination"),
        ("{machine_type}/.{machine_id}/{recorded_at:%s}.wav", "below the destination"),
        ("{machine_type}/{machine_id}/{recorded_at:%s}", "must end in .wav"),
    ],
)
def test_layouts_that_cannot_be_written(tmp_path: Path, layout: str, said: str) -> None:
    with pytest.raises(BadConfiguration, match=re.escape(said)):
        simulate(PLAN, tmp_path / "fleet", workers=1, layout=layout)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_another_fleets_files_is_left_alone(tmp_path: Path) -> None:
    simulate(PLAN, tmp_path / "fleet", workers=1, layout=LAYOUT)
    before = _digests(tmp_path)
    for layout in (None, "{machine_type}/{machine_id}/{recorded_at:%Y%m%d_%H%M%S}.wav"):
        with pytest.raises(BadConfiguration, match="another fleet"):
            simulate(PLAN, tmp_path / "fleet", workers=1, layout=layout)
    assert _digests(tmp_path) == before
