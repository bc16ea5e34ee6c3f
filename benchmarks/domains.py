"""Whether thresholds hold in both domains of a machine heard much in one and little in the other.

The machines and rounds of search.py: normal training recordings alone, many of a source and few of a target, some of
each held out from the model of a round. Counted are the held-out normals above a threshold made of all recordings
together and above one made for every domain, and how many of their faulty twins are.

    python benchmarks/domains.py ARCHIVE...
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from search import Normals, embedded, from_archives, simulated, twins

from humwatch.flows.presets import load
from humwatch.tasks.detectors.calibration import make_folds, threshold
from humwatch.tasks.detectors.machine_model import FittedMachine, fit_machine_model
from humwatch.tasks.plan.representations import parse
from humwatch.tasks.settings import Settings

RATES = (0.01, 0.02, 0.05, 0.1)
SETTINGS = {
    "default": load("default"),
    "fast": load("fast"),
    "log-mel mahalanobis": load("fast", flags={"fit": {"detectors": ("mahalanobis",), "pca_components": None}}),
}


def rounds(normals: Normals, settings: Settings) -> Iterator[tuple[list[str], FittedMachine, dict[str, np.ndarray]]]:
    """Yield of every round the domains of what was trained on, the model, and the scores of what it has not heard."""
    texts = [str(representation) for representation in parse(settings.features.backbones[0])]
    signals = [*normals.signals, *twins(normals, settings.spectrogram.sample_rate_hz)]
    features = embedded(signals, settings.spectrogram, settings, texts)
    of_target = np.isin(np.arange(len(normals.signals)), np.concatenate([each.target for each in normals.rounds]))
    for each in normals.rounds:
        folds = make_folds([None] * len(each.train), settings.fit.calibration_folds, 0)
        training = [features[text][each.train] for text in texts]
        fitted = fit_machine_model(settings.fit.detectors[0], training, settings.fit, 0, folds)
        scores, faulty = np.split(fitted.model.recording_scores([features[text] for text in texts]), 2)
        unheard = np.concatenate([each.source, each.target])
        found = {"source": scores[each.source], "target": scores[each.target], "faulty": faulty[unheard]}
        yield np.where(of_target[each.train], "target", "source").tolist(), fitted, found


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="*")
    torch.set_num_threads(1)
    of_kind = defaultdict(list)
    for normals in [*from_archives(parser.parse_args().sources), *simulated()]:
        of_kind[normals.machine.split()[0]].append(normals)
    table = Table("machines", "setting", "rate", "made of", "source", "target", "faulty found")
    for kind, machines in of_kind.items():
        for name, settings in SETTINGS.items():
            above = defaultdict(list)
            for domains, fitted, found in (each for normals in machines for each in rounds(normals, settings)):
                for rate in RATES:
                    for made_of, known in (("all", None), ("domains", domains)):
                        limit, _ = threshold(fitted.calibration_scores, rate, known)
                        for group, scores in found.items() if limit is not None else ():
                            above[rate, made_of, group].extend(scores > limit)
            for rate in RATES:
                for made_of in ("all", "domains"):
                    counts = [above[rate, made_of, group] for group in ("source", "target", "faulty")]
                    shares = [f"{np.mean(each):.3f} ({sum(each)} of {len(each)})" if each else "" for each in counts]
                    table.add_row(kind, name, f"{rate:g}", made_of, *shares)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
