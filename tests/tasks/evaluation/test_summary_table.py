"""Means over machines against statistics.harmonic_mean and hand-computed cases."""

from statistics import harmonic_mean, mean

import numpy as np
import pandas as pd
import pytest

from humwatch.tasks.evaluation.auc_table import COLUMNS as AUC_COLUMNS
from humwatch.tasks.evaluation.auc_table import to_frame
from humwatch.tasks.evaluation.summary_table import COLUMNS, summary_table

ROW = {name: None for name in AUC_COLUMNS if AUC_COLUMNS[name] != "int64"} | {
    "machine_type": "fan",
    "machine_id": "id_00",
    "domain": "all",
    "backbone": "resnet",
    "detector": "gmm",
    "seed": 0,
    "n_train": 10,
    "n_normal": 10,
    "n_abnormal": 10,
}


def auc_rows(*rows):
    return to_frame([ROW | row for row in rows], AUC_COLUMNS)


def dcase(machine_id, source, target, pauc, **facts):
    """The three rows of one section; the figures that must not enter hmean_dcase are 0.01."""
    rows = [{"domain": "all", "auc": 0.01, "pauc": pauc}]
    rows += [{"domain": "source", "auc": source, "pauc": 0.01}, {"domain": "target", "auc": target, "pauc": 0.01}]
    return [{"machine_id": machine_id, **facts, **row} for row in rows]


def at(summary, **where):
    for name, value in where.items():
        summary = summary[summary[name].isna() if value is None else summary[name] == value]
    assert len(summary) == 1
    return summary.iloc[0]


def test_means_by_type_and_over_all_types():
    auc = auc_rows(
        {"machine_id": "id_00", "auc": 0.5, "pauc": 0.6},
        {"machine_id": "id_02", "auc": 1.0, "pauc": 0.8},
        {"machine_type": "pump", "auc": 0.8, "pauc": 0.5},
    )
    summary = summary_table(auc)
    assert summary["machine_type"].tolist() == ["fan", "pump", "all"]
    fan, every = at(summary, machine_type="fan"), at(summary, machine_type="all")
    assert (fan["n_machines"], fan["n_undefined"], every["n_machines"]) == (2, 0, 3)
    assert fan["mean_auc"] == pytest.approx(0.75)
    assert fan["hmean_auc"] == pytest.approx(2 / 3)
    assert fan["mean_pauc"] == pytest.approx(0.7)
    assert fan["hmean_pauc"] == pytest.approx(harmonic_mean([0.6, 0.8]))
    assert every["mean_auc"] == pytest.approx(mean([0.5, 1.0, 0.8]))
    assert every["hmean_auc"] == pytest.approx(harmonic_mean([0.5, 1.0, 0.8]))
    assert summary["hmean_dcase"].isna().all()


def test_columns_and_types_also_of_nothing():
    for auc in (auc_rows({"auc": 0.5, "pauc": 0.5}), auc_rows()):
        summary = summary_table(auc)
        assert summary.dtypes.astype(str).to_dict() == COLUMNS
        assert list(summary.columns) == list(COLUMNS)
    assert summary.empty


def test_undefined_machines_are_counted_not_averaged():
    auc = auc_rows(
        {"machine_id": "id_00", "auc": 0.9, "pauc": 0.7},
        {"machine_id": "id_02", "reason": "no abnormal test recordings"},
        {"machine_type": "pump", "reason": "no training recordings"},
    )
    summary = summary_table(auc)
    fan, pump, every = (at(summary, machine_type=name) for name in ("fan", "pump", "all"))
    assert (fan["n_machines"], fan["n_undefined"], fan["mean_auc"]) == (1, 1, 0.9)
    assert fan["hmean_auc"] == pytest.approx(0.9)
    assert (pump["n_machines"], pump["n_undefined"]) == (0, 1)
    assert pump[["mean_auc", "hmean_auc", "mean_pauc", "hmean_pauc", "hmean_dcase"]].isna().all()
    assert (every["n_machines"], every["n_undefined"], every["mean_auc"]) == (1, 2, 0.9)


def test_seeds_are_averaged_within_the_machine_first():
    auc = auc_rows(
        {"machine_id": "id_00", "seed": 0, "auc": 0.4, "pauc": 0.5},
        {"machine_id": "id_00", "seed": 1, "auc": 0.6, "pauc": 0.5},
        {"machine_id": "id_02", "seed": 0, "auc": 1.0, "pauc": 0.5},
        {"machine_id": "id_02", "seed": 1, "auc": 1.0, "pauc": 0.5},
    )
    row = at(summary_table(auc), machine_type="fan")
    assert row["n_machines"] == 2
    assert row["hmean_auc"] == pytest.approx(2 / 3)


def test_a_machine_undefined_for_one_seed_is_undefined():
    auc = auc_rows(
        {"machine_id": "id_00", "seed": 0, "auc": 0.4, "pauc": 0.5},
        {"machine_id": "id_00", "seed": 1},
        {"machine_id": "id_02", "seed": 0, "auc": 0.8, "pauc": 0.5},
        {"machine_id": "id_02", "seed": 1, "auc": 0.6, "pauc": 0.5},
    )
    row = at(summary_table(auc), machine_type="fan")
    assert (row["n_machines"], row["n_undefined"]) == (1, 1)
    assert row["mean_auc"] == pytest.approx(0.7)


