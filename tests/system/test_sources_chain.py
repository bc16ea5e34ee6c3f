"""Every kind of source, name and sound file that Humwatch reads, in one run of the command."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import FAKE, Ran, run_humwatch
from recordings import machine, tone, wav, write_zip

PATTERN = (
    r"(?P<site>line\d+)__(?P<machine_type>\w+?)__(?P<machine_id>[\w-]+?)__(?P<label>normal|abnormal)__(?P<index>\d+)"
)
TAKES = tuple(
    f"{split}/{label}/{index:02d}"
    for split, label, count in (("train", "normal", 4), ("test", "normal", 2), ("test", "abnormal", 2))
    for index in range(count)
)
# Machine IDs named by how their files are coded; all of them hold the same takes, 16 bits deep.
LOSSLESS = ("pcm_16", "pcm_24", "pcm_32", "float", "double", "flac", "flac_24", "eight_channels")
LOSSY = ("pcm_u8", "resampled")

# (site, machine_type, machine_id, condition) -> recordings: normal, abnormal; roles: train, test normal, test abnormal
EXPECTED = {
    **{("", "valve", machine_id, ""): ([6, 2], [4, 2, 2]) for machine_id in (*LOSSLESS, *LOSSY)},
    ("north", "compressor", "c-7", "low load"): ([4, 3], [2, 2, 3]),
    ("line2", "mixer", "m-3", ""): ([3, 1], [2, 1, 1]),
    ("", "fan", "id_00", "-6_dB"): ([5, 1], [4, 1, 1]),
    ("", "ToyCar", "section_00", ""): ([6, 2], [3, 3, 2]),
}


def _take(name: str, channels: int = 1, rate_hz: int = 16_000) -> np.ndarray:
    """A take in int16; the first channel is the same whatever the number of channels."""
    seed = TAKES.index(name)
    takes = [tone(seed + 100 * channel, frequency_hz=400 + 20 * seed, rate_hz=rate_hz) for channel in range(channels)]
    return np.round(np.concatenate(takes, axis=1) * 32_000).astype(np.int16)


def _coded(machine_id: str, name: str) -> bytes:
    if machine_id == "eight_channels":
        return wav(_take(name, channels=8))
    if machine_id == "resampled":
        return wav(_take(name, rate_hz=44_100), rate_hz=44_100)
    if machine_id.startswith("flac"):
        return wav(_take(name), container="FLAC", subtype="PCM_24" if machine_id == "flac_24" else "PCM_16")
    as_float = _take(name) / 32_768
    return wav(as_float if machine_id in {"float", "double", "pcm_u8"} else _take(name), subtype=machine_id.upper())


def _valves(*machine_ids: str) -> dict[str, bytes]:
    return {
        f"valve/{machine_id}/{name}.{'flac' if machine_id.startswith('flac') else 'wav'}": _coded(machine_id, name)
        for machine_id in machine_ids
        for name in TAKES
    }


def _write_folder(path: Path, members: Mapping[str, bytes]) -> Path:
    for name, data in members.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def _write_tar(path: Path, members: Mapping[str, bytes], mode: str) -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def _described() -> dict[str, bytes]:
    """Names that say nothing, and a manifest that says everything."""
    labels = ["normal"] * 4 + ["abnormal"] * 3
    lines = [f"r{index}.wav,north,compressor,c-7,low load,{label}" for index, label in enumerate(labels)]
    manifest = "\n".join(["path,site,machine_type,machine_id,condition,label", *lines, ""])
    return {"manifest.csv": manifest.encode(), **{f"r{index}.wav": wav(tone(200 + index)) for index in range(7)}}


def _dcase() -> dict[str, bytes]:
    names = [f"train/section_00_source_train_normal_{index:04d}_spd_28V.wav" for index in range(2)]
    names += ["train/section_00_target_train_normal_0002_noAttribute.wav"]
    names += [f"test/section_00_source_test_normal_{index:04d}_spd_28V.wav" for index in range(2)]
    names += ["test/section_00_target_test_normal_0002_spd_31V.wav"]
    names += [f"test/section_00_{domain}_test_anomaly_0000_spd_31V.wav" for domain in ("source", "target")]
    return {f"ToyCar/{name}": wav(tone(300 + index)) for index, name in enumerate(names)}


@dataclass
class Chain:
    """What one run over every source left behind."""

    ran: Ran
    lake: Path

    def rows(self, table: str) -> pd.DataFrame:
        return pd.concat(map(pd.read_parquet, self.lake.glob(f"{table}/**/*.parquet")), ignore_index=True)

    def valves(self, store: str, array: str) -> dict[tuple[str, str], np.ndarray]:
        """What a store holds of the valves, by machine ID and take."""
        rows = self.rows("recordings").set_index("recording_id")
        kept: dict[tuple[str, str], np.ndarray] = {}
        for path in self.lake.glob(f"{store}/*/valve/*/*.zarr"):
            dataset = xr.open_zarr(path)
            for recording_id, values in zip(dataset["recording_id"].values, dataset[array].values, strict=True):
                machine_id = rows.loc[recording_id, "machine_id"]
                take = rows.loc[recording_id, "path"].partition(f"/{machine_id}/")[2].rpartition(".")[0]
                kept[machine_id, take] = values
        return kept


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    root = tmp_path_factory.mktemp("sources")
    hall = _write_folder(root / "hall", _valves("pcm_16", "pcm_u8"))
    write_zip(hall / "nested.zip", _valves("eight_channels"), zipfile.ZIP_STORED)
    mixers = [("normal", 0), ("normal", 1), ("normal", 2), ("abnormal", 3)]
    logged = {f"line2__mixer__m-3__{label}__{index}.wav": wav(tone(400 + index)) for label, index in mixers}
    sources = [
        hall,
        write_zip(root / "deflated.zip", _valves("pcm_24", "float")),
        _write_tar(root / "plain.tar", _valves("pcm_32", "double", "resampled"), "w"),
        _write_tar(root / "packed.tar.gz", _valves("flac"), "w:gz"),
        _write_tar(root / "packed.tgz", _valves("flac_24"), "w:gz"),
        write_zip(root / "described.zip", _described()),
        write_zip(root / "log.zip", logged),
        _write_tar(root / "-6_dB_fan.tar", machine("fan/id_00", 5, 1), "w"),
        write_zip(root / "dev_data.zip", _dcase()),
    ]
    lake = root / "lake"
    ran = run_humwatch("run", *sources, "--lake", lake, *FAKE, "--set", f"ingest.name_pattern={PATTERN}")
    return Chain(ran, lake)


def _machine(row) -> tuple[str, ...]:
    names = ("site", "machine_type", "machine_id", "condition")
    return tuple("" if pd.isna(row[name]) else row[name] for name in names)


def test_everything_is_read_and_scored(chain):
    assert chain.ran.status == 0, chain.ran.stderr
    total = sum(sum(counts) for counts, _ in EXPECTED.values())
    summary = chain.ran.summary
    assert summary["errors"] == []
    assert (summary["listed"], summary["accepted"], summary["rejected"]) == (total, total, 0)
    assert summary["recordings_decoded"] == summary["windows_embedded"] == summary["recordings_scored"] == total
    assert summary["models_fitted"] == len(EXPECTED)
    scores = chain.ran.table("scores")
    assert len(scores) == total
    assert np.isfinite(scores["score"]).all()


def test_names_and_manifest_give_machines_and_labels(chain):
    found: dict[tuple[str, ...], list[int]] = {}
    for row in chain.rows("recordings").to_dict("records"):
        counts = found.setdefault(_machine(row), [0, 0])
        counts[["normal", "abnormal"].index(row["label"])] += 1
    assert found == {key: counts for key, (counts, _) in EXPECTED.items()}


def test_the_auc_table_has_every_machine_and_the_roles_of_its_recordings(chain):
    auc = chain.ran.table("auc")
    auc = auc[auc["domain"] == "all"]
    found = {_machine(row): [row["n_train"], row["n_normal"], row["n_abnormal"]] for row in auc.to_dict("records")}
    assert found == {key: roles for key, (_, roles) in EXPECTED.items()}
    assert auc["auc"].between(0, 1).all()
    assert auc["reason"].str.startswith("too few to say").all()


def test_dcase_names_give_domains_and_attributes(chain):
    auc = chain.ran.table("auc")
    auc = auc[auc["machine_type"] == "ToyCar"].set_index("domain")[["n_train", "n_normal", "n_abnormal"]]
    assert auc.loc["source"].tolist() == [2, 2, 2]
    assert auc.loc["target"].tolist() == [1, 1, 2]
    rows = chain.rows("recordings")
    rows = rows[rows["machine_type"] == "ToyCar"]
    assert set(rows["attributes"]) == {"spd_28V", "spd_31V", "noAttribute"}
    assert set(rows["batch"]) == {"train", "test"}


@pytest.mark.parametrize("machine_id", LOSSLESS[1:])
@pytest.mark.parametrize(("store", "array"), [("spectrograms", "logmel"), ("features", "features")])
def test_neither_container_nor_coding_changes_a_bit_of_what_is_heard(chain, machine_id, store, array):
    heard = chain.valves(store, array)
    assert len({heard["pcm_16", take].tobytes() for take in TAKES}) == len(TAKES)
    for take in TAKES:
        assert np.isfinite(heard[machine_id, take]).all()
        np.testing.assert_array_equal(heard[machine_id, take], heard["pcm_16", take], take)


def test_health_says_what_the_files_were(chain):
    health = chain.rows("health").merge(chain.rows("recordings")[["recording_id", "machine_id"]], on="recording_id")
    assert (health["duration_s"] == 3.0).all()
    assert (health["n_frames"] == 94).all()
    facts = health.groupby("machine_id")[["sample_rate_hz", "channels", "resampled"]].agg(["min", "max"])
    assert facts.loc["resampled"].tolist() == [44_100, 44_100, 1, 1, True, True]
    assert facts.loc["eight_channels"].tolist() == [16_000, 16_000, 8, 8, False, False]
    others = facts.drop(index=["resampled", "eight_channels"])
    assert (others.to_numpy() == [16_000, 16_000, 1, 1, False, False]).all()


def test_the_report_says_what_was_resampled(chain):
    page = Path(chain.ran.summary["report"]).read_text()
    assert f"{len(TAKES)} recordings resampled to 16000 Hz" in page
    assert page.count("recordings resampled to") == 1


def test_eight_bits_and_resampling_leave_the_sound_in_the_spectrogram(chain):
    kept = chain.valves("spectrograms", "logmel")
    for take in TAKES:
        reference = kept["pcm_16", take]
        # 8 bits: quantisation noise, far below what is loud.
        loud = reference > -30
        assert loud.mean() > 0.1
        difference = np.abs(kept["pcm_u8", take] - reference)[loud]
        assert difference.max() > 0
        assert np.median(difference) < 1
        # 44.1 kHz taken for 16 kHz would sound 2.76 times too low.
        assert kept["resampled", take].mean(axis=1).argmax() == reference.mean(axis=1).argmax()
