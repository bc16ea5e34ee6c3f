"""Which setting finds simulated faults best across domains: chosen on normal training recordings alone.

The rule stood before any figure of test recordings was made with its choice (docs/accuracy.md says what became of
earlier ones):
- Recordings: the normal ones of the training split of archives that name a split and domains (DCASE 2022 and later),
  and simulated machines, one of each type. Of an archive nothing else is read: what is in no training split or not
  normal is listed by name and skipped.
- A round has a source of many and a target of few training recordings, like the real task, and holds out some of each.
  Real machines: every recording of the target is held out once, with a share of the source. Simulated machines: the
  target is in more noise and on later nights; ten of its takes are trained on.
- Every recording has a faulty twin: the same with a simulated fault in it, its kind and size drawn with the seed, at
  sizes near what can be heard.
- A round's model tells the normals it has not seen from the twins of the same recordings: AUC of source normals, AUC of
  target normals (each against all twins, as in DCASE), and pAUC. The criterion of a machine is the harmonic mean of the
  three, each averaged over rounds.
- The criterion of a setting is the mean of that of the real machines and that of the simulated ones: the faults are
  simulated everywhere, but what is normal is real only in the first. The highest wins.
- The grid is all of VIEWS x (FIRST and FUSIONS of these) x DETECTORS, and the `default` preset as it stood. It was
  widened twice, under the same rule, after the figures of test recordings were known: by 128 bands, EfficientNet-Lite0,
  windows and fusion by rank, these in WIDTH dimensions only; then by MIMII's autoencoder.

    python benchmarks/search.py ARCHIVE...
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from multiprocessing import get_context
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import hmean

from humwatch.flows.simulation.faults import FaultKind, add_fault, draw_fault
from humwatch.flows.simulation.fleet_plan import FleetPlan, machine_of
from humwatch.flows.simulation.recordings import render_take
from humwatch.storage.lake import Lake
from humwatch.storage.sources.reading import read_members
from humwatch.tasks.detectors.calibration import make_folds
from humwatch.tasks.detectors.machine_model import MachineModel, fit_machine_model
from humwatch.tasks.evaluation.metrics import auc, pauc
from humwatch.tasks.features.embed import Embedder
from humwatch.tasks.ingest.recording_rows import member_of
from humwatch.tasks.ingest.task import ingest_sources
from humwatch.tasks.plan.catalog import current_recordings
from humwatch.tasks.plan.representations import parse
from humwatch.tasks.plan.run import Run
from humwatch.tasks.settings import FitSettings, Settings, SpectrogramSettings
from humwatch.tasks.sound.decode import decode, resample, select_channel
from humwatch.tasks.spectrograms.logmel import LogMel

SIZES = (0.02, 0.04, 0.08)
SIMULATED_SEED = 11
SOURCE_TAKES, TARGET_TAKES = 100, 30
SOURCE_FOLDS = 5  # of a simulated machine every fifth recording of the source is held out
FEW = 10  # training recordings of a simulated target
SIMULATED = "simulated "  # what their names begin with

VIEWS: dict[str, dict[str, Any]] = {
    "max": {"reference": "max"},
    "full_scale": {"reference": "full_scale"},
    "max 128 bands": {"reference": "max", "n_mels": 128},
}
# Tried as they are, in the first view: the default preset when the search was written, and MIMII's autoencoder.
WHOLE = {"squeezenet1_1": "gmm", "logmel/64x64/mean": "dense_ae"}
# A representation as in the settings, and after a space how its windows are pooled where it has any.
LOGMEL = "logmel/{bands}x1/mean,std/recording"
WINDOWS = tuple(f"logmel/{{bands}}x1/mean,std/window {pooling}" for pooling in ("mean", "top_k"))
MAPS = tuple(f"squeezenet1_1@features.{layer}/8x1/mean,std/recording" for layer in (7, 10, 12))
LITE_MAPS = tuple(f"efficientnet_lite0@features.{layer}/8x1/mean,std/recording" for layer in (7, 10, 13))
FIRST = (LOGMEL, *MAPS)
REPRESENTATIONS = (*FIRST, *WINDOWS, *LITE_MAPS)
FUSIONS: tuple[tuple[str, ...], ...] = (
    (LOGMEL, MAPS[1]),
    MAPS,
    (LOGMEL, *MAPS),
    (LOGMEL, LITE_MAPS[1]),
    (LOGMEL, *LITE_MAPS),
    (LOGMEL, MAPS[1], LITE_MAPS[1]),
    (LOGMEL, WINDOWS[1]),
    (LOGMEL, MAPS[1], WINDOWS[1]),
)
WIDTH = 64
DETECTORS: dict[str, dict[str, Any]] = {
    f"{name} {pca}": {"pca_components": pca, **changes}
    for name, changes in {
        "mahalanobis": {"detectors": ("mahalanobis",)},
        "knn": {"detectors": ("knn",)},
        "knn local 4": {"detectors": ("knn",), "knn_local": 4},
        "knn local 16": {"detectors": ("knn",), "knn_local": 16},
    }.items()
    for pca in (32, 64, 128)
}

Fusion: TypeAlias = Literal["zscore", "rank"]


@dataclass(frozen=True)
class Round:
    """Which recordings a model is fitted to, and which it has not seen: int (recording,) each."""

    train: np.ndarray
    source: np.ndarray
    target: np.ndarray


@dataclass(frozen=True)
class Normals:
    """Normal recordings of one machine, float32 (sample,) each, and what is told from what."""

    machine: str
    signals: list[np.ndarray]
    rounds: list[Round]


def from_archives(sources: Sequence[str]) -> Iterator[Normals]:
    """Yield the training normals of every machine that has some of both domains."""
    with tempfile.TemporaryDirectory() as root:
        lake = Lake.open(root)
        settings = Settings()
        ingest_sources.fn(Run(lake.uri, settings), list(sources))
        listed, _ = current_recordings(lake)
        wanted = listed[(listed["split"] == "train") & (listed["label"] == "normal") & listed["reason"].isna()]
        # names and not ids: nothing may depend on what else the archive holds
        for (kind, machine), rows in wanted.sort_values("member").groupby(["machine_type", "machine_id"]):
            is_target = (rows["domain"] == "target").to_numpy()
            if not 2 <= is_target.sum() < len(rows) / 2:
                continue
            members = {member_of(row): index for index, row in enumerate(rows.to_dict("records"))}
            signals = [np.empty(0, np.float32)] * len(rows)
            for member, data in read_members(list(members), settings.ingest.max_member_bytes):
                audio = decode(bytes(data))
                signal = select_channel(audio, settings.spectrogram.channel)
                rate_hz = settings.spectrogram.sample_rate_hz
                signals[members[member]] = resample(signal, audio.sample_rate_hz, rate_hz)
            yield Normals(f"{kind} {machine}", signals, one_target_out(is_target))


def one_target_out(is_target: np.ndarray) -> list[Round]:
    """Hold out each target recording once, with as large a share of the source."""
    source, target = np.flatnonzero(~is_target), np.flatnonzero(is_target)
    rounds = []
    for turn in range(len(target)):
        held_out = np.arange(len(source)) % len(target) == turn
        train = np.concatenate([source[~held_out], np.delete(target, turn)])
        rounds.append(Round(train, source[held_out], target[[turn]]))
    return rounds


def simulated() -> Iterator[Normals]:
    """Yield a machine of each type: at 0 dB in its source domain, in more noise and on other nights in its target."""
    source = FleetPlan(machines=4, nights=1, snr_db=0.0, seed=SIMULATED_SEED, duration_s=5.0)
    target = FleetPlan(machines=4, nights=1, snr_db=-4.0, seed=SIMULATED_SEED, duration_s=5.0)
    for machine in range(source.machines):
        takes = [(source, night) for night in range(SOURCE_TAKES)]
        takes += [(target, 300 + night) for night in range(TARGET_TAKES)]
        signals = [render_take(plan, (machine, night, 0), None, 0.0).mix() for plan, night in takes]
        of_source, of_target = np.arange(SOURCE_TAKES), SOURCE_TAKES + np.arange(TARGET_TAKES)
        rounds = []
        for turn in range(TARGET_TAKES // FEW):
            held_out, few = of_source % SOURCE_FOLDS == turn, np.arange(TARGET_TAKES) // FEW == turn
            train = np.concatenate([of_source[~held_out], of_target[few]])
            rounds.append(Round(train, of_source[held_out], of_target[~few]))
        yield Normals(SIMULATED + source.machine_type(machine), signals, rounds)


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
    signals: Sequence[np.ndarray], spectrogram: SpectrogramSettings, settings: Settings, texts: Sequence[str]
) -> dict[str, np.ndarray]:
    """Features of representations, float32 (recording, window, feature)."""
    log_mel = LogMel(spectrogram)
    found = [log_mel(signal) for signal in signals]
    n_frames = np.array([each.shape[1] for each in found])
    padded = np.full((len(found), spectrogram.n_mels, n_frames.max()), np.nan, dtype=np.float32)
    for row, each in zip(padded, found, strict=True):
        row[:, : each.shape[1]] = each
    parsed = {parse(text)[0]: text for text in texts}
    values = Embedder(list(parsed), settings.features, settings.images, spectrogram).embed(padded, n_frames)
    return {text: values[representation] for representation, text in parsed.items()}


@dataclass(frozen=True)
class Scored:
    """Scores of one representation in a round, and the sorted ones a fusion scales by.

    `scores` are (fit, recording): of all recordings and twins, by each fit of the model.
    """

    scores: np.ndarray
    reference: np.ndarray


def round_scores(normals: Normals, values: np.ndarray, fit: FitSettings, n_folds: int = 5) -> list[Scored]:
    """The scores of all recordings and twins in every round; what is not fused needs no folds, so only one."""
    found = []
    for each in normals.rounds:
        folds = make_folds([None] * len(each.train), n_folds, 0)
        fitted = fit_machine_model(fit.detectors[0], [values[each.train]], fit, 0, folds)
        alone = (replace(fitted.model, members=(member,)) for member in fitted.model.members)
        scores = np.stack([each.recording_scores([values]) for each in alone])
        found.append(Scored(scores, np.sort(fitted.calibration_scores)))
    return found


def fuse(parts: Sequence[Scored], fusion: Fusion) -> np.ndarray:
    """One score from those of several representations, as a machine's model makes it."""
    references = tuple(part.reference for part in parts)
    model = MachineModel((), references, "recording", 0, fusion, "mean", 1)
    members = zip(*(part.scores for part in parts), strict=True)
    return np.median([model.combine([each[:, None] for each in member])[1] for member in members], axis=0)


