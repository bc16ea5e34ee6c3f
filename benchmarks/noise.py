"""The paper's two claims on simulated machines: `python benchmarks/noise.py --lake LAKE`.

Labelled archives in MIMII's layout, the same takes at -6, 0 and 6 dB over factory noise, through
`humwatch benchmark mimii`: the default preset, the paper's chains with the backbones whose weights are there, and the
autoencoders. Printed are mean AUCs over machines and seeds and paired differences with their intervals: of the default
preset, and for the two claims, that image features beat autoencoders in noise and that GMM and one-class SVM lead.
Options after `--` go to the benchmark (`-- --backbone efficientnet_lite0 --skip lenet_dcae`). What is done stays in
the lake, the archives beside it, so it can be stopped and run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from humwatch.flows.simulation import FleetPlan, simulate_labelled
from humwatch.flows.simulation.machine_types import MACHINE_TYPES
from humwatch.tasks.settings import AUTOENCODER_NAMES

LEADING = ("gmm", "ocsvm")


def write_archives(folder: Path, given: argparse.Namespace) -> list[Path]:
    """One archive a type and SNR, every type with as many machines; the same bytes each time."""
    archives: list[Path] = []
    for snr_db in given.snr:
        plan = FleetPlan(
            machines=len(MACHINE_TYPES) * given.machines,
            nights=1,
            snr_db=float(snr_db),
            seed=given.seed,
            duration_s=10.0,
            fault_size=given.fault_size,
        )
        archives += simulate_labelled(plan, folder, given.normals, given.abnormals).archives
    return archives


def run(archives: list[Path], lake: str, options: list[str]) -> Path:
    """Run the benchmark; return the folder of its tables."""
    command = [sys.executable, "-m", "humwatch", "benchmark", "mimii", *map(str, archives), "--lake", lake, "--json"]
    ran = subprocess.run([*command, *options], check=True, stdout=subprocess.PIPE, text=True)
    return Path(json.loads(ran.stdout)["report"]).parent


def auc_table(auc: pd.DataFrame) -> Table:
    """Mean AUC of every model over all machines, over those of each SNR and over those of each type."""
    rows = auc[(auc["domain"] == "all") & auc["auc"].notna()]
    conditions = sorted(rows["condition"].unique(), key=lambda name: int(name.split("_")[0]))
    groups = [("condition", name) for name in conditions]
    groups += [("machine_type", name) for name in sorted(rows["machine_type"].unique())]
    table = Table("preset", "backbone", "detector", "all", *(name for _, name in groups), title="mean AUC")
    of_models = rows.groupby(["preset", "backbone", "detector"])
    for model, of in sorted(of_models, key=lambda item: -item[1]["auc"].mean()):
        means = [of["auc"].mean(), *(of.loc[of[column] == name, "auc"].mean() for column, name in groups)]
        table.add_row(*model, *(f"{mean:.3f}" for mean in means))
    return table


def claims_table(auc: pd.DataFrame, comparisons: pd.DataFrame) -> Table:
    """Differences over all machines, by condition.

    The default preset against all; GMM and one-class SVM against the other detectors on their backbone and against the
    autoencoders.
    """
    ours = auc.loc[auc["preset"] == "default", ["backbone", "detector"]].drop_duplicates()
    default = set(ours.itertuples(index=False, name=None))

    def rank(model: tuple[str, str]) -> int:
        of_images = not model[0].startswith("logmel")
        return 0 if model in default else 1 if of_images and model[1] in LEADING else 2

    over = comparisons[(comparisons["machine_type"] == "all") & (comparisons["domain"] == "all")]
    table = Table("a", "b", "condition", "AUC a", "AUC b", "difference", "better", title="paired differences")
    for row in over.to_dict("records"):
        models = {side: (row[f"backbone_{side}"], row[f"detector_{side}"]) for side in "ab"}
        first, second = sorted("ab", key=lambda side: rank(models[side]))
        a, b = models[first], models[second]
        elsewhere = rank(a) == 1 and b[1] not in AUTOENCODER_NAMES and b[0] != a[0]
        if rank(a) == rank(b) or elsewhere:
            continue
        sign = 1 if first == "a" else -1
        low, high = sorted((sign * row["low"], sign * row["high"]))
        better = {first: "a", second: "b"}.get(row["better"], "neither")
        table.add_row("default" if a in default else " ".join(a), " ".join(b), row["condition"],
                      *(f"{row[f'auc_{side}']:.3f}" for side in (first, second)),
                      f"{sign * row['difference']:+.3f} ({low:+.3f} to {high:+.3f})", better)  # fmt: skip
    return table


def main() -> None:
    """Simulate, run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lake", required=True)
    parser.add_argument("--machines", type=int, default=2, help="of each of the four types")
    parser.add_argument("--normals", type=int, default=80)
    parser.add_argument("--abnormals", type=int, default=30)
    parser.add_argument("--fault-size", type=float, default=0.25)
    parser.add_argument("--snr", type=int, nargs="+", default=[-6, 0, 6])
    parser.add_argument("--seed", type=int, default=0)
    given, options = parser.parse_known_args()
    archives = write_archives(Path(f"{given.lake}-archives"), given)
    tables = run(archives, given.lake, [option for option in options if option != "--"])
    auc, comparisons = (pd.read_csv(tables / f"{name}.csv", keep_default_na=False, na_values=[""])
                        for name in ("auc", "comparisons"))  # fmt: skip
    console = Console(width=170)
    console.print(auc_table(auc))
    console.print(claims_table(auc, comparisons))


if __name__ == "__main__":
    main()
