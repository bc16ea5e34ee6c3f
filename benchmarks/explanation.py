"""Does the marked area of an explanation lie where the fault is? On simulated faults, whose band and times are known.

Defined before any result was seen:
- The true cells of a recording are the mel bands with their centre in the fault's band, in the frames in which the
  fault sounds: its RMS over the frame's window is at most 20 dB below that of its loudest frame.
- The marked area (at most 25 % of the picture) covers the fault when it holds at least half of the true cells.
- A random band is as many whole rows as fit into 25 % of the picture, at any height with the same chance; its chance to
  cover the fault is exact, over all heights. It and the marked area are compared on the same recordings.
- Counted are detected recordings: those above the threshold of their model, with the settings' false-alarm rate.
- Intervals are 95 % percentile bootstraps that draw whole faults, a fault being one kind on one machine.

The method was designed on seed 1; the figures in the docs are those of seed 2.

    python benchmarks/explanation.py
    python benchmarks/explanation.py --backbone logmel --figure docs/images/explanation.png
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from rich.table import Table

from humwatch.flows.simulation.faults import FAULTS_OF, Fault
from humwatch.flows.simulation.fleet_plan import FleetPlan, fault_of
from humwatch.flows.simulation.recordings import render_take
from humwatch.tasks.detectors.calibration import make_folds, threshold
from humwatch.tasks.detectors.machine_model import fit_machine_model
from humwatch.tasks.explanation.explain import REFERENCE_RECORDINGS
from humwatch.tasks.explanation.reference import Reference
from humwatch.tasks.explanation.relevance import marked_area, relevance_map
from humwatch.tasks.features.embed import Embedder
from humwatch.tasks.plan.representations import parse
from humwatch.tasks.settings import Settings
from humwatch.tasks.spectrograms.logmel import LogMel

SETTINGS = Settings()
DETECTOR = SETTINGS.fit.detectors[0]
MACHINES = {SETTINGS.features.backbones[0]: 4, "logmel": 8}  # backbones take their time
NORMALS = 100  # one more than a false-alarm rate of 0.01 needs
SIZES = (0.25, 0.5, 1.0)
TAKES = 2  # of each kind and size
MAX_FRACTION = 0.25


@dataclass(frozen=True)
class Explained:
    """A faulty recording; nothing is marked in it when it was not detected."""

    machine: str
    fault: Fault
    size: float
    logmel: np.ndarray
    marked: np.ndarray | None
    true_cells: np.ndarray


def true_cells(fault: Fault, sound: np.ndarray, n_frames: int) -> np.ndarray:
    """Where the fault is, bool (mel, frame); `sound` is the fault alone."""
    spectrogram = SETTINGS.spectrogram
    centres_hz = librosa.mel_frequencies(spectrogram.n_mels + 2, fmin=0, fmax=spectrogram.sample_rate_hz / 2)[1:-1]
    rows = (centres_hz >= fault.low_hz) & (centres_hz <= fault.high_hz)
    padded = np.pad(sound.astype(np.float64), spectrogram.n_fft // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, spectrogram.n_fft)[:: spectrogram.hop_samples][:n_frames]
    rms = np.sqrt(np.square(windows).mean(axis=1))
    return rows[:, None] & (rms >= 0.1 * rms.max())


def chance(cells: np.ndarray) -> float:
    """The chance that a random band covers a fault."""
    rows = int(MAX_FRACTION * len(cells))
    until = np.concatenate([[0.0], np.cumsum(cells.sum(axis=1) / cells.sum())])
    return float((until[rows:] - until[:-rows] >= 0.5).mean())


def explain_machine(plan: FleetPlan, machine: int, backbone: str, embedder: Embedder) -> Iterator[Explained]:
    """Fit a machine's model to normal recordings and explain its faulty ones."""
    log_mel, kind = LogMel(SETTINGS.spectrogram), plan.machine_type(machine)
    normal = [log_mel(render_take(plan, (machine, take, 0), None, 0.0).mix()) for take in range(NORMALS)]

    def embed(recordings: list[np.ndarray]) -> list[np.ndarray]:
        found = embedder.embed(np.stack(recordings), np.full(len(recordings), recordings[0].shape[1]))
        return [found[representation] for representation in parse(backbone)]

    folds = make_folds([None] * NORMALS, SETTINGS.fit.calibration_folds, 0)
    fitted = fit_machine_model(DETECTOR, embed(normal), SETTINGS.fit, 0, folds)
    limit, _ = threshold(fitted.calibration_scores, SETTINGS.fit.false_alarm_rate)
    reference = Reference.of(normal[:REFERENCE_RECORDINGS], SETTINGS.images, SETTINGS.spectrogram)
    planned = [(fault, size) for fault in FAULTS_OF[kind] for size in SIZES for _ in range(TAKES)]
    for take, (fault_kind, size) in enumerate(planned):
        fault = fault_of(plan, machine, fault_kind)
        sound = render_take(plan, (machine, take, 1), fault, size)
        logmel = log_mel(sound.mix())
        marked = None
        if fitted.model.recording_scores(embed([logmel]))[0] > limit:
            relevance = relevance_map(logmel, reference, fitted.model, parse(backbone), embedder, SETTINGS.images)
            marked = marked_area(relevance, MAX_FRACTION)
        name = f"{kind} {plan.machine_id(machine)}"
        yield Explained(name, fault, size, logmel, marked, true_cells(fault, sound.fault, logmel.shape[1]))


