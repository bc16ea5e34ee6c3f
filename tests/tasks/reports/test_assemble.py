"""What goes into a report, from a lake that the stages have filled: tables, notes, pictures and sound."""

import io
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile
from lakes import all_scores, build, small, with_settings
from passports import gate
from PIL import Image
from recordings import machine, tone, wav, write_zip

from humwatch.storage.models import Machine, put_gate
from humwatch.tasks.evaluation.store import evaluate, read_evaluation
from humwatch.tasks.plan.keys import model_key
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.variants import Variant
from humwatch.tasks.reports.assemble import REJECTED_COLUMNS, clips, files_of, fleet_table, notes_table, rejected_table

MEMBERS = {
    **machine("fan/id_00", 8, 3, duration_s=2.0),
    **machine("pump/id_00", 4, 0, duration_s=2.0),
    "fan/id_00/normal/text.wav": b"this is no sound",
    "fan/id_00/normal/anomaly_id_00_00000001.wav": wav(tone(1, duration_s=2.0)),
    "pump/id_00/normal/slow.wav": wav(tone(3, duration_s=2.0, rate_hz=24_000), rate_hz=24_000),
}


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    archive = write_zip(tmp_path_factory.mktemp("source") / "plant.zip", MEMBERS)
    work = Run(str(tmp_path_factory.mktemp("lake")), small(ingest={"max_rejected_fraction": 1}))
    build(work, archive)
    return work


@pytest.fixture
def copied(scored, tmp_path):
    return replace(scored, lake_uri=str(shutil.copytree(scored.lake_uri, tmp_path / "lake")))


def catalog_of(work):
    return work.catalog()


def auc_of(work):
    lake = work.lake
    return read_evaluation(lake, evaluate(work)).auc


def test_every_rejected_recording_is_a_row_with_its_reason_in_words(scored):
    table = rejected_table(catalog_of(scored))
    assert list(table.columns) == REJECTED_COLUMNS
    rows = {row["member"].rsplit("/", 1)[1]: row for row in table.to_dict("records")}
    assert {name: (str(row["reason"]), row["explanation"]) for name, row in rows.items()} == {
        "text.wav": ("not_audio", "the bytes are no file of sound that is known here"),
        "anomaly_id_00_00000001.wav": (
            "conflicting_names",
            "two parts of the name or the manifest contradict each other",
        ),
    }
    assert {(row["machine_type"], row["machine_id"], row["batch"]) for row in rows.values()} == {
        ("fan", "id_00", "all")
    }


def test_the_fleet_counts_what_each_machine_sent_lost_and_trained_on(scored):
    silent = [Machine("valve", "id_00", "oslo", "6_dB")]
    table = fleet_table(catalog_of(scored), auc_of(scored), silent)
    assert table.astype(object).where(table.notna(), None).to_numpy().tolist() == [
        # Eight normals, of which three are held out; two files more that are rejected.
        [None, "fan", "id_00", None, 13, 2, 5],
        [None, "pump", "id_00", None, 5, 0, 5],
        ["oslo", "valve", "id_00", "6_dB", 0, 0, 0],
    ]


def test_models_say_what_they_lack_and_machines_what_became_of_their_sound(copied):
    work = with_settings(copied, fit={"gmm_components": 80})
    build(work)
    key = model_key(Variant("fake", "gmm", 0), work.embedding, work.settings.fit)
    pump = Machine("pump", "id_00")
    put_gate(work.lake, key, pump, gate(accepted=False, decided_at="2026-11-21", reason="it was wrong"))
    put_gate(work.lake, key, Machine("fan", "id_00"), gate(reason="right"))
    scores = all_scores(work)
    scores = scores[scores["model_version"].isin(versions_under(work, key))]
    table = notes_table(catalog_of(work), scores, work, [Machine("valve", "id_00")])
    said = {tuple(row) for row in table[["machine_type", "backbone", "detector", "note"]].itertuples(index=False)}
    few = "5 calibration recordings support no rate below 0.17; asked for 0.01"
    assert said == {
        ("fan", "fake", "gmm", "6 mixture components instead of 80: one a training window"),
        ("fan", "fake", "gmm", few),
        ("pump", "fake", "gmm", "6 mixture components instead of 80: one a training window"),
        ("pump", "fake", "gmm", few),
        ("pump", "fake", "gmm", "a new model was refused on 2026-11-21 and this one kept: it was wrong"),
        ("pump", "", "", "1 recordings resampled to 16000 Hz"),
        ("valve", "", "", "silent: it sent nothing, and did on nights before"),
    }


