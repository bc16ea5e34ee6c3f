"""Long recordings and many channels: a row for each clip and microphone, with the samples that were cut."""

import io
import tarfile
import zipfile

import numpy as np
import pandas as pd
import pytest
import soundfile
from lakes import all_scores, build, small, with_settings
from recordings import RATE_HZ, tone, wav, write_zip

from humwatch.storage.arrays import open_array, read_rows
from humwatch.storage.parts import create_part
from humwatch.storage.reasons import Reason
from humwatch.tasks.ingest import pieces, task
from humwatch.tasks.ingest.recording_rows import recording_id
from humwatch.tasks.ingest.task import ingest_sources
from humwatch.tasks.plan.maintenance_log import import_labels
from humwatch.tasks.plan.run import Run
from humwatch.tasks.reports.assemble import rejected_table, sound_of
from humwatch.tasks.sound.cutting import clips_of
from humwatch.tasks.spectrograms import spectrogram_blocks
from humwatch.tasks.spectrograms.logmel import LogMel
from humwatch.tasks.spectrograms.task import compute_spectrograms

SHORT = {"longest_s": 4.0, "clip_s": 2.0}
LONG = tone(1, duration_s=21.5, channels=2)
CLIP_STARTS_S = [*range(0, 20, 2), 19.5]


def flac(samples, rate_hz=RATE_HZ):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def as_folder(root, files):
    for name, data in files.items():
        (root / "plant" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "plant" / name).write_bytes(data)
    return root / "plant"


def as_tar(root, files, mode="w", name="plant.tar"):
    with tarfile.open(root / name, mode) as archive:
        for member, data in files.items():
            info = tarfile.TarInfo(member)
            info.size, info.mtime = len(data), 1_700_000_000
            archive.addfile(info, io.BytesIO(data))
    return root / name


CONTAINERS = {
    "folder": as_folder,
    "stored zip": lambda root, files: write_zip(root / "plant.zip", files, zipfile.ZIP_STORED),
    "deflated zip": lambda root, files: write_zip(root / "plant.zip", files),
    "tar": as_tar,
    "tar.gz": lambda root, files: as_tar(root, files, "w:gz", "plant.tar.gz"),
}


def run_on(root, **sections):
    return Run(str(root / "lake"), small(ingest=SHORT, **sections))


def take_in(work, source):
    work.refresh()
    assert ingest_sources.fn(work, [str(source)]).errors == ()
    summary = compute_spectrograms.fn(work)
    assert summary.errors == ()
    return work.catalog().recordings.sort_values(["path", "clip_start_s", "channel"]).reset_index(drop=True)


def logmel_of(work, row):
    part = work.catalog().parts[row["part_id"]]
    at = int(row["row"])
    path = part.store("spectrograms", work.spectrogram_key).zarr_path
    array = open_array(work.lake, path, spectrogram_blocks.ARRAY)
    return read_rows(work.lake, array, range(at, at + 1))[0][:, : int(row["n_frames"])]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(("suffix", "encode"), [("wav", wav), ("flac", flac)])
def test_clips_are_rows_with_the_spectrograms_of_the_cut_samples(tmp_path, container, suffix, encode):
    data = encode(LONG)
    source = CONTAINERS[container](tmp_path, {
        f"pump/id_00/20261101_235950.{suffix}": data,
        f"pump/id_00/20261102_120000.{suffix}": encode(tone(2, duration_s=2.0)),
    })  # fmt: skip
    work = run_on(tmp_path)
    rows = take_in(work, source)
    clips, (_, short) = rows[rows["clip_start_s"].notna()], next(rows[rows["clip_start_s"].isna()].iterrows())
    assert clips["clip_start_s"].tolist() == CLIP_STARTS_S
    assert set(clips["status"]) == {"accepted"}
    assert set(clips["duration_s"]) == {2.0}
    assert set(clips["file_s"]) == {21.5}
    start = pd.Timestamp("2026-11-01T23:59:50Z")
    assert clips["recorded_at"].tolist() == [start + pd.Timedelta(seconds=seconds) for seconds in CLIP_STARTS_S]
    assert clips["file_key"].nunique() == 1
    assert (short["status"], short["duration_s"]) == ("accepted", 2.0)
    samples = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0][:, 0]
    transform = LogMel(work.settings.spectrogram)
    for row in clips.to_dict("records"):
        first = round(row["clip_start_s"] * RATE_HZ)
        np.testing.assert_array_equal(logmel_of(work, row), transform(samples[first : first + 2 * RATE_HZ]))


