"""The paper's table beside ours: cells found by network, detector and machine."""

import numpy as np
import pandas as pd
import pytest

from humwatch.tasks.evaluation.published import COLUMNS, published_aucs, published_table

ROW = {
    "machine_type": "fan", "machine_id": "id_02", "site": None, "condition": "-6_dB", "domain": "all",
    "backbone": "resnet34", "detector": "gmm", "seed": 0, "auc": 0.7, "auc_low": 0.6, "auc_high": 0.8,
}  # fmt: skip


def ours(*changes):
    return pd.DataFrame([{**ROW, **change} for change in changes])


def test_the_data_are_the_papers():
    aucs = published_aucs()
    assert len(aucs) == 352
    # The means its text gives, in percent.
    means = 100 * aucs.groupby(["network", "published_detector"])["published_auc"].mean()
    for network, detector, mean in (("ResNet34", "GMM", 74.0), ("ResNet18", "GMM", 72.3), ("AlexNet", "GMM", 69.5)):
        assert means[network, detector] == pytest.approx(mean, abs=0.06)
    assert means["SqueezeNet", "OC-SVM"] == pytest.approx(68.5, abs=0.06)
    assert means["LeNet-DCAE"].item() == pytest.approx(59.8, abs=0.06)


def test_a_machine_of_the_paper_has_all_its_figures_and_ours_in_its_cell():
    result = published_table(ours({}))
    assert result.dtypes.astype(str).to_dict() == COLUMNS
    assert len(result) == 22
    (cell,) = result[result["auc"].notna()].to_dict("records")
    assert (cell["network"], cell["published_detector"], cell["backbone"], cell["detector"]) == (
        "ResNet34",
        "GMM",
        "resnet34",
        "gmm",
    )
    assert cell["difference"] == pytest.approx(0.7 - cell["published_auc"])
    others = result[result["auc"].isna()]
    assert others[["backbone", "detector"]].isna().all(axis=None)
    assert others["difference"].isna().all()


def test_ours_is_the_mean_over_seeds_and_empty_when_one_is_undefined():
    seeds = published_table(ours({}, {"seed": 1, "auc": 0.8})).dropna(subset="auc").iloc[0]
    assert (seeds["auc"], seeds["n_seeds"]) == (pytest.approx(0.75), 2)
    assert published_table(ours({}, {"seed": 1, "auc": np.nan}))["auc"].isna().all()


def test_models_of_one_network_have_a_row_each_and_models_the_paper_lacks_none():
    result = published_table(ours({"backbone": "squeezenet1_0"}, {"backbone": "squeezenet1_1"}, {"detector": "knn"}))
    assert len(result) == 23
    assert sorted(result["backbone"].dropna()) == ["squeezenet1_0", "squeezenet1_1"]


@pytest.mark.parametrize(
    "change",
    [{"machine_id": "id_01"}, {"machine_type": "gearbox"}, {"condition": "0_dB"}, {"condition": None}, {"site": "a"}],
)
def test_other_machines_and_conditions_have_no_published_figures(change):
    assert published_table(ours(change)).empty