def versions_under(work, key):
    return {path.split("/")[-2] for path in work.lake.list(f"models/{key}", "passport.json")}


def test_a_model_that_lacks_nothing_says_nothing(copied):
    work = with_settings(copied, fit={"false_alarm_rate": 0.5})
    build(work)
    key = model_key(Variant("fake", "gmm", 0), work.embedding, work.settings.fit)
    scores = all_scores(work)
    scores = scores[scores["model_version"].isin(versions_under(work, key)) & (scores["machine_type"] == "fan")]
    assert notes_table(catalog_of(work), scores, work, [])["note"].tolist() == ["1 recordings resampled to 16000 Hz"]


def test_clips_are_the_most_abnormal_recordings_as_they_look_and_sound(scored):
    shown = list(clips(catalog_of(scored), all_scores(scored), scored))
    fans = all_scores(scored).query("machine_type == 'fan' and not in_training").sort_values("score", ascending=False)
    # All five pumps train: nothing of them to show.
    assert [clip.recording_id for clip in shown] == fans["recording_id"].tolist()[:3]
    facts = [(clip.label, clip.threshold, clip.site, clip.condition) for clip in shown]
    assert facts == [(label, None, None, None) for label in fans["label"][:3]]
    assert [clip.score for clip in shown] == fans["score"].tolist()[:3]
    for clip in shown:
        with Image.open(io.BytesIO(clip.spectrogram_png)) as picture:
            assert picture.format == "PNG"
        assert clip.mime == "audio/mpeg"
        samples, rate_hz = soundfile.read(io.BytesIO(clip.audio))
        assert len(samples) / rate_hz == pytest.approx(2.0, abs=0.1)
        # A whine at 2640 Hz is what is wrong with abnormal ones.
        spectrum, expected_hz = np.abs(np.fft.rfft(samples)), 2640 if clip.label == "abnormal" else 440
        assert np.fft.rfftfreq(len(samples), 1 / rate_hz)[spectrum.argmax()] == pytest.approx(expected_hz, abs=2)


def test_a_report_may_have_shorter_clips_fewer_or_none(scored):
    for report, count in (({"max_clips": 0}, 0), ({"top_recordings": 0}, 0), ({"max_clips": 2, "clip_s": 0.5}, 2)):
        work = with_settings(scored, report=report)
        shown = list(clips(catalog_of(scored), all_scores(scored), work))
        assert len(shown) == count
        for clip in shown:
            assert soundfile.info(io.BytesIO(clip.audio)).duration == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("damage", ["gone", "other bytes"])
def test_a_clip_whose_sound_is_out_of_reach_still_has_its_picture(tmp_path, damage):
    archive = write_zip(tmp_path / "plant.zip", machine("fan/id_00", 4, 2, duration_s=2.0))
    work = Run(str(tmp_path / "lake"), small())
    build(work, archive)
    if damage == "gone":
        archive.unlink()
    else:
        archive.write_bytes(bytes(len(archive.read_bytes())))
    shown = list(clips(catalog_of(work), all_scores(work), work))
    assert len(shown) == 3
    for clip in shown:
        assert (clip.audio, clip.mime) == (None, "")
        assert clip.spectrogram_png.startswith(b"\x89PNG")


def test_tables_become_csv_without_lists_and_parquet_with_everything(scored):
    scores = all_scores(scored)
    files = files_of({"scores": scores, "rejected": rejected_table(catalog_of(scored))})
    assert set(files) == {"scores.csv", "scores.parquet", "rejected.csv", "rejected.parquet"}
    csv = pd.read_csv(io.BytesIO(files["scores.csv"]))
    assert list(csv.columns) == [name for name in scores.columns if name != "window_scores"]
    assert csv["score"].tolist() == scores["score"].tolist()
    assert b"\r" not in files["scores.csv"]
    parquet = pd.read_parquet(io.BytesIO(files["scores.parquet"]))
    assert parquet["window_scores"].map(list).tolist() == scores["window_scores"].map(list).tolist()
    assert files == files_of({"scores": scores, "rejected": rejected_table(catalog_of(scored))})
