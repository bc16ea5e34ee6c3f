"""The main job by its command: what comes out, and that a second run does only what is missing."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import FAKE, modification_times, run_humwatch, sorted_scores
from recordings import machine, tone, wav, write_zip

TABLES = ("auc", "summary", "scores", "rejected", "comparisons", "calibration", "published")
OWN_WORKER = ("--set", "dask.address=null", "--workers", "1")
SMALL = (*FAKE, "--set", "store.block_recordings=8", "--set", "store.chunk_recordings=4")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    members = {**machine("fan/id_00", 12, 6), **machine("fan/id_02", 10, 4), **machine("pump/id_00", 6, 0)}
    return write_zip(tmp_path_factory.mktemp("source") / "plant.zip", members)


@pytest.fixture(scope="module")
def first(archive, tmp_path_factory):
    lake = tmp_path_factory.mktemp("lake")
    ran = run_humwatch("run", archive, "--lake", lake, *SMALL)
    assert ran.status == 0, ran.stderr
    return lake, ran


@pytest.fixture
def lake(first, tmp_path):
    """A copy of the first run's lake that a test may change."""
    return Path(shutil.copytree(first[0], tmp_path / "lake"))


def test_the_summary_says_what_was_done(first):
    summary = first[1].summary
    assert {name: summary[name] for name in ("command", "listed", "accepted", "rejected", "degraded", "errors")} == {
        "command": "run",
        "listed": 38,
        "accepted": 38,
        "rejected": 0,
        "degraded": False,
        "errors": [],
    }
    assert summary["recordings_decoded"] == 38
    assert summary["recordings_scored"] == 38
    assert summary["models_fitted"] == 3
    # 3 s at hop 512 are 94 frames: one window of 64.
    assert summary["windows_embedded"] == 38
    assert list(summary["seconds"]) == ["ingest", "spectrograms", "features", "fit", "score", "evaluate", "report"]
    assert json.loads((Path(summary["report"]).parent / "summary.json").read_text())["listed"] == 38


def test_the_auc_table_has_the_counts_of_the_split(first):
    auc = first[1].table("auc").set_index(["machine_type", "machine_id"])
    counts = auc[["n_train", "n_normal", "n_abnormal"]]
    assert counts.loc[("fan", "id_00")].tolist() == [6, 6, 6]
    assert counts.loc[("fan", "id_02")].tolist() == [6, 4, 4]
    assert counts.loc[("pump", "id_00")].tolist() == [6, 0, 0]
    assert auc.loc[("pump", "id_00"), "reason"] == "no test recordings"
    assert np.isnan(auc.loc[("pump", "id_00"), "auc"])
    assert pd.isna(auc.loc[("fan", "id_00"), "reason"])


def test_the_report_holds_every_file_of_the_contract(first):
    folder = Path(first[1].summary["report"]).parent
    tables = {f"{name}.{kind}" for name in TABLES for kind in ("csv", "parquet")}
    assert {path.name for path in folder.iterdir()} == {"index.html", "summary.json", *tables}
    latest = json.loads((folder.parent / "latest.json").read_text())
    assert latest["report_id"] == folder.name
    assert folder.name in (folder.parent / "index.html").read_text()


def test_spectrograms_open_in_xarray_and_equal_a_direct_computation(first, archive):
    import librosa
    import soundfile

    stores = sorted(first[0].glob("spectrograms/*/fan/all/*.zarr"))
    dataset = xr.open_zarr(stores[0])
    assert dataset["logmel"].dims == ("recording", "mel", "frame")
    rows = pd.concat(pd.read_parquet(path) for path in first[0].glob("recordings/machine_type=fan/**/*.parquet"))
    row = rows[rows["member"] == "fan/id_02/abnormal/00000001.wav"].iloc[0]
    kept = dataset["logmel"].values[list(dataset["recording_id"].values).index(row["recording_id"])]
    with zipfile.ZipFile(archive) as source, source.open(row["member"]) as file:
        samples, rate_hz = soundfile.read(file, dtype="float32")
    power = librosa.feature.melspectrogram(y=samples, sr=rate_hz, n_fft=1024, hop_length=512, n_mels=64)
    expected = librosa.power_to_db(power, ref=np.max)
    np.testing.assert_allclose(kept[:, : expected.shape[1]], expected, atol=1e-4)


def test_scores_carry_what_an_analyst_needs(first):
    scores = first[1].table("scores")
    assert len(scores) == 38
    assert scores["score"].notna().all()
    tested = scores[~scores["in_training"]]
    assert tested["p_value"].notna().all()
    assert scores.loc[scores["in_training"], "p_value"].isna().all()
    # Six out-of-fold normals support no rate below 1/7.
    assert scores["threshold"].isna().all()
    assert all(len(windows) == 1 for windows in scores["window_scores"])


def test_a_second_run_touches_nothing_even_if_audio_and_backbone_are_out_of_reach(lake, archive, tmp_path):
    # The archive's directory stays, every byte of its members is gone; a backbone that runs raises.
    poisoned = tmp_path / "poisoned" / archive.name
    poisoned.parent.mkdir()
    data = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as source:
        end = source.start_dir
    data[:end] = bytes(end)
    original = archive.read_bytes()
    before = modification_times(lake)
    try:
        archive.write_bytes(bytes(data))
        ran = run_humwatch("run", archive, "--lake", lake, *SMALL, *OWN_WORKER, env=_poison(tmp_path))
    finally:
        archive.write_bytes(original)
    assert ran.status == 0, ran.stderr
    work = ("recordings_decoded", "windows_embedded", "models_fitted", "recordings_scored")
    assert [ran.summary[name] for name in work] == [0, 0, 0, 0]
    assert ran.summary["listed"] == 38
    assert Path(ran.summary["report"]).exists()
    # It was written anew, so it was listed anew: only that list is new.
    after = {path: time for path, time in modification_times(lake).items() if path in before or "sources/" not in path}
    assert after == before


