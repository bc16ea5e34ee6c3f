"""Broken sensors through the command line, each night taken in by itself: none is an alarm, each is told in words."""

import io
import shutil
import zipfile
from datetime import date

import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import run_humwatch
from recordings import RATE_HZ, wav, write_zip

from humwatch.flows.simulation import FleetPlan, simulate

SETTINGS = (
    "fit.commissioning_nights=6", "fit.pca_components=8", "alarms.false_alarm_rate=0.05", "alarms.attention_rate=0.1",
    "report.max_clips=0",
)  # fmt: skip
FLEET = ("--preset", "fast", *(part for setting in SETTINGS for part in ("--set", setting)))
NIGHTS = [f"2026-01-{day:02d}" for day in range(1, 9)]
BROKEN = NIGHTS[6:]
STUCK, DROPOUTS, DEAD, ONE, OFFSET, STANDING = (f"id_{index:02d}" for index in range(6))
HEALTHY = {STANDING, "id_06", "id_07"}


def with_gaps(samples, share, generator):
    """Zeros in pieces of 200 ms for a share of the time."""
    starts = np.arange(0, len(samples), RATE_HZ // 5)
    for start in generator.choice(starts, round(share * len(starts)), replace=False):
        samples[start : start + RATE_HZ // 5] = 0
    return samples


def heard(machine, samples, generator):
    """What a broken sensor of a machine makes of a recording."""
    if machine == DROPOUTS:
        return with_gaps(samples, 0.4, generator)
    if machine == DEAD:
        return np.float32(0.05) + generator.integers(0, 2, len(samples)).astype(np.float32) / 2**15
    return samples + 2 * samples.std() if machine == OFFSET else samples


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """Eight fans, healthy for six nights; then five of their sensors break. One of them stands still at times."""
    folder = tmp_path_factory.mktemp("sensors")
    plan = FleetPlan(
        machines=8, nights=8, snr_db=6.0, seed=5, first_night=date(2026, 1, 1), types=("fan",), duration_s=2.2,
        recordings_per_night=6, fault_fraction=0.0, dropout_rate=0.0, broken_rate=0.0,
    )  # fmt: skip
    simulate(plan, folder / "nights", workers=1)
    generator = np.random.default_rng(0)
    last: dict[str, bytes] = {}
    for night in NIGHTS:
        archive = folder / "nights" / night / "fan.zip"
        with zipfile.ZipFile(archive) as read:
            members = {name: read.read(name) for name in read.namelist()}
        for machine in (STUCK, DROPOUTS, DEAD, ONE, OFFSET, STANDING):
            for index, name in enumerate(sorted(name for name in members if f"/{machine}/" in name)):
                samples, _ = soundfile.read(io.BytesIO(members[name]), dtype="float32")
                if machine == STANDING and generator.random() < 0.5:
                    members[name] = wav(with_gaps(samples, generator.uniform(0.1, 0.5), generator))
                elif machine == STUCK and night in BROKEN:
                    members[name] = last[f"{index}"]
                elif machine == STUCK:
                    last[f"{index}"] = members[name]
                elif machine == ONE and night in BROKEN and index:
                    del members[name]
                elif night in BROKEN:
                    members[name] = wav(heard(machine, samples, generator))
        write_zip(archive, members, zipfile.ZIP_STORED)
    lake, runs = folder / "lake", {}
    for night in BROKEN:
        shutil.move(folder / "nights" / night, folder / night)
    assert run_humwatch("nightly", folder / "nights", "--lake", lake, *FLEET).status == 0
    for night in BROKEN:
        runs[night] = run_humwatch("nightly", folder / night, "--lake", lake, *FLEET)
    return runs


@pytest.mark.parametrize("night", BROKEN)
def test_each_broken_sensor_is_told_and_none_is_an_alarm(broken, night):
    machines = broken[night].table("machines").set_index("machine_id")
    assert set(machines.index[machines["state"] == "unhealthy_sensor"]) == {STUCK, DROPOUTS, DEAD, OFFSET}
    assert set(broken[night].table("alarms")["machine_id"]) <= HEALTHY
    reasons = machines["reason"]
    assert reasons[STUCK] == "6 of 6 recordings rejected (6 repeated): the recorder is stuck, or copies were sent"
    assert reasons[DROPOUTS] == "6 of 6 recordings with dropouts: pieces that are silent or never change"
    assert reasons[DEAD] == "6 of 6 recordings rejected (6 silent)"
    assert reasons[OFFSET].startswith("DC offset +")
    assert machines.loc[[STUCK, DROPOUTS, DEAD, OFFSET], "statistic"].isna().all()


@pytest.mark.parametrize("night", BROKEN)
def test_one_recording_of_six_is_judged_and_told(broken, night):
    one = broken[night].table("machines").set_index("machine_id").loc[ONE]
    assert (one["n_recordings"], one["n_scored"]) == (1, 1)
    assert one["reason"].startswith("judged by 1 of usually 6 recordings")
    assert np.isfinite(one["statistic"])


@pytest.mark.parametrize("night", BROKEN)
def test_healthy_sensors_are_judged_by_all_they_sent(broken, night):
    machines = broken[night].table("machines").set_index("machine_id").loc[sorted(HEALTHY)]
    assert machines["n_scored"].tolist() == [6, 6, 6]
    assert not machines["reason"].fillna("").str.contains("recordings with dropouts|judged by").any()


@pytest.mark.parametrize("night", BROKEN)
def test_what_a_stuck_recorder_sends_is_not_scored(broken, night):
    ran = broken[night]
    assert (ran.summary["rejected"], ran.summary["reasons"]) == (12, {"repeated": 6, "silent": 6})
    rejected = ran.table("rejected")
    assert rejected.groupby("machine_id")["reason"].unique().map(list).to_dict() == {
        STUCK: ["repeated"], DEAD: ["silent"],
    }  # fmt: skip
    assert set(ran.table("scores")["machine_id"]).isdisjoint({STUCK, DEAD})
    assert pd.to_datetime(ran.table("scores")["batch"]).dt.strftime("%Y-%m-%d").unique().tolist() == [night]
