"""Commissioning through the command line: a machine that breaks in its second week is seen before it is learned."""

import json
import os
import shutil
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from conftest import run_humwatch

from humwatch.flows.simulation import FleetPlan, simulate

WINDOW, LAST = 10, "2026-01-11"
FLAGS = (
    "--preset", "fast", "--set", f"fit.commissioning_nights={WINDOW}", "--set", "report.max_clips=0",
)  # fmt: skip
OF_THE_CHART = ["night_score", "reference_nights", "statistic", "p_value", "evidence", "level_attention", "level_alarm"]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Eleven nights of four machines, judged one after the other; one breaks on its eighth night and gets worse."""
    folder = tmp_path_factory.mktemp("commissioning")
    plan = FleetPlan(
        machines=4, nights=11, snr_db=6.0, seed=8, first_night=date(2026, 1, 1), types=("fan", "pump"), duration_s=2.2,
        recordings_per_night=4, fault_fraction=0.25, fault_size=4.0, commissioning_nights=7, dropout_rate=0.0,
        broken_rate=0.0,
    )  # fmt: skip
    simulated = simulate(plan, folder / "nights", workers=1)
    truth = pd.read_csv(simulated.machines_csv).dropna(subset="onset").iloc[0]
    assert truth["onset"] == "2026-01-08"
    ran = run_humwatch(
        "backfill", folder / "nights", "--lake", folder / "lake", "--from", "2026-01-01", "--to", LAST, *FLAGS
    )
    assert ran.status == 0, ran.stdout + ran.stderr
    return folder / "lake", folder / "nights", (truth["machine_type"], truth["machine_id"])


def rows_of(lake: Path) -> pd.DataFrame:
    """The rows of all nights as they were judged last, by machine."""
    newest = {path.parent.name: path for path in sorted((lake / "nights").rglob("*.parquet"))}
    rows = pd.concat([pd.read_parquet(path) for path in newest.values()])
    return rows.set_index(["machine_type", "machine_id"]).sort_index()


def passport_of(lake: Path, key: str) -> dict:
    """The passport of some model of a key."""
    return json.loads(next((lake / "models" / key).rglob("passport.json")).read_text())


def test_a_machine_that_breaks_on_its_eighth_night_is_in_provisional_attention(fleet):
    lake, _, broken = fleet
    rows = rows_of(lake)
    early, late = rows[rows["night"] <= "2026-01-05"], rows[rows["night"].between("2026-01-06", "2026-01-10")]
    assert (set(early["state"]), early["provisional"].any()) == ({"learning"}, False)
    assert late["provisional"].all()
    assert late[["statistic", "p_value"]].notna().all(axis=None)
    assert late[["night_score", "evidence", "level_alarm", "model_version"]].isna().all(axis=None)
    seen = late.loc[broken].set_index("night")
    assert set(seen.loc[:"2026-01-07", "state"]) == {"learning"}
    assert set(seen.loc["2026-01-09":, "state"]) == {"attention"}  # on its second night at the latest
    assert set(seen.loc["2026-01-09":, "onset"]) == {"2026-01-08"}
    assert seen.loc["2026-01-10", "reason"].startswith("provisional: the nights from 2026-01-08 on do not look like")
    assert set(late.drop(broken)["state"]) == {"learning"}
    assert late.drop(broken)["reason"].str.endswith("; provisional: like the nights before").all()
    assert not rows[rows["night"] <= "2026-01-10"]["new_alarm"].any()


def test_pages_and_mail_of_such_a_night_say_provisional(fleet):
    lake, _, (machine_type, machine_id) = fleet
    (report,) = (lake / "reports").glob("night-2026-01-09-*")
    assert "Attention (provisional)" in (report / "mail.html").read_text()
    assert "<small>provisional</small>" in (report / "index.html").read_text()
    (page,) = (report / "machines").glob(f"{machine_type}-{machine_id}-*")
    assert "do not look like the 7 before them" in page.read_text()


def test_nights_that_were_learned_all_the_same_are_named_until_they_have_a_label(fleet, tmp_path):
    lake, sources, broken = fleet
    tonight = rows_of(lake).query(f"night == '{LAST}'")
    assert not tonight["provisional"].any()
    told = tonight.loc[broken]
    assert (told["state"], told["onset"]) == ("attention", "2026-01-08")
    assert "learned as normal, and unlike the nights before: 2026-01-08 to 2026-01-10; label them" in told["reason"]
    assert not tonight.drop(broken)["reason"].fillna("").str.contains("learned as normal").any()

    shutil.copytree(lake, tmp_path / "lake")
    log = tmp_path / "log.csv"
    log.write_text(
        "machine_type,machine_id,from,until,label,note\n"
        f"{broken[0]},{broken[1]},2026-01-08,2026-01-10,abnormal,bearing\n"
    )
    assert run_humwatch("labels", "import", log, "--lake", tmp_path / "lake").status == 0
    ran = run_humwatch("nightly", sources, "--lake", tmp_path / "lake", "--date", LAST, *FLAGS)
    assert ran.status == 0, ran.stderr
    after = rows_of(tmp_path / "lake").query(f"night == '{LAST}'").loc[broken]
    assert "learned as normal" not in (after["reason"] or "")


def test_a_rerun_judges_nothing_again(fleet, tmp_path):
    lake = tmp_path / "lake"
    shutil.copytree(fleet[0], lake)
    before = {path: path.read_bytes() for kind in ("nights", "models", "scores") for path in (lake / kind).rglob("*.*")}
    for night in ("2026-01-09", LAST):
        ran = run_humwatch("nightly", fleet[1], "--lake", lake, "--date", night, *FLAGS)
        assert ran.status == 0, ran.stderr
    after = {path: path.read_bytes() for kind in ("nights", "models", "scores") for path in (lake / kind).rglob("*.*")}
    # the first run scored no night of the commissioning by the model that was trained on it
    assert {path for path in after if path.parts[-2] != "2026-01-09"} >= set(before) - set(after)
    assert {path: after[path] for path in before} == before


def test_the_chart_is_the_same_without_provisional_models(fleet, tmp_path):
    lake = tmp_path / "lake"
    shutil.copytree(fleet[0], lake)
    keys = {path.name for path in (lake / "models").iterdir()}
    (real,) = [key for key in keys if max(passport_of(lake, key)["calibration_batches"]) == "2026-01-10"]
    for kind in ("models", "scores"):
        for other in keys - {real}:
            shutil.rmtree(lake / kind / other)
    shutil.rmtree(lake / "nights")
    ran = run_humwatch("nightly", fleet[1], "--lake", lake, "--date", LAST, *FLAGS)
    assert ran.status == 0, ran.stderr
    with_them, without = (rows_of(each).query(f"night == '{LAST}'") for each in (fleet[0], lake))
    pd.testing.assert_frame_equal(with_them[OF_THE_CHART], without[OF_THE_CHART])


def test_pruning_leaves_provisional_models_and_their_scores(fleet, tmp_path):
    lake = tmp_path / "lake"
    shutil.copytree(fleet[0], lake)
    for path in lake.rglob("*"):
        os.utime(path, (0, 0))  # long ago: nothing is kept for being new
    before = {path for kind in ("models", "scores", "nights") for path in (lake / kind).rglob("*.*")}
    ran = run_humwatch("prune", "--lake", lake, "--set", "fit.training=assumed_normal", *FLAGS)
    assert ran.status == 0, ran.stderr
    assert {path for kind in ("models", "scores", "nights") for path in (lake / kind).rglob("*.*")} == before
