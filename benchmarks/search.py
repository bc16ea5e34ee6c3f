"""Which setting finds simulated faults best: chosen on normal training recordings alone (docs/accuracy.md).

Defined before any figure of test recordings was made with the choice:
- Recordings: the normal ones of the training split of archives that name a split, and simulated machines (one of each
  type), each with a source domain of many and a target domain of few recordings. Of an archive nothing else is read:
  what is in no training split or not normal is listed by name and skipped.
- Every normal recording has a faulty twin: the same recording with a simulated fault in it, its kind and size drawn
  with the seed. Kinds are all of the simulation, at sizes of a half to a tenth of the recording's RMS.
- Five folds over recordings, each domain dealt evenly. A model is fitted to four; of the fifth the normals are told
  from the twins: AUC of source normals, AUC of target normals (each against all twins, as in DCASE), and pAUC.
- The criterion of a machine is the harmonic mean of the three, each averaged over folds: neither domain can be bought
  with the other. The criterion of a setting is the mean over machines.
- The grid is all of REFERENCES x (REPRESENTATIONS and FUSIONS) x DETECTORS. The highest criterion wins; of settings
  within 0.005 of it, the first in the order of the grid, which is from cheap to dear.

    python benchmarks/search.py ARCHIVE...
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import hmean

from storage.lake import Lake
from storage.sources.reading import read_members
from tasks.catalog import current_recordings
from tasks.detectors.calibration import make_folds
from tasks.detectors.machine_model import fit_machine_model
from tasks.evaluation.metrics import auc, pauc
from tasks.features.embed import Embedder
from tasks.features.representations import parse
from tasks.ingest.listing import member_of
from tasks.ingest.task import ingest_sources
from tasks.settings import FitSettings, Settings, SpectrogramSettings
from tasks.simulation.faults import FaultKind, add_fault, draw_fault
from tasks.simulation.fleet import FleetPlan, machine_of
from tasks.simulation.recordings import render_take
from tasks.spectrograms.decode import decode, resample, select_channel
from tasks.spectrograms.logmel import LogMel
from tasks.work import Work

FOLDS = 5
SIZES = (0.1, 0.2, 0.3, 0.5)
SIMULATED_SEED = 11
SOURCE_TAKES, TARGET_TAKES = 50, 10
MOST = 100  # recordings of a domain, the first by name: it bounds the time
NEAR = 0.005

REFERENCES = ("max",)
LOGMEL = "logmel/64x1/mean,std/recording"
MAPS = tuple(f"squeezenet1_1@features.{layer}/8x1/mean,std/recording" for layer in (7, 10, 12))
REPRESENTATIONS = (LOGMEL, *MAPS)
FUSIONS = ((LOGMEL, MAPS[1]), MAPS, (LOGMEL, *MAPS))
NEIGHBOURS: dict[str, dict[str, Any]] = {
    "knn": {},
    "knn local": {"knn_local": 4},
    "knn cosine": {"knn_metric": "cosine"},
}
DETECTORS: dict[str, dict[str, Any]] = {
    **{f"mahalanobis {pca}": {"detectors": ("mahalanobis",), "pca_components": pca} for pca in (16, 64)},
    **{
        f"{name} {pca}": {"detectors": ("knn",), "pca_components": pca, **changes}
        for name, changes in NEIGHBOURS.items()
        for pca in (16, 64)
    },
}


@dataclass(frozen=True)
class Normals:
    """Training recordings of one machine: float32 (sample,) each, and which are of the target domain."""

    machine: str
    signals: list[np.ndarray]
    target: np.ndarray


def from_archives(sources: Sequence[str]) -> Iterator[Normals]:
    """Yield the training normals of every machine that has at least two recordings a fold."""
    with tempfile.TemporaryDirectory() as root:
        lake = Lake.open(root)
        settings = Settings()
        ingest_sources.fn(Work(lake.uri, settings), list(sources))
        listed, _ = current_recordings(lake)
        wanted = listed[(listed["split"] == "train") & (listed["label"] == "normal") & listed["reason"].isna()]
        # names and not ids: nothing may depend on what else the archive holds
        for (kind, machine), rows in wanted.sort_values("member").groupby(["machine_type", "machine_id"]):
            rows = rows.groupby(rows["domain"] == "target").head(MOST)  # noqa: PLW2901 the first of them
            if len(rows) < 2 * FOLDS:
                continue
            members = {member_of(row): index for index, row in enumerate(rows.to_dict("records"))}
            signals = [np.empty(0, np.float32)] * len(rows)
            for member, data in read_members(list(members), settings.ingest.max_member_bytes):
                audio = decode(bytes(data))
                signal = select_channel(audio, settings.spectrogram.channel)
                rate_hz = settings.spectrogram.sample_rate_hz
                signals[members[member]] = resample(signal, audio.sample_rate_hz, rate_hz)
            yield Normals(f"{kind} {machine}", signals, (rows["domain"] == "target").to_numpy())


def simulated() -> Iterator[Normals]:
    """Yield a machine of each type: at 0 dB in its source domain, in more noise and on other nights in its target."""
    source = FleetPlan(machines=4, nights=1, snr_db=0.0, seed=SIMULATED_SEED, duration_s=5.0)
    target = FleetPlan(machines=4, nights=1, snr_db=-4.0, seed=SIMULATED_SEED, duration_s=5.0)
    for machine in range(source.machines):
        takes = [(source, night) for night in range(SOURCE_TAKES)]
        takes += [(target, 300 + night) for night in range(TARGET_TAKES)]
        signals = [render_take(plan, (machine, night, 0), None, 0.0).mix() for plan, night in takes]
        name = f"simulated {source.machine_type(machine)}"
        yield Normals(name, signals, np.arange(len(takes)) >= SOURCE_TAKES)


def twins(normals: Normals, sample_rate_hz: int) -> list[np.ndarray]:
    """Every recording with a fault in it; the physics of a fault is that of a simulated machine."""
    plan = FleetPlan(machines=4, nights=1, snr_db=0.0, seed=SIMULATED_SEED)
    faulty = []
    for index, signal in enumerate(normals.signals):
        rng = np.random.default_rng([SIMULATED_SEED, index])
        kind = list(FaultKind)[index % len(FaultKind)]
        valve, fan = 3, 0
        machine = machine_of(plan, valve if "click" in kind.value else fan)
        faulty.append(add_fault(signal, draw_fault(machine, kind, rng), rng.choice(SIZES), rng, sample_rate_hz))
    return faulty


def embedded(
    signals: Sequence[np.ndarray], spectrogram: SpectrogramSettings, settings: Settings
) -> dict[str, np.ndarray]:
    """Features of every representation, float32 (recording, window, feature)."""
    log_mel = LogMel(spectrogram)
    found = [log_mel(signal) for signal in signals]
    n_frames = np.array([each.shape[1] for each in found])
    padded = np.full((len(found), spectrogram.n_mels, n_frames.max()), np.nan, dtype=np.float32)
    for row, each in zip(padded, found, strict=True):
        row[:, : each.shape[1]] = each
    parsed = {parse(text)[0]: text for text in REPRESENTATIONS}
    values = Embedder(list(parsed), settings.features, settings.images, spectrogram).embed(padded, n_frames)
    return {text: values[representation] for representation, text in parsed.items()}


def fold_scores(normals: Normals, features: dict[str, np.ndarray], fit: FitSettings) -> list[dict[str, np.ndarray]]:
    """For every fold and representation the scores of all recordings and twins, on the scale of a fusion."""
    count = len(normals.signals)
    by_fold = []
    for fold in range(FOLDS):
        train = ~held_out(normals.target, fold)
        scaled = {}
        for text, values in features.items():
            folds = make_folds([None] * int(train.sum()), 2, 0)
            fitted = fit_machine_model(fit.detectors[0], [values[:count][train]], fit, 0, folds)
            reference = fitted.calibration_scores
            scaled[text] = (fitted.model.recording_scores([values]) - reference.mean()) / (reference.std() or 1.0)
        by_fold.append(scaled)
    return by_fold


def held_out(target: np.ndarray, fold: int) -> np.ndarray:
    """Which recordings a fold leaves out: every fifth of each domain."""
    within = np.where(target, np.cumsum(target), np.cumsum(~target))
    return within % FOLDS == fold


def criterion(normals: Normals, scores: Sequence[np.ndarray]) -> float:
    """The harmonic mean of source AUC, target AUC (where there is one) and pAUC, each the mean over folds."""
    count, figures = len(normals.signals), []
    for fold, each in enumerate(scores):
        out = held_out(normals.target, fold)
        normal, faulty = each[:count], each[count:][out]
        domains = [out & ~normals.target, out & normals.target]
        of_domains = [auc(normal[domain], faulty) for domain in domains]  # None in a fold without such normals
        figures.append([*of_domains, pauc(normal[out], faulty, 0.1)])
    means = pd.DataFrame(figures, dtype=float).mean()
    return float(hmean(means.dropna()))


def machine_criteria(normals: Normals, reference: str) -> Iterator[tuple[tuple[str, str, str], float]]:
    """Yield the criterion of every setting of the grid with this reference on one machine."""
    settings = Settings()
    spectrogram = settings.spectrogram.model_copy(update={"reference": reference})
    signals = [*normals.signals, *twins(normals, spectrogram.sample_rate_hz)]
    features = embedded(signals, spectrogram, settings)
    for name, changes in DETECTORS.items():
        fit = settings.fit.model_validate({**FitSettings().model_dump(), **changes})
        by_fold = fold_scores(normals, features, fit)
        for texts in (*((text,) for text in REPRESENTATIONS), *FUSIONS):
            fused = [sum(scaled[text] for text in texts) for scaled in by_fold]
            yield (reference, "+".join(texts), name), criterion(normals, fused)


def choose(table: pd.DataFrame) -> str:
    """The first setting of the grid that is as good as the best."""
    mean = table.mean(axis=1)
    return str(mean.index[int(np.argmax(mean.to_numpy() >= mean.max() - NEAR))])


def main() -> None:
    """Search and print the best settings and the choice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="*")
    parser.add_argument("--csv", help="where to keep the criteria, one row a setting")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    found: dict[str, dict[str, float]] = {}
    for normals in (*from_archives(arguments.sources), *simulated()):
        for reference in REFERENCES:
            print(normals.machine, reference, file=sys.stderr, flush=True)
            found.setdefault(normals.machine, {}).update(
                {" | ".join(setting): value for setting, value in machine_criteria(normals, reference)}
            )
    order = [
        " | ".join((reference, "+".join(texts), name))
        for texts in (*((text,) for text in REPRESENTATIONS), *FUSIONS)
        for reference, name in product(REFERENCES, DETECTORS)
    ]
    table = pd.DataFrame(found).reindex(order)
    shown = Table("setting", *table.columns, "mean")
    for setting, row in table.assign(mean=table.mean(axis=1)).nlargest(20, "mean").iterrows():
        shown.add_row(str(setting), *(f"{value:.3f}" for value in row))
    Console(width=200).print(shown)
    if arguments.csv:
        table.round(4).to_csv(arguments.csv, index_label="setting")
    print(json.dumps({"choice": choose(table)}))


if __name__ == "__main__":
    main()
