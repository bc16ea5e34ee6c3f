"""comparisons.csv of small fleets: pairs of models, machines combined, domains, seeds, and what is undefined."""

import numpy as np
import pandas as pd
import pytest

from humwatch.tasks.evaluation.comparisons_table import COLUMNS, comparisons_table
from humwatch.tasks.evaluation.paired import delong, placements
from humwatch.tasks.settings import EvaluationSettings

SETTINGS = EvaluationSettings()
DETECTORS = ("good", "bad", "same")


def fleet(machines, *, seeds=(0,), domain=lambda _: None, random_state=0):
    """Assignments and scores: `good` separates by 3, `bad` by nothing, `same` repeats `good`."""
    rng = np.random.default_rng(random_state)
    assignments, scores = [], []
    for (machine_type, machine_id), (n_normal, n_abnormal) in machines.items():
        for seed in seeds:
            for index in range(n_normal + n_abnormal):
                abnormal = index >= n_normal
                recording = {"recording_id": f"{machine_type}-{machine_id}-{index}", "seed": seed}
                label = "abnormal" if abnormal else "normal"
                facts = {"site": None, "machine_type": machine_type, "machine_id": machine_id, "condition": None}
                assignments.append({**recording, **facts, "role": "test", "label": label, "domain": domain(index)})
                good, bad = rng.normal(3 * abnormal, 1), rng.normal()
                for detector, score in zip(DETECTORS, (good, bad, good), strict=True):
                    scores.append({**recording, "backbone": "net", "detector": detector, "score": score})
    return pd.DataFrame(assignments), pd.DataFrame(scores)


def table(assignments, scores, detectors=DETECTORS):
    return comparisons_table(assignments, scores, SETTINGS, [("net", detector) for detector in detectors])


def row_of(frame, a="good", b="bad", **where):
    found = frame[(frame["detector_a"] == a) & (frame["detector_b"] == b)]
    for name, value in where.items():
        found = found[found[name].isna() if value is None else found[name] == value]
    assert len(found) == 1
    return found.iloc[0]


def scores_of(assignments, scores, detector, machine_id):
    joined = assignments.merge(scores[scores["detector"] == detector], on=["recording_id", "seed"])
    joined = joined[joined["machine_id"] == machine_id]
    return tuple(joined.loc[joined["label"] == label, "score"].to_numpy() for label in ("normal", "abnormal"))


def test_a_machine_has_delongs_figures_and_only_a_real_difference_is_better():
    data = fleet({("fan", "id_00"): (30, 20)})
    result = table(*data)
    assert result.dtypes.astype(str).to_dict() == COLUMNS
    row = row_of(result, machine_id="id_00")
    placed = [placements(*scores_of(*data, detector, "id_00")) for detector in ("good", "bad")]
    difference, error = delong(*placed)
    assert (row["auc_a"], row["auc_b"]) == pytest.approx([one.auc for one in placed])
    assert row["difference"] == pytest.approx(difference)
    assert (row["low"], row["high"]) == pytest.approx((difference - 1.959964 * error, difference + 1.959964 * error))
    assert (row["n_normal"], row["n_abnormal"], row["better"]) == (30, 20, "a")
    assert row_of(result, a="bad", b="same", machine_id="id_00")["better"] == "b"
    same = row_of(result, a="good", b="same", machine_id="id_00")
    assert (same["difference"], same["p_value"], same["better"]) == (0, 1, "neither")


def test_machines_are_combined_as_independent_figures_by_type_and_over_all():
    data = fleet({("fan", "id_00"): (30, 20), ("fan", "id_02"): (12, 25), ("pump", "id_00"): (9, 8)})
    result = table(*data)
    fans = [row_of(result, machine_type="fan", machine_id=name) for name in ("id_00", "id_02")]
    errors = [(row["high"] - row["difference"]) / 1.959964 for row in fans]
    combined = row_of(result, machine_type="fan", machine_id=None)
    assert combined["difference"] == pytest.approx(np.mean([row["difference"] for row in fans]))
    assert combined["high"] - combined["low"] == pytest.approx(2 * 1.959964 * np.hypot(*errors) / 2, rel=1e-6)
    assert (combined["n_machines"], combined["n_normal"], combined["n_abnormal"]) == (2, 42, 45)
    assert row_of(result, machine_type="all", machine_id=None)["n_machines"] == 3


def test_domains_are_compared_apart_against_all_abnormals():
    result = table(*fleet({("fan", "id_00"): (30, 20)}, domain=lambda index: "target" if index % 3 else "source"))
    counts = {
        row["domain"]: (row["n_normal"], row["n_abnormal"])
        for _, row in result[result["machine_id"].notna()].iterrows()
    }
    assert counts == {"all": (30, 20), "source": (10, 20), "target": (20, 20)}


def test_over_seeds_the_error_is_no_smaller_than_one_seeds():
    data = fleet({("fan", "id_00"): (30, 20)}, seeds=(0, 1))
    one = [table(rows0, rows1) for rows0, rows1 in [[part[part["seed"] == seed] for part in data] for seed in (0, 1)]]
    widths = [np.subtract(*row_of(result, machine_id="id_00")[["high", "low"]]) for result in one]
    both = row_of(table(*data), machine_id="id_00")
    assert both["high"] - both["low"] == pytest.approx(np.mean(widths))
    assert both["n_normal"] == 30


def test_what_is_undefined_says_so_and_is_in_no_mean():
    assignments, scores = fleet({("fan", "id_00"): (30, 20), ("fan", "id_02"): (1, 9), ("fan", "id_04"): (5, 5)})
    missing = (scores["recording_id"] == "fan-id_04-0") & (scores["detector"] == "bad")
    result = table(assignments, scores[~missing])
    assert row_of(result, machine_id="id_02")["reason"] == "one recording of a label"
    gone = row_of(result, machine_id="id_04")
    assert gone["reason"] == "scores missing"
    assert np.isnan(gone["auc_b"])
    assert gone["better"] is None
    assert row_of(result, a="good", b="same", machine_id="id_04")["better"] == "neither"
    combined = row_of(result, machine_type="fan", machine_id=None)
    assert (combined["n_machines"], combined["n_undefined"], combined["n_normal"]) == (1, 2, 30)


def test_nothing_to_compare_is_an_empty_table():
    assignments, scores = fleet({("fan", "id_00"): (4, 4)})
    for result in (table(assignments, scores, ("good",)), table(assignments.assign(label=None), scores)):
        assert result.empty
        assert result.dtypes.astype(str).to_dict() == COLUMNS
    only_normal = table(*fleet({("fan", "id_00"): (4, 0)}))
    assert only_normal.empty
