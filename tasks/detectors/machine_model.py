"""What is kept for one machine: one kind of detector over one representation of its sound, or over several, fused.

A detector sees windows; a recording's score is pooled from the scores of its windows. Several representations are fused
by putting the scores of each on one scale, that of its out-of-fold training scores, and summing. Where the
representations have different windows (one of them describes whole recordings) there is nothing to sum but recordings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from humwatch.tasks.detectors.detectors import Detector, fit_detector
from humwatch.tasks.detectors.kinds.algorithm import Matrix
from humwatch.tasks.settings import DetectorName, FitSettings

Windows: TypeAlias = NDArray[np.float32]
"""Features of one representation, float32 (recording, window, feature). Shorter recordings are padded with NaN: a
window with a value that is not finite is none. A representation of whole recordings has one window each."""


@dataclass(frozen=True)
class MachineModel:
    """A fitted model of one machine.

    Attributes:
        detectors: One a representation, in their order.
        references: One a representation, float64, sorted: the training scores that define its scale. Empty for a single
            representation, whose scores stay as the detector gives them.
        level: What is summed over representations, windows or recordings.
        shown: At level "recording", the representation whose window scores, as its detector gives them, are shown.
        fusion: How scores are scaled: by mean and standard deviation, or to their rank in [0, 1].
        pooling: A recording's score from those of its windows; `top_k` is the mean of the highest, or of all if fewer.
        top_k: How many.
    """

    detectors: tuple[Detector, ...]
    references: tuple[Matrix, ...]
    level: Literal["window", "recording"]
    shown: int
    fusion: Literal["zscore", "rank"]
    pooling: Literal["mean", "max", "top_k"]
    top_k: int

    def scores(self, windows: Sequence[Windows]) -> tuple[Matrix, Matrix]:
        """Window scores and recording scores at once; higher = more abnormal.

        Args:
            windows: One array a representation, in the order of the fit.

        Returns:
            float64 (recording, window), NaN where there is no window, and float64 (recording,), NaN for a recording
            without windows.

        Raises:
            ValueError: The arrays do not fit each other or the model.
        """
        _check_shapes(windows, len(self.detectors))
        return self.combine([_score_windows(d, w) for d, w in zip(self.detectors, windows, strict=True)])

    def window_scores(self, windows: Sequence[Windows]) -> Matrix:
        """The first half of `scores`."""
        return self.scores(windows)[0]

    def recording_scores(self, windows: Sequence[Windows]) -> Matrix:
        """The second half of `scores`."""
        return self.scores(windows)[1]

    def drift(self, windows: Sequence[Windows]) -> Matrix:
        """Feature drift of each recording, float64 (recording,), NaN for one without windows.

        The median over features of the distance of the recording's mean to the training mean, in training standard
        deviations (the median, so that a few features that hardly varied in training do not decide); then the mean over
        representations.
        """
        _check_shapes(windows, len(self.detectors))
        drift = np.full((len(windows), len(windows[0])), np.nan)
        for moved, detector, features in zip(drift, self.detectors, windows, strict=True):
            for index, recording in enumerate(features):
                finite = recording[np.isfinite(recording).all(axis=1)]
                if len(finite):
                    moved[index] = np.median(detector.distances(finite.mean(axis=0, dtype=np.float64)[None]))
        mean: Matrix = drift.mean(axis=0)
        return mean

    def combine(self, scores: Sequence[Matrix]) -> tuple[Matrix, Matrix]:
        """From the detectors' scores, float64 (recording, window) each, to those of the machine: see `scores`."""
        if len(scores) == 1:
            return scores[0], self._pool(scores[0])
        if self.level == "window":
            fused = self._fuse(scores)
            return fused, self._pool(fused)
        return scores[self.shown], self._fuse([self._pool(each) for each in scores])

    def _fuse(self, scores: Sequence[Matrix]) -> Matrix:
        if len({each.shape for each in scores}) > 1:
            raise ValueError("representations that had the same windows when fitted have not now")
        scale = _zscore if self.fusion == "zscore" else _rank
        total = np.zeros(scores[0].shape)
        for each, reference in zip(scores, self.references, strict=True):
            total += scale(each, reference)
        return total

    def _pool(self, scores: Matrix) -> Matrix:
        return pool(scores, self.pooling, self.top_k)

    def state(self) -> dict[str, Any]:
        """A plain dict with all there is to store; `from_state` takes it back."""
        state = {field.name: getattr(self, field.name) for field in fields(self)}
        return state | {"detectors": [detector.state() for detector in self.detectors]}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> MachineModel:
        """The model of a state.

        Raises:
            KeyError: The state lacks a field.
        """
        values = {field.name: state[field.name] for field in fields(cls)}
        return cls(**values | {"detectors": tuple(Detector.from_state(each) for each in state["detectors"])})


@dataclass(frozen=True)
class FittedMachine:
    """A model and what its threshold is calibrated with.

    Attributes:
        model: The model of all training recordings.
        calibration_scores: float64 (recording,): each training recording as scored by detectors fitted without its
            fold; NaN where that is impossible. The scale of a fusion comes from these same scores of all folds.
        notes: What is less than was asked for, in plain words.
    """

    model: MachineModel
    calibration_scores: Matrix
    notes: tuple[str, ...]