def measure(recordings: list[Explained]) -> pd.DataFrame:
    """One row a faulty recording; what is measured of explanations is NaN where it was not detected."""
    rows = []
    for each in recordings:
        row = {"machine": each.machine, "fault": each.fault.kind.value, "size": each.size}
        if each.marked is not None:
            covered = each.marked[each.true_cells].mean()
            row |= {
                "covers": float(covered >= 0.5),
                "chance": chance(each.true_cells),
                "covered": covered,
                "in_band": each.true_cells[each.marked].mean(),
                "true_area": each.true_cells.mean(),
            }
        rows.append(row)
    return pd.DataFrame(rows)


def interval(detected: pd.DataFrame, values: pd.Series) -> str:
    """A mean with its interval."""
    faults = [values[rows].to_numpy() for rows in detected.groupby(["machine", "fault"]).groups.values()]
    draws = np.random.default_rng(0).integers(len(faults), size=(2000, len(faults)))
    means = [np.concatenate([faults[fault] for fault in draw]).mean() for draw in draws]
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{values.mean():.2f} ({low:.2f} to {high:.2f})"


def draw(recordings: list[Explained], path: Path) -> None:
    """Draw the first detected recording of each kind of fault, marked and true area over its spectrogram."""
    first = {each.fault.kind: each for each in reversed(recordings) if each.marked is not None}
    figure = Figure(figsize=(9, 2.4 * -(-len(first) // 3)), dpi=90, layout="constrained")
    panels = figure.subplots(-(-len(first) // 3), 3, squeeze=False).flat
    for axes in panels[len(first) :]:
        axes.remove()
    for axes, each in zip(panels[: len(first)], first.values(), strict=True):
        axes.imshow(each.logmel, aspect="auto", origin="lower", cmap="gray", vmin=-80, vmax=0)
        axes.contour(each.marked, [0.5], colors="#ff9f1c", linewidths=1.2)
        rows = np.flatnonzero(each.true_cells.any(axis=1))
        axes.hlines([rows[0] - 0.5, rows[-1] + 0.5], 0, each.logmel.shape[1] - 1, colors="#4cc9f0", linestyles="dashed")
        share = each.marked[each.true_cells].mean()
        axes.set_title(f"{each.machine}, {each.fault.kind.value} {each.size}: {share:.0%} marked", fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.savefig(path)
    Image.open(path).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    """Measure and print two tables for each representation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--backbone", action="append", choices=list(MACHINES), help="only these; repeatable")
    parser.add_argument("--figure", type=Path, help="PNG of examples with the first representation")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plan = FleetPlan(machines=8, nights=1, snr_db=6.0, seed=arguments.seed, duration_s=5.0)
    overall = Table(
        "representation", "detected", "covers", "random band", "difference", "of the fault marked", "of the marks"
    )
    by_fault = Table("representation", "fault", "size", "recordings", "detected", "covers", "random band", "true area")
    backbones = arguments.backbone or list(MACHINES)
    for backbone in backbones:
        embedder = Embedder(parse(backbone), SETTINGS.features, SETTINGS.images, SETTINGS.spectrogram)
        machines = range(MACHINES[backbone])
        recordings = [each for machine in machines for each in explain_machine(plan, machine, backbone, embedder)]
        measured = measure(recordings)
        detected = measured.dropna()
        overall.add_row(
            backbone,
            f"{len(detected)} of {len(recordings)}",
            interval(detected, detected["covers"]),
            f"{detected['chance'].mean():.2f}",
            interval(detected, detected["covers"] - detected["chance"]),
            f"{detected['covered'].mean():.2f}",
            f"{detected['in_band'].mean():.2f}",
        )
        for (fault, size), rows in measured.groupby(["fault", "size"]):
            means = rows[["covers", "chance", "true_area"]].mean()
            cells = ["-" if np.isnan(value) else f"{value:.2f}" for value in means]
            by_fault.add_row(backbone, fault, str(size), str(len(rows)), str(rows["covers"].count()), *cells)
        if arguments.figure and backbone == backbones[0]:
            draw(recordings, arguments.figure)
    console = Console(width=130)
    console.print(overall)
    console.print(by_fault)


if __name__ == "__main__":
    main()
