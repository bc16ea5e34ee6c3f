"""Everything that can be wrong with what users hand in, through the command line: named, counted, never scored."""

import io
import os
import shutil
import socket
import stat
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import FAKE, Ran, run_humwatch
from recordings import RATE_HZ, machine, tone, wav, write_zip

from humwatch.storage.reasons import EXPLANATIONS, Reason

MAX_MEMBER_BYTES = 1_000_000
LIMITED = (*FAKE, "--set", f"ingest.max_member_bytes={MAX_MEMBER_BYTES}")
FOLDER = "fan/id_00/normal"
GOOD = {
    **machine("fan/id_00", 8, 3),
    **machine("pump/id_02", 3, 1, duration_s=10.0),
    **machine("valve/id_04", 1, 0),
    **machine("slider/id_06", 3, 0),
    **machine("bearing/id_08", 0, 1),
}
TOO_SHORT_FOR_A_WINDOW = machine("gearbox/id_10", 2, 0, duration_s=1.0)


def _with_bytes(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


def _bad_bytes() -> dict[str, tuple[bytes, Reason]]:
    """Members whose bytes are wrong, by name, and why each is rejected."""
    good, silence = tone(1), np.zeros((3 * RATE_HZ, 1), np.float32)
    whole, flac, zeros = wav(good), wav(good, container="FLAC"), bytes(len(wav(good)))
    one_nan, infinite = good.copy(), good.copy()
    one_nan[1234], infinite[1234] = np.nan, np.inf
    files = {
        "zero_length.wav": (b"", Reason.EMPTY_FILE),
        "text.wav": (b"this is no sound\n" * 100, Reason.NOT_AUDIO),
        "zeros.wav": (zeros, Reason.NOT_AUDIO),
        "m4a.wav": (b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom" + bytes(32_000), Reason.UNSUPPORTED_FORMAT),
        "half.wav": (whole[: len(whole) // 2], Reason.TRUNCATED),
        "half_a_header.wav": (whole[:20], Reason.TRUNCATED),
        "half.flac": (flac[: len(flac) // 2], Reason.TRUNCATED),
        "no_channels.wav": (_with_bytes(whole, 22, b"\0\0"), Reason.NO_CHANNELS),
        "no_samples.wav": (wav(silence[:0]), Reason.NO_SAMPLES),
        "all_nan.wav": (wav(np.full_like(good, np.nan), subtype="FLOAT"), Reason.NOT_FINITE),
        "one_nan.wav": (wav(one_nan, subtype="FLOAT"), Reason.NOT_FINITE),
        "infinite.wav": (wav(infinite, subtype="DOUBLE"), Reason.NOT_FINITE),
        "silent.wav": (wav(silence), Reason.SILENT),
        "almost_silent.wav": (wav(good * 1e-5, subtype="FLOAT"), Reason.SILENT),
        "stuck.wav": (wav(silence + 0.5), Reason.DEAD_CHANNEL),
        "clipped.wav": (wav(np.clip(good * 30, -1, 1)), Reason.CLIPPED),
        "ten_seconds_not_three.wav": (wav(tone(2, duration_s=10.0)), Reason.WRONG_LENGTH),
        "anomaly_id_00_00000001.wav": (whole, Reason.CONFLICTING_NAMES),
        "declared_bomb.wav": (bytes(2 * MAX_MEMBER_BYTES), Reason.TOO_LARGE),
    }
    named = {f"{FOLDER}/{name}": case for name, case in files.items()}
    return named | {"pump/id_02/normal/three_seconds_not_ten.wav": (whole, Reason.WRONG_LENGTH)}


# Members that the archive itself is wrong about; `_write_plant` makes them so.
BAD_ENTRIES = {
    f"{FOLDER}/encrypted.wav": Reason.ENCRYPTED,
    f"{FOLDER}/ppmd.wav": Reason.UNSUPPORTED_COMPRESSION,
    f"{FOLDER}/wrong_crc.wav": Reason.CORRUPT,
    f"{FOLDER}/one_bit_flipped.wav": Reason.CORRUPT,
    f"{FOLDER}/damaged_deflate.wav": Reason.CORRUPT,
    f"{FOLDER}/longer_than_declared.wav": Reason.CORRUPT,
    f"{FOLDER}/bomb_in_disguise.wav": Reason.TOO_LARGE,
    f"{FOLDER}/link.wav": Reason.UNSAFE_PATH,
    f"../../{FOLDER}/escape.wav": Reason.UNSAFE_PATH,
    f"{FOLDER}/../../../../escape.wav": Reason.UNSAFE_PATH,
    "/fan/id_00/normal/escape.wav": Reason.UNSAFE_PATH,
    "C:/fan/id_00/normal/escape.wav": Reason.UNSAFE_PATH,
}
BAD_BYTES = _bad_bytes()
REJECTED = {name: reason for name, (_, reason) in BAD_BYTES.items()} | BAD_ENTRIES
TWICE = f"{FOLDER}/00000001.wav"
N_PLANT = len(GOOD) + len(REJECTED) + len(TOO_SHORT_FOR_A_WINDOW) + 1


def _write_plant(path: Path) -> Path:
    """One archive with good recordings and every bad one; the directory is what `zipfile` writes last, from `info`s."""
    members = {**GOOD, **TOO_SHORT_FOR_A_WINDOW, **{name: data for name, (data, _) in BAD_BYTES.items()}}
    write_zip(path, members)
    data = wav(tone(3))
    with zipfile.ZipFile(path, "a") as archive:

        def add(name: str, content: bytes = data, method: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
            info = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            archive.writestr(info, content, compress_type=method)
            return info

        with pytest.warns(UserWarning, match="Duplicate name"):
            add(TWICE)
        add(f"{FOLDER}/encrypted.wav").flag_bits |= 0x1
        add(f"{FOLDER}/ppmd.wav").compress_type = 98
        add(f"{FOLDER}/wrong_crc.wav").CRC ^= 0xFF
        flipped = add(f"{FOLDER}/one_bit_flipped.wav")
        damaged = add(f"{FOLDER}/damaged_deflate.wav", method=zipfile.ZIP_DEFLATED)
        add(f"{FOLDER}/longer_than_declared.wav", data * 2, zipfile.ZIP_DEFLATED).file_size = len(data)
        bomb = bytes(2 * MAX_MEMBER_BYTES)
        add(f"{FOLDER}/bomb_in_disguise.wav", bomb, zipfile.ZIP_DEFLATED).file_size = len(data)
        add(f"{FOLDER}/link.wav", b"/etc/passwd").external_attr = (stat.S_IFLNK | 0o777) << 16
        for name, reason in BAD_ENTRIES.items():
            if reason is Reason.UNSAFE_PATH and "escape" in name:
                add(name.replace("C:/", "C:\\"))
    content = bytearray(path.read_bytes())
    content[flipped.header_offset + 30 + len(flipped.filename) + 1000] ^= 0x01
    middle = damaged.header_offset + 30 + len(damaged.filename) + damaged.compress_size // 2
    content[middle : middle + 64] = bytes(64)
    path.write_bytes(content)
    return path


# Root may read everything, unless it gives up the capabilities that say so.
DROP = "-dac_override,-dac_read_search"
LIKE_ANY_USER = ("setpriv", f"--bounding-set={DROP}", f"--inh-caps={DROP}") if os.geteuid() == 0 else ()
PERMISSIONS_COUNT = not LIKE_ANY_USER or shutil.which("setpriv") is not None


def _write_tar_gz(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def _broken_sources(root: Path) -> dict[str, tuple[str, str, str]]:
    """Sources that cannot be read, in part or at all: by name their path, the error's code and what it must name."""
    few = machine("lathe/id_12", 2, 0)
    whole = write_zip(root / "whole.zip", few).read_bytes()
    (root / "empty.zip").write_bytes(b"PK\5\6" + bytes(18))
    (root / "no_bytes.zip").write_bytes(b"")
    (root / "cut.zip").write_bytes(whole[: len(whole) // 2])
    (root / "text.zip").write_bytes(b"<html>404 Not Found</html>" * 50)
    tar_gz = _write_tar_gz(root / "cut.tar.gz", few)
    tar_gz.write_bytes(tar_gz.read_bytes()[:-1000])
    (root / "readme.txt").write_text("not a recording")
    (root / "empty_folder").mkdir()
    write_zip(root / "manifest.zip", {**few, "manifest.csv": b"path,label\nlathe/id_12/normal/00000000.wav,red\n"})
    (root / "night").mkdir()
    write_zip(root / "night" / "good.zip", machine("crane/id_14", 2, 0))
    (root / "night" / "cut.zip").write_bytes(whole[:-30])
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/fan.zip"
    codes = {
        "source_unreadable": ("no_bytes.zip", "cut.zip", "text.zip", "cut.tar.gz", "readme.txt"),
        "source_empty": ("empty.zip", "empty_folder"),
        "source_not_found": ("absent.zip",),
        "bad_configuration": ("manifest.zip",),
    }
    sources = {name: (str(root / name), code, str(root / name)) for code, names in codes.items() for name in names}
    sources["folder_with_a_cut_zip"] = (str(root / "night"), "source_unreadable", str(root / "night" / "cut.zip"))
    sources["unknown_protocol"] = ("nonsense://fan.zip", "protocol_unsupported", "nonsense://fan.zip")
    sources["nobody_answers"] = (nobody, "storage_unavailable", nobody)
    if PERMISSIONS_COUNT:
        write_zip(root / "forbidden.zip", few).chmod(0)
        (root / "forbidden_folder").mkdir(mode=0)
        for name in ("forbidden.zip", "forbidden_folder"):
            sources[name] = (str(root / name), "source_forbidden", str(root / name))
    return sources


NEEDS_PERMISSIONS = pytest.mark.skipif(not PERMISSIONS_COUNT, reason="root, without setpriv, may read everything")
BROKEN = (
    "empty.zip", "no_bytes.zip", "cut.zip", "text.zip", "cut.tar.gz", "absent.zip", "readme.txt", "empty_folder",
    "manifest.zip", "folder_with_a_cut_zip", "unknown_protocol", "nobody_answers",
    *(pytest.param(name, marks=NEEDS_PERMISSIONS) for name in ("forbidden.zip", "forbidden_folder")),
)  # fmt: skip


@dataclass
class Bad:
    """One run over everything that is wrong."""

    ran: Ran
    root: Path
    lake: Path
    plant: Path
    sources: dict[str, tuple[str, str, str]]

    def recordings(self) -> pd.DataFrame:
        return pd.concat(map(pd.read_parquet, self.lake.glob("recordings/**/*.parquet")), ignore_index=True)

    def scored_ids(self) -> set[str]:
        return set(pd.concat(map(pd.read_parquet, self.lake.glob("scores/**/*.parquet")))["recording_id"])


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    root = tmp_path_factory.mktemp("bad")
    lake = root / "lake"
    plant = _write_plant(root / "plant.zip")
    (root / "second").mkdir()
    again = write_zip(root / "second" / "plant.zip", {f"{FOLDER}/00000000.wav": wav(tone(4))})
    sources = _broken_sources(root)
    # The broken ones first: the good ones have to come through all the same.
    given = [*(path for path, _, _ in sources.values()), plant, again]
    before = LIKE_ANY_USER if PERMISSIONS_COUNT else ()
    yield Bad(run_humwatch("run", *given, "--lake", lake, *LIMITED, before=before), root, lake, plant, sources)
    for name in ("forbidden.zip", "forbidden_folder"):
        if (root / name).exists():
            (root / name).chmod(0o700)


@pytest.fixture(scope="module")
def rejected(bad):
    return bad.ran.table("rejected")


def test_a_source_that_cannot_be_read_fails_the_run(bad):
    assert bad.ran.status == 1, bad.ran.stderr
    assert len(bad.ran.summary["errors"]) == len(bad.sources)


@pytest.mark.parametrize("name", BROKEN)
def test_the_source_that_cannot_be_read_is_named(bad, name):
    source, code, named = bad.sources[name]
    (error,) = [error for error in bad.ran.summary["errors"] if error["source"] == source]
    assert (error["stage"], error["code"]) == ("ingest", code)
    assert named in error["message"]


def test_accepted_and_rejected_are_all_that_was_listed(bad, rejected):
    # The plant, the recording repeated in the second one, and the two beside a cut archive.
    listed = N_PLANT + 1 + 2
    n_rejected = len(REJECTED) + len(TOO_SHORT_FOR_A_WINDOW) + 2
    summary = bad.ran.summary
    assert (summary["listed"], summary["accepted"], summary["rejected"]) == (
        listed,
        listed - n_rejected,
        n_rejected,
    )
    assert len(bad.recordings()) == listed
    assert len(rejected) == rejected["recording_id"].nunique() == n_rejected
    assert summary["degraded"]


@pytest.mark.parametrize("member", REJECTED)
def test_a_bad_recording_is_a_row_with_its_reason_and_has_no_score(bad, rejected, member):
    (row,) = rejected[rejected["member"] == member].to_dict("records")
    assert row["reason"] == REJECTED[member]
    assert row["explanation"] == EXPLANATIONS[REJECTED[member]]
    assert row["source_uri"].endswith(str(bad.plant))
    assert row["recording_id"] not in bad.scored_ids()


def test_of_two_recordings_of_one_name_the_first_is_used(bad, rejected):
    repeated = rejected[rejected["reason"] == "duplicate_name"]
    assert sorted(zip(repeated["source_uri"], repeated["member"], strict=True)) == [
        ((bad.root / "plant.zip").as_uri(), TWICE),
        ((bad.root / "second" / "plant.zip").as_uri(), f"{FOLDER}/00000000.wav"),
    ]
    kept = bad.recordings()
    kept = kept[kept["member"].isin([TWICE, f"{FOLDER}/00000000.wav"]) & kept["reason"].isna()]
    assert set(kept["source_uri"]) == {(bad.root / "plant.zip").as_uri()}
    assert set(kept["recording_id"]) <= bad.scored_ids()


def test_exactly_the_accepted_recordings_of_machines_with_a_model_are_scored(bad, rejected):
    recordings = bad.recordings()
    accepted = recordings[~recordings["recording_id"].isin(rejected["recording_id"])]
    wanted = accepted[accepted["machine_type"] != "bearing"]
    scores = bad.ran.table("scores")
    assert set(scores["recording_id"]) == set(wanted["recording_id"]) == bad.scored_ids()
    assert len(scores) == bad.ran.summary["recordings_scored"] == len(GOOD) - 1 + 2
    assert np.isfinite(scores["score"]).all()
    assert (scores["score"] != 0).all()


def test_bad_recordings_train_nothing_and_shift_no_split(bad):
    auc = bad.ran.table("auc").set_index(["machine_type", "machine_id"])
    counts = auc[["n_train", "n_normal", "n_abnormal"]]
    assert counts.loc[("fan", "id_00")].tolist() == [5, 3, 3]
    assert auc.loc[("fan", "id_00"), "reason"].startswith("too few to say")
    assert 0 <= auc.loc[("fan", "id_00"), "auc"] <= 1
    assert counts.loc[("pump", "id_02")].tolist() == [2, 1, 1]


@pytest.mark.parametrize(
    ("machine_key", "counts", "reason"),
    [
        (("valve", "id_04"), [1, 0, 0], "no test recordings"),
        (("slider", "id_06"), [3, 0, 0], "no test recordings"),
        (("bearing", "id_08"), [0, 0, 1], "no training recordings"),
    ],
    ids=["one recording", "no abnormal one", "no normal one"],
)
def test_a_machine_that_cannot_be_evaluated_has_its_row_and_the_reason(bad, machine_key, counts, reason):
    row = bad.ran.table("auc").set_index(["machine_type", "machine_id"]).loc[machine_key]
    assert row[["n_train", "n_normal", "n_abnormal"]].tolist() == counts
    assert row["reason"] == reason
    assert np.isnan(row["auc"])


def test_a_machine_with_one_recording_is_scored_without_a_decision(bad):
    scores = bad.ran.table("scores")
    (row,) = scores[scores["machine_type"] == "valve"].to_dict("records")
    assert row["in_training"]
    assert np.isfinite(row["score"])
    assert np.isnan(row["threshold"])
    assert pd.isna(row["decision"])


def test_a_machine_whose_recordings_are_all_shorter_than_a_window_has_no_scores(bad, rejected):
    rows = rejected[rejected["machine_type"] == "gearbox"]
    assert rows["reason"].tolist() == ["too_short"] * 2
    assert "gearbox" not in set(bad.ran.table("scores")["machine_type"])
    assert "gearbox" in Path(bad.ran.summary["report"]).read_text()


def test_nothing_of_an_unsafe_name_is_believed_or_written(bad, rejected):
    unsafe = rejected[rejected["reason"] == "unsafe_path"]
    assert set(zip(unsafe["machine_type"], unsafe["machine_id"], strict=True)) == {("unknown", "unknown")}
    assert list(bad.root.rglob("escape*")) == list(bad.root.rglob("link*")) == []
    assert list(bad.root.parent.glob("escape*")) == []
    assert not Path("/fan/id_00/normal/escape.wav").exists()


def test_too_many_rejected_recordings_end_in_status_3_and_a_degraded_report(bad):
    ran = run_humwatch("run", bad.plant, "--lake", bad.lake, *LIMITED)
    assert ran.status == 3, ran.stderr
    summary = ran.summary
    assert summary["degraded"]
    assert summary["errors"] == []
    assert (summary["listed"], summary["rejected"]) == (N_PLANT, len(REJECTED) + len(TOO_SHORT_FOR_A_WINDOW) + 1)
    assert summary["accepted"] == len(GOOD)
    run = ("recordings_decoded", "windows_embedded", "models_fitted", "recordings_scored")
    assert [summary[name] for name in run] == [0, 0, 0, 0]
    assert "Degraded" in Path(summary["report"]).read_text()


def test_a_tolerance_that_allows_them_ends_in_status_0(bad):
    ran = run_humwatch("run", bad.plant, "--lake", bad.lake, *LIMITED, "--set", "ingest.max_rejected_fraction=0.9")
    assert ran.status == 0, ran.stderr
    assert not ran.summary["degraded"]
    assert ran.summary["rejected"] == len(REJECTED) + len(TOO_SHORT_FOR_A_WINDOW) + 1
    assert "Degraded" not in Path(ran.summary["report"]).read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("--set", "ingest.colour=blue"), "bad_configuration", "ingest.colour"),
        (("--set", "ingest.name_pattern=(?P<colour>.*)"), "bad_configuration", "colour"),
        (("--backbone", "resnet17"), "bad_configuration", "resnet17"),
        (("--backbone", "vgg19"), "weights_not_found", "vgg19"),
    ],
    ids=["unknown setting", "bad pattern", "unknown backbone", "absent weights"],
)
def test_bad_configuration_ends_in_status_2_before_anything_is_begun(tmp_path, arguments, code, named):
    source = write_zip(tmp_path / "fan.zip", {f"{FOLDER}/0.wav": wav(tone(1))})
    lake = tmp_path / "lake"
    # No weights from earlier downloads, and no way to new ones.
    alone = {"TORCH_HOME": str(tmp_path), "https_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1,localhost"}
    ran = run_humwatch("run", source, "--lake", lake, *arguments, env=alone)
    assert ran.status == 2, ran.stderr
    (error,) = ran.summary["errors"]
    assert error["code"] == code
    assert named in error["message"]
    assert not lake.exists()