def test_scores_say_which_clip_and_it_can_be_heard(tmp_path):
    files = {
        **{f"pump/id_00/normal/{index}.wav": wav(tone(index, duration_s=8.0)) for index in range(4)},
        "pump/id_00/abnormal/0.wav": wav(tone(9, duration_s=9.0, frequency_hz=900.0)),
    }
    work = run_on(tmp_path)
    build(work, write_zip(tmp_path / "plant.zip", files))
    scores = all_scores(work)
    assert scores.groupby("file")["clip_start_s"].apply(sorted).to_dict() == {
        "0.wav": [0, 0, 2, 2, 4, 4, 6, 6, 7],  # of two files
        **{f"{index}.wav": [0, 2, 4, 6] for index in (1, 2, 3)},
    }
    # No clip of a file that trains is in the test set.
    assert (scores.groupby(["file", "label"])["in_training"].nunique() == 1).all()
    place = next(row for row in work.catalog().recordings.to_dict("records") if row["clip_start_s"] == 7.0)
    assert sound_of(place | {"channel": None}, work)[1] == "audio/mpeg"


@pytest.mark.parametrize("files", [{"a.wav": wav(LONG)}, {"a.flac": flac(LONG)}])
def test_a_killed_run_goes_on_within_a_file(tmp_path, monkeypatch, files):
    source = as_folder(tmp_path, {f"pump/id_00/{name}": data for name, data in files.items()})
    whole = run_on(tmp_path / "whole")
    expected = take_in(whole, source)
    work = run_on(tmp_path / "killed")
    ingest_sources.fn(work, [str(source)])
    written = []
    encode = spectrogram_blocks.encode  # of receipts

    def die_after_two(*arguments):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(1)
        return encode(*arguments)

    monkeypatch.setattr(spectrogram_blocks, "encode", die_after_two)
    with pytest.raises(KeyboardInterrupt):
        compute_spectrograms.fn(work)
    monkeypatch.undo()
    rows = take_in(work, source)
    pd.testing.assert_series_equal(rows["recording_id"], expected["recording_id"])
    for one, other in zip(rows.to_dict("records"), expected.to_dict("records"), strict=True):
        np.testing.assert_array_equal(logmel_of(work, one), logmel_of(whole, other))


def test_what_is_listed_again_is_not_new(tmp_path):
    source = as_folder(tmp_path, {"pump/id_00/a.wav": wav(LONG)})
    work = run_on(tmp_path)
    assert ingest_sources.fn(work, [str(source)]).new == len(CLIP_STARTS_S)
    assert ingest_sources.fn(work, [str(source)]).new == 0
    take_in(work, source)
    assert ingest_sources.fn(work, [str(source)]).new == 0


def test_a_file_that_was_replaced_by_a_shorter_one_leaves_no_clip_behind(tmp_path):
    source = as_folder(tmp_path, {"pump/id_00/a.wav": wav(LONG)})
    work = run_on(tmp_path)
    take_in(work, source)
    (source / "pump/id_00/a.wav").write_bytes(wav(tone(3, duration_s=6.0)))
    rows = take_in(work, source)
    assert rows[rows["status"] == "accepted"]["clip_start_s"].tolist() == [0, 2, 4]
    assert set(rows[rows["status"] == "rejected"]["reason"]) == {Reason.SOURCE_GONE}
    (source / "pump/id_00/a.wav").write_bytes(wav(tone(3, duration_s=3.0)))
    rows = take_in(work, source)
    accepted = rows[rows["status"] == "accepted"]
    assert (accepted["clip_start_s"].isna().tolist(), accepted["duration_s"].tolist()) == ([True], [3.0])


def test_other_settings_cut_anew_as_in_a_fresh_lake(tmp_path):
    source = as_folder(tmp_path, {"pump/id_00/a.wav": wav(LONG)})
    work = with_settings(run_on(tmp_path), ingest={"longest_s": 60})
    assert take_in(work, source)["duration_s"].tolist() == [21.5]
    work = with_settings(work, ingest=SHORT)
    rows = take_in(work, source)
    assert rows["clip_start_s"].tolist() == CLIP_STARTS_S


def test_what_is_too_large_to_be_read_whole_is_cut(tmp_path):
    source = as_folder(tmp_path, {"pump/id_00/a.wav": wav(LONG), "pump/id_00/b.wav": bytes(1_000_000)})
    work = Run(str(tmp_path / "lake"), small(ingest={**SHORT, "max_member_bytes": 500_000}))
    rows = take_in(work, source)
    assert set(rows[rows["path"].str.endswith("a.wav")]["status"]) == {"accepted"}
    assert rows[rows["path"].str.endswith("b.wav")]["reason"].tolist() == [Reason.TOO_LARGE]


def test_a_label_of_a_file_is_one_of_all_its_clips(tmp_path):
    work = run_on(tmp_path)
    rows = take_in(work, as_folder(tmp_path, {"pump/id_00/a.wav": wav(LONG)}))
    done = import_labels(work.lake, "file,label\na.wav,abnormal\n", "log.csv", rows)
    assert done.changed == len(CLIP_STARTS_S)
    work.refresh()
    assert set(work.catalog().recordings["label"]) == {"abnormal"}


