"""calibration.csv: counts of false alarms, their exact intervals, and pools."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from humwatch.tasks.evaluation.calibration_table import COLUMNS, calibration_table

ROW = {
    "machine_type": "fan",
    "site": None,
    "condition": None,
    "domain": "all",
    "backbone": "net",
    "detector": "gmm",
    "seed": 0,
}


def table(*machines, rate=0.1):
    """From (machine type, ID, normals, false alarms or None)."""
    rows = [
        {
            **ROW,
            "machine_type": kind,
            "machine_id": name,
            "n_normal": n,
            "false_alarm_rate": None if k is None else k / n,
        }
        for kind, name, n, k in machines
    ]
    frame = pd.DataFrame(rows)
    return calibration_table(frame.assign(false_alarm_rate=frame["false_alarm_rate"].astype(float)), rate, 0.95)


def test_the_interval_is_clopper_pearsons():
    result = table(("fan", "id_00", 47, 9))
    assert result.dtypes.astype(str).to_dict() == COLUMNS
    row = result.iloc[0]
    assert (row["alarms"], row["n_normal"], row["stated_rate"]) == (9, 47, 0.1)
    assert row["observed_rate"] == pytest.approx(9 / 47)
    # The ends are the rates under which as many alarms, or as few, have a chance of 2.5 %.
    assert binom.sf(8, 47, row["low"]) == pytest.approx(0.025, abs=1e-9)
    assert binom.cdf(9, 47, row["high"]) == pytest.approx(0.025, abs=1e-9)


@pytest.mark.parametrize(("alarms", "verdict"), [(0, "fewer"), (10, "as stated"), (25, "more")])
def test_the_verdict_follows_the_interval(alarms, verdict):
    assert table(("fan", "id_00", 100, alarms)).iloc[0]["verdict"] == verdict


def test_pools_count_every_machine_with_decisions_once():
    result = table(
        ("fan", "id_00", 50, 3), ("fan", "id_02", 30, 5), ("pump", "id_00", 20, None), ("pump", "id_02", 10, 0)
    )
    pools = result[result["machine_id"].isna()].set_index("machine_type")
    figures = ["n_machines", "n_undefined", "n_normal", "alarms"]
    assert pools.loc["fan", figures].tolist() == [2, 0, 80, 8]
    assert pools.loc["pump", figures].tolist() == [1, 1, 10, 0]
    assert pools.loc["all", figures].tolist() == [3, 1, 90, 8]
    assert pools.loc["all", "observed_rate"] == pytest.approx(8 / 90)


def test_a_machine_without_decisions_has_its_reason_and_no_rate():
    row = table(("fan", "id_00", 20, None)).iloc[0]
    assert row["reason"].startswith("no decisions")
    assert np.isnan(row["observed_rate"])
    assert row["verdict"] is None


def test_machines_without_normal_test_recordings_have_no_row():
    empty = table(("fan", "id_00", 20, 1)).iloc[:0]
    frame = pd.DataFrame([{**ROW, "machine_id": "id_00", "n_normal": 0, "false_alarm_rate": np.nan}])
    result = calibration_table(frame, 0.1, 0.95)
    assert result.empty
    assert list(result.columns) == list(empty.columns)
