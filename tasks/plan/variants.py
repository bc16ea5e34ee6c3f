"""The models that settings ask for: every representation crossed with every detector and seed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from humwatch.tasks.settings import DetectorName, FitSettings


@dataclass(frozen=True)
class Variant:
    """One column of the comparison: a representation (or several, fused), a detector and a seed."""

    backbone: str
    detector: DetectorName
    seed: int


def variants(backbones: Iterable[str], fit: FitSettings) -> list[Variant]:
    """Return every combination that the settings ask for, in a fixed order."""
    return [
        Variant(backbone, detector, seed) for backbone in backbones for detector in fit.detectors for seed in fit.seeds
    ]