def test_every_channel_is_a_machine(tmp_path):
    takes = [tone(index, duration_s=2.0, channels=2) for index in range(3)]
    files = {f"pump/id_00/{index}.wav": wav(samples) for index, samples in enumerate(takes)}
    files |= {"pump/id_00/odd.wav": wav(tone(9, duration_s=2.0, channels=3))}
    work = run_on(tmp_path, spectrogram={"channel": "each"})
    rows = take_in(work, as_folder(tmp_path, files))
    accepted = rows[rows["status"] != "rejected"]
    assert accepted.groupby("machine_id").size().to_dict() == {"id_00-ch0": 3, "id_00-ch1": 3}
    assert rows[rows["path"].str.endswith("odd.wav")]["reason"].tolist() == [Reason.OTHER_CHANNELS]
    transform = LogMel(work.settings.spectrogram)
    for row in accepted.to_dict("records"):
        samples = soundfile.read(io.BytesIO(files[row["path"].removeprefix("plant/")]), dtype="float32")[0]
        np.testing.assert_array_equal(logmel_of(work, row), transform(samples[:, int(row["channel"])].copy()))


def test_each_channel_of_a_long_file_has_clips_of_its_own(tmp_path):
    work = run_on(tmp_path, spectrogram={"channel": "each"})
    rows = take_in(work, as_folder(tmp_path, {"pump/id_00/a.flac": flac(LONG)}))
    assert rows.groupby("machine_id")["clip_start_s"].apply(list).to_dict() == {
        "id_00-ch0": CLIP_STARTS_S, "id_00-ch1": CLIP_STARTS_S,
    }  # fmt: skip
    samples = soundfile.read(io.BytesIO(flac(LONG)), dtype="float32")[0]
    row = rows[(rows["channel"] == 1) & (rows["clip_start_s"] == 4.0)].to_dict("records")[0]
    expected = LogMel(work.settings.spectrogram)(samples[4 * RATE_HZ : 6 * RATE_HZ, 1].copy())
    np.testing.assert_array_equal(logmel_of(work, row), expected)


def test_recordings_of_every_length_are_accepted_and_one_odd_one_says_both_lengths(tmp_path):
    files = {f"press/1/{seconds}.wav": wav(tone(seconds, duration_s=seconds / 4)) for seconds in range(5, 17)}
    files |= {f"fan/1/{index}.wav": wav(tone(index, duration_s=2.0)) for index in range(5)}
    files |= {"fan/1/odd.wav": wav(tone(7, duration_s=3.0))}
    work = run_on(tmp_path)
    rows = take_in(work, as_folder(tmp_path, files))
    press = rows[rows["machine_type"] == "press"]
    assert len(press) == 12
    assert set(press["status"]) == {"accepted"}
    (odd,) = rejected_table(work.catalog()).to_dict("records")
    assert (odd["reason"], odd["detail"]) == (Reason.WRONG_LENGTH, "3 s, where 2 s are usual")


def audiomoth(samples, comment):
    """A WAV with a comment in its LIST chunk, as AudioMoth writes it."""
    data = wav(samples)
    text = comment.encode() + b"\0" * (2 - len(comment) % 2)
    info = b"INFOICMT" + len(text).to_bytes(4, "little") + text
    return data[:12] + b"LIST" + len(info).to_bytes(4, "little") + info + data[12:]


COMMENT = "Recorded at 21:59:58 14/12/2020 (UTC-5) by AudioMoth 247AA5015E90A4D4 at gain setting 2."


@pytest.mark.parametrize("container", ["folder", "deflated zip", "tar.gz"])
def test_times_in_files_are_read_where_names_have_none_and_the_setting_asks(tmp_path, container):
    files = {
        "pump/id_00/REC1.wav": audiomoth(tone(1, duration_s=2.0), COMMENT),
        "pump/id_00/20201101_000000.wav": audiomoth(tone(2, duration_s=2.0), COMMENT),
        "pump/id_00/REC3.wav": wav(tone(3, duration_s=2.0)),
    }
    source = CONTAINERS[container](tmp_path, files)
    work = run_on(tmp_path)
    rows = take_in(work, source)
    assert rows["recorded_at"].isna().tolist() == [False, True, True]
    zone = {**SHORT, "times_in_files": True, "time_zone": "America/New_York"}
    work = with_settings(work, ingest=zone)
    rows = take_in(work, source)
    assert rows["recorded_at"].tolist()[1] == pd.Timestamp("2020-12-15T02:59:58Z")
    assert rows["batch"].tolist() == ["2020-11-01", "2020-12-14", "all"]
    assert ingest_sources.fn(work, [str(source)]).new == 0