def test_harmonic_mean_with_a_zero_is_zero():
    row = at(
        summary_table(auc_rows({"auc": 0.0, "pauc": 0.5}, {"machine_id": "id_02", "auc": 1.0, "pauc": 0.5})),
        machine_type="fan",
    )
    assert (row["mean_auc"], row["hmean_auc"], row["hmean_pauc"]) == (0.5, 0.0, 0.5)


def test_dcase_score_is_the_harmonic_mean_over_all_sections_and_figures():
    auc = auc_rows(
        *dcase("s0", 0.8, 0.5, 0.55), *dcase("s1", 0.7, 0.6, 0.5), *dcase("s0", 0.9, 0.4, 0.6, machine_type="pump")
    )
    summary = summary_table(auc)
    fan = [0.8, 0.5, 0.55, 0.7, 0.6, 0.5]
    assert at(summary, machine_type="fan", domain="all")["hmean_dcase"] == pytest.approx(harmonic_mean(fan))
    over_all = at(summary, machine_type="all", domain="all")["hmean_dcase"]
    assert over_all == pytest.approx(harmonic_mean([*fan, 0.9, 0.4, 0.6]))
    assert summary.loc[summary["domain"] != "all", "hmean_dcase"].isna().all()
    assert at(summary, machine_type="fan", domain="target")["mean_auc"] == pytest.approx(0.55)


def test_dcase_score_is_over_machines_that_have_all_three():
    plain = {"machine_id": "plain", "auc": 0.2, "pauc": 0.2}
    summary = summary_table(auc_rows(*dcase("s0", 0.8, 0.5, 0.55), *dcase("s1", 0.7, None, 0.5), plain))
    row = at(summary, machine_type="fan", domain="all")
    assert row["n_machines"] == 3
    assert row["hmean_dcase"] == pytest.approx(harmonic_mean([0.8, 0.5, 0.55]))
    assert at(summary, machine_type="fan", domain="target")["n_undefined"] == 1


def within_domains(machine_id, source, target):
    """The three rows of one section as in 2021, each domain's (AUC, pAUC); what must not enter the score is 0.01."""
    rows = [("all", (0.01, 0.01)), ("source", source), ("target", target)]
    return [
        {"machine_id": machine_id, "domain": domain, "auc": 0.01, "pauc": 0.01}
        | dict(zip(("auc_within_domain", "pauc_within_domain"), figures, strict=True))
        for domain, figures in rows
    ]


def test_dcase_score_of_2021_is_the_harmonic_mean_of_both_domains_own_figures():
    whole, half = ((0.8, 0.6), (0.5, 0.52)), ((0.7, 0.6), (None, None))
    summary = summary_table(auc_rows(*within_domains("s0", *whole), *within_domains("s1", *half)))
    row = at(summary, machine_type="all", domain="all")
    assert row["hmean_dcase_2021"] == pytest.approx(harmonic_mean([0.8, 0.6, 0.5, 0.52]))
    assert summary.loc[summary["domain"] != "all", "hmean_dcase_2021"].isna().all()


def test_dcase_score_with_a_zero_is_zero():
    summary = summary_table(auc_rows(*dcase("s0", 0.8, 0.0, 0.55)))
    assert at(summary, machine_type="fan", domain="all")["hmean_dcase"] == 0


def test_conditions_domains_backbones_and_detectors_do_not_mix():
    keys = [
        {"condition": None},
        {"condition": "6_dB"},
        {"condition": "6_dB", "domain": "source"},
        {"condition": "6_dB", "backbone": "vgg"},
        {"condition": "6_dB", "detector": "knn"},
    ]
    auc = auc_rows(*({**key, "auc": 0.5 + 0.1 * i, "pauc": 0.5} for i, key in enumerate(keys)))
    summary = summary_table(auc)
    assert len(summary) == 2 * len(keys)
    for i, key in enumerate(keys):
        where = {"domain": "all", "backbone": "resnet", "detector": "gmm", **key}
        assert at(summary, machine_type="all", **where)["mean_auc"] == pytest.approx(0.5 + 0.1 * i)
    assert summary["condition"].map(type).isin([str, type(None)]).all()


def test_machines_that_differ_by_site_are_two():
    row = at(
        summary_table(auc_rows({"site": "north", "auc": 0.5, "pauc": 0.5}, {"site": "south", "auc": 1.0, "pauc": 0.5})),
        machine_type="fan",
    )
    assert (row["n_machines"], row["mean_auc"]) == (2, 0.75)


def test_a_machine_type_called_all_keeps_its_own_row():
    auc = auc_rows({"machine_type": "all", "auc": 0.6, "pauc": 0.5}, {"machine_type": "fan", "auc": 0.8, "pauc": 0.5})
    summary = summary_table(auc)
    assert summary["machine_type"].tolist() == ["all", "fan", "all"]
    np.testing.assert_allclose(summary["mean_auc"], [0.6, 0.8, 0.7])


def test_row_order_of_the_input_does_not_matter():
    auc = auc_rows(
        *(
            {"machine_id": f"id_{i}", "seed": s, "auc": 0.5 + i / 10 + s / 100, "pauc": 0.5}
            for i in range(4)
            for s in range(3)
        )
    )
    pd.testing.assert_frame_equal(summary_table(auc.sample(frac=1, random_state=0)), summary_table(auc))
