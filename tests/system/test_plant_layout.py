"""Twenty nights as plants keep them, `s3://bucket/line/asset/YYYY/MM/DD/HHMMSS.wav`, scored as in the simulator's own.

The rules read machines and nights of such paths; that the names are times is said by the layout that the documentation
gives for it.
"""

from datetime import date, timedelta

import pandas as pd
import pytest
from conftest import run_humwatch
from s3_server import s3_server, s3_workers

from humwatch.flows.simulation import FleetPlan, simulate

pytestmark = pytest.mark.slow

NIGHTS = [(date(2026, 1, 1) + timedelta(days=day)).isoformat() for day in range(20)]
PLAN = FleetPlan(
    machines=2, nights=len(NIGHTS), snr_db=6.0, seed=1, first_night=date(2026, 1, 1), types=("fan",),
    recordings_per_night=2, duration_s=1.0, fault_fraction=0.5, dropout_rate=0.0, broken_rate=0.0,
)  # fmt: skip
LAYOUT = "{machine_type}/{machine_id}/{recorded_at:%Y/%m/%d/%H%M%S}.wav"
# Nearest neighbours, whose scores do not hang on the order of the training recordings, which that of the names is.
SETTINGS = (
    *(
        "--backbone",
        "fake",
        "--detector",
        "knn",
        "--set",
        "images.image_size_px=64",
        "--set",
        "fit.pca_components=none",
    ),
    *("--set", "report.max_clips=0"),
    *("--set", "images.window_frames=16", "--set", "images.window_hop_frames=16"),
    *("--set", "fit.commissioning_nights=5", "--set", "fit.min_training_recordings=8"),
    *("--set", "fit.false_alarm_rate=0.2"),
)
AS_A_PLANT = ("--set", f"ingest.layout={LAYOUT}")
SPAN = ("--from", NIGHTS[0], "--to", NIGHTS[-1])


@pytest.fixture(scope="module")
def server():
    with s3_server() as running:
        yield running


@pytest.fixture(scope="module")
def env(server):
    with s3_workers(server.env) as env:
        yield env


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Scores of the same takes as the simulator writes them, an archive a night, all at once."""
    folder = tmp_path_factory.mktemp("own")
    simulate(PLAN, folder / "nights", workers=1)
    ran = run_humwatch("nightly", folder / "nights", "--lake", folder / "lake", *SETTINGS)
    assert ran.status == 0, ran.stderr
    return scores_in(folder / "lake")


@pytest.fixture(scope="module")
def takes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plant") / "sound"
    simulate(PLAN, folder, workers=1, layout=LAYOUT)
    return folder


def scores_in(lake):
    """The scores of a lake by machine and time."""
    scores = pd.concat(map(pd.read_parquet, (lake / "scores").rglob("*.parquet")))
    parts = pd.concat(map(pd.read_parquet, (lake / "recordings").rglob("*.parquet")))
    keys = ["machine_type", "machine_id", "recorded_at"]
    joined = scores[["recording_id", "score", "p_value"]].merge(parts[["recording_id", *keys]], on="recording_id")
    return joined.set_index(keys).sort_index()[["score", "p_value"]]


def assert_same_scores(found, expected):
    """To rounding: a training recording is 0 or 1e-8 from itself, as the sums of its features fall out."""
    pd.testing.assert_frame_equal(found, expected, rtol=1e-6, atol=1e-6)


def test_the_reference_scores_every_take(expected):
    assert len(expected) == 2 * 20 * 2
    assert expected["score"].nunique() > 40
    assert expected.index.get_level_values("recorded_at").notna().all()


def test_backfilled_it_is_scored_as_in_the_simulators_layout(server, env, takes, expected, tmp_path):
    source = server.new_uri()
    server.put(takes, source)
    ran = run_humwatch("backfill", source, "--lake", tmp_path / "lake", *SPAN, *SETTINGS, *AS_A_PLANT, env=env)
    assert ran.status == 0, ran.stderr
    assert [night["night"] for night in ran.summary["nights"]] == NIGHTS
    found = scores_in(tmp_path / "lake")
    assert len(found) == 2 * 16 * 2  # a backfill leaves the nights before there was a model
    assert_same_scores(found, expected.loc[found.index])


def test_night_by_night_it_is_scored_as_in_the_simulators_layout(server, env, takes, expected, tmp_path):
    source = server.new_uri()
    for night in NIGHTS:
        for asset in ("fan/id_00", "fan/id_01"):
            of_night = f"{asset}/{night.replace('-', '/')}"
            server.put(takes / of_night, f"{source}/{of_night}")
        ran = run_humwatch("nightly", source, "--lake", tmp_path / "lake", *SETTINGS, *AS_A_PLANT, env=env)
        assert ran.status == 0, ran.stderr
        assert (ran.summary["night"], ran.summary["recordings_decoded"]) == (night, 4)
    assert_same_scores(scores_in(tmp_path / "lake"), expected)