def test_clips_past_midnight_are_of_the_next_night_unless_a_folder_says_otherwise(tmp_path):
    data = wav(tone(1, duration_s=6.0))
    files = {"pump/id_00/20261101_235958.wav": data, "2026-11-01/fan/id_00/20261101_235958.wav": data}
    work = run_on(tmp_path)
    rows = take_in(work, as_folder(tmp_path, files))
    nights = rows.groupby("machine_type")["batch"].apply(list).to_dict()
    assert nights == {"pump": ["2026-11-01", "2026-11-02", "2026-11-02"], "fan": ["2026-11-01"] * 3}


def test_of_wavs_of_one_size_in_a_folder_one_header_is_read_and_of_damaged_ones_the_next(tmp_path, monkeypatch):
    opened = []
    open_members = pieces.open_members

    def counting(members, **options):
        opened.extend(members)
        return open_members(members, **options)

    monkeypatch.setattr(pieces, "open_members", counting)
    files = {f"pump/id_00/{index}.wav": wav(tone(index, duration_s=8.0)) for index in range(5)}
    source = as_folder(tmp_path, files)
    assert len(take_in(run_on(tmp_path), source)) == 20
    assert len(opened) == 1
    (source / "pump/id_00/0.wav").write_bytes(bytes(len(files["pump/id_00/0.wav"])))
    rows = take_in(run_on(tmp_path / "again"), source)
    assert rows["reason"].value_counts().to_dict() == {"not_audio": 1}
    assert len(rows) == 1 + 4 * 4


def test_clips_far_into_a_recording_keep_ids_of_their_own():
    """With six digits those at 100,000 s and at 100,000.4 s were one, and the second was lost."""
    clips = clips_of(100_010.4, longest_s=60, clip_s=10)
    ids = {recording_id("pump/id_00/a.wav", None, clip.start_s) for clip in clips}
    assert len(ids) == len(clips)


@pytest.mark.parametrize("parts_before_death", [0, 1])
def test_an_ingest_killed_between_the_nights_of_a_file_leaves_no_clips_of_former_settings(
    tmp_path, monkeypatch, parts_before_death
):
    source = as_folder(tmp_path, {"pump/id_00/20261101_235950.wav": wav(LONG)})
    work = run_on(tmp_path)
    take_in(work, source)
    other = with_settings(work, ingest={"longest_s": 4.0, "clip_s": 3.0})
    kept = []

    def die(*arguments):
        if len(kept) == parts_before_death:
            raise KeyboardInterrupt
        kept.append(arguments)
        return create_part(*arguments)

    monkeypatch.setattr(task, "create_part", die)
    with pytest.raises(KeyboardInterrupt):
        ingest_sources.fn(other, [str(source)])
    monkeypatch.undo()
    rows = take_in(other, source)
    assert rows[rows["status"] == "accepted"]["clip_start_s"].tolist() == [0, 3, 6, 9, 12, 15, 18, 18.5]
    assert set(rows[rows["status"] != "accepted"]["reason"]) == {"source_gone"}


def test_clips_of_one_long_file_do_not_outvote_the_short_recordings_of_a_machine(tmp_path):
    """40 clips of a file of 80 s at 8 kHz were most of the machine: 12 good recordings had a wrong length and band."""
    files = {f"pump/id_00/{index}.wav": wav(tone(index, duration_s=3.5)) for index in range(12)}
    files["pump/id_00/long.wav"] = wav(tone(99, duration_s=80.0, rate_hz=8000), rate_hz=8000)
    rows = take_in(run_on(tmp_path), as_folder(tmp_path, files))
    is_clip = rows["clip_start_s"].notna()
    assert is_clip.sum() == 40
    assert set(rows[~is_clip]["status"]) == {"accepted"}
    assert set(rows[is_clip]["reason"]) == {"other_band"}
    assert set(rows["usual_s"]) == {3.5}


def test_a_long_recording_beside_short_ones_is_scored_in_pieces_and_an_odd_short_one_is_not(tmp_path):
    files = {f"pump/id_00/{index}.wav": wav(tone(index, duration_s=1.0)) for index in range(12)}
    files |= {
        "pump/id_00/odd.wav": wav(tone(98, duration_s=3.0)),
        "pump/id_00/long.wav": wav(tone(99, duration_s=80.0)),
    }
    rows = take_in(run_on(tmp_path, images={"window_frames": 16}), as_folder(tmp_path, files))
    assert set(rows[rows["clip_start_s"].notna()]["status"]) == {"accepted"}
    assert rows[rows["status"] == "rejected"]["path"].tolist() == ["plant/pump/id_00/odd.wav"]