def fit_machine_model(
    detector: DetectorName,
    windows: Sequence[Windows],
    settings: FitSettings,
    seed: int,
    folds: NDArray[np.integer[Any]],
) -> FittedMachine:
    """Fit a machine's model to its normal recordings, and once more without each fold to score that fold.

    Args:
        detector: Which of them.
        windows: One array a representation, each float32 (recording, window, feature), NaN-padded.
        settings: Parameters of detector, fusion and pooling.
        seed: Not negative; the same input and seed give the same bits.
        folds: int (recording,): the fold of each training recording, as from `calibration.make_folds`.

    Raises:
        ValueError: A representation has no window at all, or the arrays do not fit each other.
    """
    _check_shapes(windows, len(windows))
    if len(folds) != len(windows[0]):
        raise ValueError(f"{len(folds)} folds for {len(windows[0])} recordings")
    fitted, held_out, notes = [], [], []
    for index, representation in enumerate(windows):
        prefix = f"representation {index + 1}: " if len(windows) > 1 else ""
        rows = np.flatnonzero(_is_window(representation))
        fitted.append(fit_detector(detector, _as_rows(representation), settings, _derive(seed, index, 0), rows))
        notes += [prefix + note for note in fitted[-1].notes]
        held_out.append(
            _out_of_fold_scores(detector, representation, settings, seed=seed, representation=index, folds=folds)
        )

    lengths = [representation.shape[1] for representation in windows]
    level: Literal["window", "recording"] = "window" if max(lengths) == min(lengths) > 1 else "recording"
    references: list[Matrix] = []
    for index, scores in enumerate(held_out if len(windows) > 1 else []):
        if not np.isfinite(scores).any():
            scores = _score_windows(fitted[index], windows[index])  # noqa: PLW2901 the fallback, named below
            notes.append(f"representation {index + 1}: fused on the scale of its own training scores: no held-out ones")
        values = scores if level == "window" else pool(scores, settings.pooling, settings.top_k)
        references.append(np.sort(values[np.isfinite(values)]))

    model = MachineModel(
        detectors=tuple(fitted),
        references=tuple(references),
        level=level,
        shown=int(np.argmax(lengths)),
        fusion=settings.fusion,
        pooling=settings.pooling,
        top_k=settings.top_k,
    )
    calibration_scores = model.combine(held_out)[1]
    missing = int(np.isnan(calibration_scores).sum())
    if 0 < missing < len(folds):
        notes.append(f"{missing} of {len(folds)} training recordings have no out-of-fold score")
    return FittedMachine(model, calibration_scores, tuple(notes))


def pool(scores: Matrix, pooling: Literal["mean", "max", "top_k"], top_k: int) -> Matrix:
    """Recording scores, float64 (recording,), from window scores, float64 (recording, window), NaN = no window.

    Each recording by itself, without its padding: a sum of more zeros is rounded differently.
    """
    pooled = np.full(len(scores), np.nan)
    for index, row in enumerate(scores):
        values = row[~np.isnan(row)]
        if len(values) == 0:
            continue
        if pooling == "mean":
            pooled[index] = values.mean()
        elif pooling == "max":
            pooled[index] = values.max()
        else:
            pooled[index] = np.sort(values)[-top_k:].mean()
    return pooled


def _zscore(scores: Matrix, reference: Matrix) -> Matrix:
    spread = reference.std()
    standardised: Matrix = (scores - reference.mean()) / (spread if spread > 0 else 1.0)
    return standardised


def _rank(scores: Matrix, reference: Matrix) -> Matrix:
    """Share of the reference below, half of what is equal included, so in [0, 1]; NaN stays NaN."""
    below = np.searchsorted(reference, scores, "left") + np.searchsorted(reference, scores, "right")
    ranks: Matrix = np.where(np.isnan(scores), np.nan, below / (2 * len(reference)))
    return ranks


def _score_windows(detector: Detector, windows: Windows) -> Matrix:
    is_window = _is_window(windows)
    scores = np.full(is_window.shape, np.nan)
    scores[is_window] = detector.score(_as_rows(windows), np.flatnonzero(is_window))
    return scores


def _is_window(windows: Windows) -> NDArray[np.bool_]:
    """Which windows are finite; a sum is, exactly when all it sums are, and takes no memory of its own."""
    is_window: NDArray[np.bool_] = np.isfinite(windows.sum(axis=2, dtype=np.float64))
    return is_window


def _as_rows(windows: Windows) -> Windows:
    return windows.reshape(-1, windows.shape[2])


def _out_of_fold_scores(
    detector: DetectorName,
    windows: Windows,
    settings: FitSettings,
    *,
    seed: int,
    representation: int,
    folds: NDArray[np.integer[Any]],
) -> Matrix:
    """Scores (recording, window) by detectors that have not seen the recording's fold; NaN if there are no others."""
    is_window = _is_window(windows)
    scores = np.full(is_window.shape, np.nan)
    for turn, fold in enumerate(np.unique(folds), start=1):
        in_fold = (folds == fold)[:, None]
        others, held_out = np.flatnonzero(is_window & ~in_fold), np.flatnonzero(is_window & in_fold)
        if len(others):
            derived = _derive(seed, representation, turn)
            fitted = fit_detector(detector, _as_rows(windows), settings, derived, others)
            scores.flat[held_out] = fitted.score(_as_rows(windows), held_out)
    return scores


def _derive(seed: int, *path: int) -> int:
    """A 32-bit seed of its own for each fit (NumPy's SeedSequence)."""
    return int(np.random.SeedSequence((seed, *path)).generate_state(1)[0])


def _check_shapes(windows: Sequence[Windows], representations: int) -> None:
    if not windows or len(windows) != representations:
        raise ValueError(f"{len(windows)} representations where {max(representations, 1)} are needed")
    if len({len(each) for each in windows}) > 1:
        raise ValueError(f"representations of {[len(each) for each in windows]} recordings")