def test_the_poison_works(tmp_path):
    script = (
        "import numpy as np; from humwatch.flows.presets import load; "
        "from humwatch.tasks.features.embed import Embedder; "
        "from humwatch.tasks.plan.representations import parse; given = load(); "
        "made = Embedder(parse('fake'), given.features, given.images, given.spectrogram); "
        "made.embed(np.zeros((1, 64, 64), dtype=np.float32), np.array([64]))"
    )
    environment = {**os.environ, **_poison(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert "RuntimeError: poisoned backbone" in ran.stderr


def test_another_detector_runs_only_fit_and_later_stages(lake, archive):
    before = modification_times(lake)
    ran = run_humwatch("run", archive, "--lake", lake, *SMALL, "--set", "fit.gmm_components=3")
    assert ran.status == 0, ran.stderr
    assert ran.summary["recordings_decoded"] == ran.summary["windows_embedded"] == 0
    assert ran.summary["models_fitted"] == 3
    assert ran.summary["recordings_scored"] == 38
    after = modification_times(lake)
    kept = ("recordings/", "health/", "spectrograms/", "features/")
    assert {p: t for p, t in after.items() if p.startswith(kept)} == {
        p: t for p, t in before.items() if p.startswith(kept)
    }


def test_another_mel_setting_makes_new_keys_and_leaves_the_old_data(lake, archive):
    before = modification_times(lake)
    ran = run_humwatch("run", archive, "--lake", lake, *SMALL, "--set", "spectrogram.n_mels=32")
    assert ran.status == 0, ran.stderr
    assert ran.summary["recordings_decoded"] == 38
    after = modification_times(lake)
    derived = {
        path: time for path, time in before.items() if path.startswith(("spectrograms/", "features/", "models/"))
    }
    assert derived.items() <= after.items()
    assert len(list((lake / "spectrograms").iterdir())) == 2


def test_a_further_archive_is_all_that_is_processed(lake, archive, tmp_path):
    further = write_zip(tmp_path / "further.zip", machine("valve/id_00", 4, 2))
    ran = run_humwatch("run", archive, further, "--lake", lake, *SMALL)
    assert ran.status == 0, ran.stderr
    assert ran.summary["listed"] == 44
    assert ran.summary["recordings_decoded"] == ran.summary["windows_embedded"] == 6
    assert ran.summary["models_fitted"] == 1


def test_a_changed_recording_supersedes_the_old_one(lake, archive, tmp_path):
    with zipfile.ZipFile(archive) as source:
        members = {name: source.read(name) for name in source.namelist()}
    changed = "fan/id_00/normal/00000003.wav"
    members[changed] = wav(tone(1))
    original = archive.read_bytes()
    try:
        write_zip(archive, members)
        ran = run_humwatch("run", archive, "--lake", lake, *SMALL)
    finally:
        archive.write_bytes(original)
    assert ran.status == 0, ran.stderr
    assert (ran.summary["listed"], ran.summary["recordings_decoded"]) == (38, 1)
    scores = ran.table("scores").set_index("file")
    assert len(scores) == 38


def test_the_number_of_workers_changes_no_digit(first, archive, tmp_path):
    ran = run_humwatch("run", archive, "--lake", tmp_path, *SMALL, *OWN_WORKER)
    assert ran.status == 0, ran.stderr
    assert sorted_scores(tmp_path) == sorted_scores(first[0])


def test_each_stage_alone_gives_what_run_gives(first, archive, tmp_path):
    ran = run_humwatch("ingest", archive, "--lake", tmp_path, *SMALL)
    assert (ran.status, ran.summary["listed"], ran.summary["recordings_decoded"]) == (0, 38, 0)
    early = run_humwatch("evaluate", "--lake", tmp_path, *SMALL)
    assert early.status == 0
    for stage in ("spectrograms", "features", "fit", "score", "evaluate", "report"):
        ran = run_humwatch(stage, "--lake", tmp_path, *SMALL)
        assert ran.status == 0, ran.stderr
        assert list(ran.summary["seconds"]) == (["evaluate", "report"] if stage == "report" else [stage])
    assert sorted_scores(tmp_path) == sorted_scores(first[0])


def _poison(folder: Path) -> dict[str, str]:
    """An environment in which every backbone of any process raises when it runs."""
    (folder / "sitecustomize.py").write_text(
        textwrap.dedent("""
            import importlib.machinery, sys

            class Poison:
                def find_spec(self, name, path, target=None):
                    if name != "humwatch.tasks.features.backbones":
                        return None
                    spec = importlib.machinery.PathFinder.find_spec(name, path)
                    load = spec.loader.exec_module

                    def exec_module(module):
                        load(module)
                        def refuse(*_):
                            raise RuntimeError("poisoned backbone")
                        module.Backbone.__call__ = refuse

                    spec.loader.exec_module = exec_module
                    return spec

            sys.meta_path.insert(0, Poison())
        """)
    )
    return {"PYTHONPATH": str(folder)}