def criterion(normals: Normals, scores: Sequence[np.ndarray]) -> float:
    """The harmonic mean of source AUC, target AUC and pAUC, each the mean over rounds."""
    figures = []
    for each, scored in zip(normals.rounds, scores, strict=True):
        normal, faulty = np.split(scored, 2)
        unseen = np.concatenate([each.source, each.target])
        of_domains = [auc(normal[domain], faulty[unseen]) for domain in (each.source, each.target)]
        figures.append([*of_domains, pauc(normal[unseen], faulty[unseen], 0.1)])
    return float(hmean(np.mean(figures, axis=0)))


def machine_criteria(normals: Normals) -> dict[str, float]:
    """The criterion of every setting of the grid on one machine."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    settings, found = Settings(), {}
    signals = [*normals.signals, *twins(normals, settings.spectrogram.sample_rate_hz)]
    for view, seen in VIEWS.items():
        spectrogram = settings.spectrogram.model_copy(update=seen)
        whole = WHOLE if spectrogram == settings.spectrogram else {}
        texts = {text: text.format(bands=spectrogram.n_mels).split(" ")[0] for text in (*REPRESENTATIONS, *whole)}
        features = embedded(signals, spectrogram, settings, list(dict.fromkeys(texts.values())))
        for text, name in whole.items():
            scores = round_scores(normals, features[text], FitSettings(detectors=(name,)), n_folds=1)
            found[named(view, (text,), name)] = criterion(normals, [fuse([each], "zscore") for each in scores])
        for name, changes in DETECTORS.items():
            wanted = [each for each in combinations() if is_in_grid(view, *each, name)]
            of_each = {
                text: round_scores(normals, features[texts[text]], FitSettings(**changes, pooling=pooling_of(text)))
                for text in dict.fromkeys(text for fused, _ in wanted for text in fused)
            }
            for fused, fusion in wanted:
                rounds = zip(*(of_each[text] for text in fused), strict=True)
                found[named(view, fused, name, fusion)] = criterion(normals, [fuse(parts, fusion) for parts in rounds])
    print(f"{normals.machine}: {len(normals.signals)} recordings", file=sys.stderr, flush=True)
    return found


def pooling_of(text: str) -> str:
    """How the windows of a representation are pooled; that of a whole recording is its only window."""
    return text.partition(" ")[2] or "mean"


def combinations() -> list[tuple[tuple[str, ...], Fusion]]:
    """Every representation alone, and every fusion by every scale."""
    alone: list[tuple[tuple[str, ...], Fusion]] = [((text,), "zscore") for text in REPRESENTATIONS]
    return [*alone, *product(FUSIONS, get_args(Fusion))]


def is_in_grid(view: str, texts: Sequence[str], fusion: Fusion, detector: str) -> bool:
    """What the grid was widened by is in it in WIDTH dimensions only."""
    is_first = "n_mels" not in VIEWS[view] and set(texts) <= set(FIRST) and fusion == "zscore"
    return is_first or DETECTORS[detector]["pca_components"] == WIDTH


def named(view: str, texts: Sequence[str], detector: str, fusion: Fusion = "zscore") -> str:
    """What a setting is called in the table."""
    scale = "" if fusion == "zscore" else f" by {fusion}"
    text = "+".join(texts).format(bands=Settings().spectrogram.model_copy(update=VIEWS[view]).n_mels)
    return " | ".join((view, text + scale, detector))


def order() -> list[str]:
    """The settings in the order of the table."""
    return [
        *(
            named(view, texts, name, fusion)
            for texts, fusion in combinations()
            for view, name in product(VIEWS, DETECTORS)
            if is_in_grid(view, texts, fusion, name)
        ),
        *(named("max", (text,), name) for text, name in WHOLE.items()),
    ]


def weighed(table: pd.DataFrame) -> pd.Series:
    """The criterion of every setting: simulated machines together count as much as all others."""
    simulated = table.columns.str.startswith(SIMULATED)
    groups = [table.loc[:, which].mean(axis=1) for which in (~simulated, simulated) if which.any()]
    return pd.concat(groups, axis=1).mean(axis=1)


def main() -> None:
    """Search and print the best settings and the choice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="*")
    parser.add_argument("--csv", help="where to keep the criteria, one row a setting")
    arguments = parser.parse_args()
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as processes:
        machines = [*from_archives(arguments.sources), *simulated()]
        found = dict(zip((each.machine for each in machines), processes.map(machine_criteria, machines), strict=True))
    table = pd.DataFrame(found).reindex(order())
    criteria = table.assign(criterion=weighed(table))
    shown = Table("setting", *criteria.columns)
    for setting, row in criteria.nlargest(20, "criterion").iterrows():
        shown.add_row(str(setting), *(f"{value:.3f}" for value in row))
    Console(width=200).print(shown)
    if arguments.csv:
        criteria.round(4).to_csv(arguments.csv, index_label="setting")
    print(json.dumps({"choice": weighed(table).idxmax()}))


if __name__ == "__main__":
    main()
