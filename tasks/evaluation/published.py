"""published.csv: Table 1 of the paper beside ours, where the machines are MIMII's.

Müller, Ritz, Illium & Linnhoff-Popien, "Acoustic Anomaly Detection for Machine Sounds based on Image Transfer
Learning", 2020 (arXiv 2006.03429v2), Table 1: mean ROC-AUC over five splits at a signal-to-noise ratio of -6 dB.
`data/muller2020_table1.csv` holds its 352 figures in percent: network, detector, then fan, pump, slider and valve with
IDs 00, 02, 04 and 06.
"""

from __future__ import annotations

import functools
from importlib import resources
from itertools import product

import pandas as pd

from humwatch.tasks.evaluation.auc_table import optional_text, to_frame

COLUMNS: dict[str, str] = {
    "machine_type": "object",
    "machine_id": "object",
    "condition": "object",
    "network": "object",
    "published_detector": "object",
    "published_auc": "float64",
    "backbone": "object",
    "detector": "object",
    "n_seeds": "int64",
    "auc": "float64",
    "auc_low": "float64",
    "auc_high": "float64",
    "difference": "float64",
}
CONDITION = "-6_dB"
MACHINES = tuple(product(("fan", "pump", "slider", "valve"), ("id_00", "id_02", "id_04", "id_06")))
NETWORKS = {
    "alexnet": "AlexNet",
    "resnet18": "ResNet18",
    "resnet34": "ResNet34",
    "squeezenet1_0": "SqueezeNet",  # the paper does not say which version
    "squeezenet1_1": "SqueezeNet",
}
DETECTORS = {"gmm": "GMM", "bayesian_gmm": "B-GMM", "isolation_forest": "IF", "kde": "KDE", "ocsvm": "OC-SVM"}
AUTOENCODERS = {"lenet_dcae": "LeNet-DCAE", "small_dcae": "Small-DCAE"}  # networks of their own; their detector is "-"
_CELL = ["machine_type", "machine_id", "network", "published_detector"]
_OURS = ["backbone", "detector"]


@functools.cache
def published_aucs() -> pd.DataFrame:
    """Return the 352 published AUCs, 0 to 1: machine_type, machine_id, network, published_detector, published_auc."""
    with resources.files("humwatch.tasks.evaluation").joinpath("data", "muller2020_table1.csv").open() as file:
        table = pd.read_csv(file, header=None)
    rows = [
        (*machine, network, detector, round(percent / 100, 3))
        for network, detector, *percents in table.itertuples(index=False)
        for machine, percent in zip(MACHINES, percents, strict=True)
    ]
    return pd.DataFrame(rows, columns=[*_CELL, "published_auc"])


def published_table(auc: pd.DataFrame) -> pd.DataFrame:
    """Set our AUCs beside the published ones.

    Args:
        auc: columns as `auc_table.COLUMNS`.

    Returns:
        Columns and dtypes as `COLUMNS`: for each of MIMII's machines in `auc` at -6 dB every published figure, with
        the AUC of our model of the same network and detector where there is one (its mean over the seeds, empty when
        it is undefined for one of them; a row for each when several models are of that network); no row when `auc`
        has none of these machines.
    """
    ours = auc[(auc["condition"] == CONDITION) & (auc["domain"] == "all") & auc["site"].isna()]
    ours = ours[pd.MultiIndex.from_frame(ours[["machine_type", "machine_id"]]).isin(MACHINES)]
    if ours.empty:
        return to_frame([], COLUMNS)
    published = published_aucs().merge(ours[["machine_type", "machine_id"]].drop_duplicates())
    figures = ours.groupby([*_CELL[:2], *_OURS], sort=False)[["auc", "auc_low", "auc_high"]]
    means = figures.mean().where(figures.count().eq(figures.size(), axis=0)).assign(n_seeds=figures.size())
    means = means.reset_index()
    means["network"] = means["detector"].map(AUTOENCODERS).fillna(means["backbone"].map(NETWORKS))
    means["published_detector"] = means["detector"].map(DETECTORS | dict.fromkeys(AUTOENCODERS, "-"))
    rows = published.merge(means.dropna(subset=_CELL), on=_CELL, how="left")
    rows["difference"] = rows["auc"] - rows["published_auc"]
    rows["n_seeds"] = rows["n_seeds"].fillna(0).astype(int)
    for name in _OURS:
        rows[name] = rows[name].map(optional_text)
    records: list[dict[str, object]] = rows.assign(condition=CONDITION).to_dict("records")  # type: ignore[assignment]
    return to_frame(records, COLUMNS)
