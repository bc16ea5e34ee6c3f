"""p-values of new normal recordings: `python benchmarks/calibration.py`, `--lake LAKE`.

The claim: whatever the detector and however many recordings trained it (20 to 400), normal recordings that are new have
conformal p-values that are uniform or larger. Shown for each detector and number n of training recordings: the mean
p-value (.5 where they are uniform), the share at or below .05 and .2, and the same of what scored before: one model of
all recordings.

Without `--lake`: exchangeable features of 128 values with a spectrum that falls, drawn anew for each repetition. With
it: the features of the normal recordings of a lake's machines, drawn without those that train.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from humwatch.flows.presets import PRESETS, load
from humwatch.tasks.detectors import machine_model
from humwatch.tasks.detectors.calibration import make_folds, p_values
from humwatch.tasks.detectors.machine_model import fit_machine_model
from humwatch.tasks.features.gather import gather
from humwatch.tasks.plan.catalog import by_machine
from humwatch.tasks.plan.representations import parse
from humwatch.tasks.plan.run import Run
from humwatch.tasks.settings import DETECTOR_NAMES, DetectorName, FitSettings

Features = list[NDArray[np.float32]]
SIZES = (20, 40, 72, 150, 300, 400)
NEW = 100
WIDTH = 128
# As the presets have them, and each other detector on the same components.
LOCAL = FitSettings(**{name: value for name, value in PRESETS["fast"]["fit"].items() if name != "detectors"})
CASES: tuple[tuple[str, DetectorName, FitSettings], ...] = (
    ("knn, local (presets)", "knn", LOCAL),
    *((name, name, LOCAL.model_copy(update={"knn_local": None})) for name in DETECTOR_NAMES),
    ("gmm, no components (paper)", "gmm", FitSettings()),
)


def drawn(generator: np.random.Generator, count: int) -> Features:
    """Return exchangeable features of recordings."""
    spread = 1 / np.sqrt(np.arange(1, WIDTH + 1))
    return [(generator.normal(size=(count, 1, WIDTH)) * spread).astype(np.float32)]


def of_lake(uri: str, preset: str) -> dict[str, Features]:
    """Return the features of the normal recordings of each machine of a lake."""
    run = Run(uri, load(preset))  # type: ignore[arg-type]
    catalog = run.catalog()
    accepted = catalog.accepted
    normal = accepted[accepted["label"] == "normal"]
    representations = parse(run.settings.features.backbones[0])
    return {
        machine.label: [gather(run.lake, catalog.parts, rows, one, run.embedding) for one in representations]
        for machine, rows in by_machine(normal).items()
    }


def ps_of(
    features: Features, count: int, detector: DetectorName, settings: FitSettings, generator: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """Yield the p-values of recordings that did not train: as they are, and as they were before."""
    order = generator.permutation(len(features[0]))
    training = [each[order[:count]] for each in features]
    new = [each[order[count : count + NEW]] for each in features]
    folds = make_folds([None] * count, settings.calibration_folds, int(generator.integers(1 << 31)))
    now = machine_model.MOST_BY_FOLDS
    for most_by_folds in (now, 0):
        machine_model.MOST_BY_FOLDS = most_by_folds
        fitted = fit_machine_model(detector, training, settings, 0, folds)
        yield p_values(fitted.model.recording_scores(new), fitted.calibration_scores)
    machine_model.MOST_BY_FOLDS = now


def figures(ps: list[NDArray[np.float64]]) -> str:
    """Return mean and shares of p-values as text."""
    values = np.concatenate(ps)
    return f"{values.mean():.2f} {np.mean(values <= 0.05):.3f} {np.mean(values <= 0.2):.3f}"


def main() -> None:
    """Print a table a source of features."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lake", type=Path, help="a lake of labelled recordings whose features are there")
    parser.add_argument("--preset", default="fast", help="whose features and detector are used with --lake")
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--seed", type=int, default=101)
    given = parser.parse_args()
    console = Console(width=140)
    sources: dict[str, Any] = of_lake(str(given.lake), given.preset) if given.lake else {"exchangeable features": None}
    for name, features in sources.items():
        table = Table(title=f"{name}: mean p-value, share <= .05, share <= .2 of {NEW} new normals")
        for column in ("detector", "n", "fits without a fold", "before"):
            table.add_column(column, justify="left" if column == "detector" else "right")
        for label, detector, settings in CASES[:1] if given.lake else CASES:
            for count in SIZES:
                generator = np.random.default_rng((given.seed, count))
                if features is not None and len(features[0]) < count + NEW:
                    continue
                found: list[tuple[NDArray[np.float64], ...]] = []
                for _ in range(given.repetitions):
                    here = drawn(generator, count + NEW) if features is None else features
                    found.append(tuple(ps_of(here, count, detector, settings, generator)))
                ours, of_all = (list(each) for each in zip(*found, strict=True))
                table.add_row(label, str(count), figures(ours), figures(of_all))
        console.print(table)


if __name__ == "__main__":
    main()
