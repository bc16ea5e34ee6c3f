"""Rows of the scores table for a handful of recordings, by hand."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from humwatch.storage.tables import SCORES
from humwatch.tasks.scoring.rows import score_rows

DRIFT = np.array([0.1, 0.2, np.nan, 0.4])
CALIBRATION = np.array([1.0, 2.0, 3.0, 4.0])
MODEL = {"model_version": "v1", "detector": "gmm", "backbone": "resnet", "seed": 3}
DESIGNED = (
    "recording_id file machine_type machine_id site batch condition domain split in_training detector backbone seed"
    " model_version score threshold p_value decision drift window_scores label recorded_at clip_start_s"
)


@pytest.fixture
def recordings():
    night = pd.Timestamp("2026-11-21T02:00:00Z")
    return pd.DataFrame(
        {
            "recording_id": ["a", "b", "c", "d"],
            "content_tag": ["1", "2", "3", "4"],
            "source_uri": [
                "s3://bucket/fan.zip",
                "s3://bucket/fan.zip",
                "file:///data/x/c.wav",
                "file:///data/x/d.wav",
            ],
            "member": ["fan/id_00/normal/a.wav", "fan/b.flac", "", None],
            "site": [None, None, None, None],
            "machine_type": "fan",
            "machine_id": "id_00",
            "batch": "2026-11-21",
            "condition": ["6_dB", "6_dB", None, None],
            "domain": [None, "source", "target", None],
            "label": ["normal", "abnormal", None, "normal"],
            "split": ["train", "test", None, None],
            "recorded_at": [night, night, pd.NaT, pd.NaT],
            "clip_start_s": [0.0, 10.0, np.nan, np.nan],
            "role": ["train", "test", "test", "unused"],
            "in_training": [True, False, False, False],
        },
        index=[7, 3, 3, 0],
    )


@pytest.fixture
def window_scores():
    return np.array([[9.0, np.nan], [2.5, 4.5], [np.nan, np.nan], [0.5, 1.5]])


def rows(recordings, window_scores, threshold=3.0, calibration=CALIBRATION, domains=None):
    scores = np.array([9.0, 3.5, np.nan, 1.0])
    return score_rows(recordings, window_scores, scores, DRIFT, calibration, domains, threshold=threshold, **MODEL)


def test_columns_facts_and_order(recordings, window_scores):
    table = rows(recordings, window_scores)
    assert list(table.columns) == DESIGNED.split()
    assert table.index.tolist() == [0, 1, 2, 3]
    assert table["recording_id"].tolist() == ["a", "b", "c", "d"]
    assert table["file"].tolist() == ["a.wav", "b.flac", "c.wav", "d.wav"]
    assert table["split"].tolist() == ["train", "test", "test", "unused"]
    assert table["in_training"].tolist() == [True, False, False, False]
    for name in ("site", "machine_type", "machine_id", "batch", "condition", "domain", "label", "recorded_at"):
        pd.testing.assert_series_equal(table[name], recordings[name].reset_index(drop=True))
    for name, value in MODEL.items():
        assert table[name].tolist() == [value] * 4


def test_decisions_and_p_values(recordings, window_scores):
    table = rows(recordings, window_scores)
    np.testing.assert_array_equal(table["score"], [9.0, 3.5, np.nan, 1.0])
    assert table["threshold"].tolist() == [3.0] * 4
    assert table["decision"].tolist() == [None, "abnormal", None, "normal"]
    # of four calibration scores one is at or above 3.5, all are at or above 1.0
    np.testing.assert_allclose(table["p_value"], [np.nan, 2 / 5, np.nan, 5 / 5])


def test_what_the_model_has_seen_is_not_judged_whatever_its_role_now(recordings, window_scores):
    table = rows(recordings.assign(in_training=[False, True, False, False]), window_scores)
    assert table["split"].tolist() == ["train", "test", "test", "unused"]
    assert table["in_training"].tolist() == [False, True, False, False]
    assert table["decision"].tolist() == ["abnormal", None, None, "normal"]
    np.testing.assert_allclose(table["p_value"], [1 / 5, np.nan, np.nan, 5 / 5])


def test_a_score_at_the_threshold_is_normal(recordings, window_scores):
    assert rows(recordings, window_scores, threshold=3.5)["decision"].tolist() == [None, "normal", None, "normal"]


@pytest.mark.parametrize("threshold", [None, np.nan])
def test_without_a_threshold_there_is_no_decision(recordings, window_scores, threshold):
    table = rows(recordings, window_scores, threshold=threshold)
    assert table["decision"].tolist() == [None] * 4
    assert table["threshold"].dtype == np.float64
    assert table["threshold"].isna().all()
    assert table["p_value"][1] == pytest.approx(2 / 5)


def test_undefined_calibration_scores_are_left_out(recordings, window_scores):
    holes = np.array([1.0, np.nan, 2.0, 3.0, np.nan, 4.0])
    pd.testing.assert_frame_equal(rows(recordings, window_scores, calibration=holes), rows(recordings, window_scores))


def test_p_values_are_the_most_cautious_over_domains(recordings, window_scores):
    calibration, domains = np.arange(1.0, 11.0), ["source"] * 5 + ["target"] * 5
    table = rows(recordings, window_scores, calibration=calibration, domains=domains)
    assert table["p_value"][1] == 1.0  # 3.5 is below every score of the target
    assert rows(recordings, window_scores, calibration=calibration)["p_value"][1] == pytest.approx(8 / 11)


def test_windows_are_lists_without_padding(recordings, window_scores):
    table = rows(recordings, window_scores)
    assert table["window_scores"].tolist() == [[9.0], [2.5, 4.5], [], [0.5, 1.5]]


def test_it_fits_the_stored_schema(recordings, window_scores):
    stored = pa.Table.from_pandas(rows(recordings, window_scores), schema=SCORES, preserve_index=False)
    assert stored.schema.names == DESIGNED.split()
    assert stored["window_scores"].to_pylist() == [[9.0], [2.5, 4.5], [], [0.5, 1.5]]
    assert stored["decision"].to_pylist() == [None, "abnormal", None, "normal"]
    assert stored["p_value"].to_pylist() == [None, 0.4, None, 1.0]
    assert stored["score"].null_count == stored["drift"].null_count == 1


def test_no_recordings_give_no_rows(recordings):
    table = score_rows(
        recordings.iloc[:0], np.empty((0, 2)), np.empty(0), np.empty(0), CALIBRATION, None, threshold=None, **MODEL
    )
    assert list(table.columns) == DESIGNED.split()
    assert table.empty


def test_lengths_must_agree(recordings, window_scores):
    with pytest.raises(ValueError, match="4 recordings, 4 rows of window scores, 3 scores, 4 drifts"):
        score_rows(recordings, window_scores, np.zeros(3), DRIFT, CALIBRATION, None, threshold=None, **MODEL)
    with pytest.raises(ValueError, match="4 recordings, 3 rows of window scores, 4 scores, 4 drifts"):
        score_rows(recordings, window_scores[:3], np.zeros(4), DRIFT, CALIBRATION, None, threshold=None, **MODEL)
