"""What is kept for one machine: one kind of detector over one representation of its sound, or over several, fused.

A detector sees windows; a recording's score is pooled from the scores of its windows. Several representations are fused
by putting the scores of each on one scale, that of its out-of-fold training scores, and summing. Where the
representations have different windows (one of them describes whole recordings) there is nothing to sum but recordings.

Of up to MOST_BY_FOLDS training recordings the model is the fits without one fold each, and a score is the median of
theirs: the very fits that score the recordings held out, which threshold and p-values come from. A fit to all of them
would be another thing than these where recordings are about as many as components (cross-conformal prediction: Vovk,
"Cross-conformal predictors", Annals of Mathematics and Artificial Intelligence 74, 2015); and there a mean would be
that of the fit with the smallest variance to divide by. With more recordings leaving a fold out changes little, and one
fit to all is kept.
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


MOST_BY_FOLDS = 400


@dataclass(frozen=True)
class MachineModel:
    """A fitted model of one machine.

    Attributes:
        members: Fits of whose scores the median counts, each one detector a representation, in their order.
        references: One a representation, float64, sorted: the training scores that define its scale. Empty for a single
            representation, whose scores stay as the detector gives them.
        level: What is summed over representations, windows or recordings.
        shown: At level "recording", the representation whose window scores, as its detector gives them, are shown.
        fusion: How scores are scaled: by mean and standard deviation, or to their rank in [0, 1].
        pooling: A recording's score from those of its windows; `top_k` is the mean of the highest, or of all if fewer.
        top_k: How many.
    """

    members: tuple[tuple[Detector, ...], ...]
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
        _check_shapes(windows, len(self.members[0]))
        of_windows, of_recordings = zip(
            *(
                self.combine([_score_windows(d, w) for d, w in zip(detectors, windows, strict=True)])
                for detectors in self.members
            ),
            strict=True,
        )
        return np.median(of_windows, axis=0), np.median(of_recordings, axis=0)

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
        representations and members.
        """
        _check_shapes(windows, len(self.members[0]))
        drift = np.full((len(self.members), len(windows), len(windows[0])), np.nan)
        for index, features in enumerate(windows):
            for row, recording in enumerate(features):
                finite = recording[np.isfinite(recording).all(axis=1)]
                if len(finite):
                    mean = finite.mean(axis=0, dtype=np.float64)[None]
                    drift[:, index, row] = [np.median(member[index].distances(mean)) for member in self.members]
        return np.asarray(drift.mean(axis=(0, 1)))

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
        return state | {"members": [[detector.state() for detector in member] for member in self.members]}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> MachineModel:
        """The model of a state; those kept when models were one fit have its `detectors` only.

        Raises:
            KeyError: The state lacks a field.
        """
        stored = state if "members" in state else {**state, "members": [state["detectors"]]}
        values = {field.name: stored[field.name] for field in fields(cls)}
        members = tuple(tuple(Detector.from_state(each) for each in member) for member in stored["members"])
        return cls(**values | {"members": members})


@dataclass(frozen=True)
class FittedMachine:
    """A model and what its threshold is calibrated with.

    Attributes:
        model: The model of all training recordings.
        calibration_scores: float64 (recording,): each training recording as scored by the detectors that were fitted
            without its fold; NaN where that is impossible. The scale of a fusion comes from these same scores of all
            folds.
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
    """Fit a machine's model to its normal recordings without each fold, score that fold, and fit to all of many.

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
    by_fold, held_out = _fit_by_folds(detector, windows, settings, seed, folds)
    members = by_fold
    if len(folds) > MOST_BY_FOLDS or not members:
        whole = (_fit(detector, each, settings, _derive(seed, index, 0)) for index, each in enumerate(windows))
        members = [tuple(whole)]
    notes = []
    for index, fitted in enumerate(members[0]):
        prefix = f"representation {index + 1}: " if len(windows) > 1 else ""
        notes += [prefix + note for note in fitted.notes]

    lengths = [representation.shape[1] for representation in windows]
    level: Literal["window", "recording"] = "window" if max(lengths) == min(lengths) > 1 else "recording"
    references: list[Matrix] = []
    for index, scores in enumerate(held_out if len(windows) > 1 else []):
        if not np.isfinite(scores).any():
            scores = _score_windows(members[0][index], windows[index])  # noqa: PLW2901 the fallback, named below
            notes.append(f"representation {index + 1}: fused on the scale of its own training scores: no held-out ones")
        values = scores if level == "window" else pool(scores, settings.pooling, settings.top_k)
        references.append(np.sort(values[np.isfinite(values)]))

    model = MachineModel(
        members=tuple(members),
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


def _fit_by_folds(
    detector: DetectorName,
    windows: Sequence[Windows],
    settings: FitSettings,
    seed: int,
    folds: NDArray[np.integer[Any]],
) -> tuple[list[tuple[Detector, ...]], list[Matrix]]:
    """Fit once without each fold.

    Returns:
        The fits, none where there is a single fold or where the others have no window; and for each representation
        float64 (recording, window), every window as scored by the fit without its fold, NaN where there is none.
    """
    fits = []
    scores = [np.full(representation.shape[:2], np.nan) for representation in windows]
    for turn, fold in enumerate(np.unique(folds), start=1):
        others = folds != fold
        if not all(_is_window(representation[others]).any() for representation in windows):
            continue
        fits.append(
            tuple(
                _fit(detector, representation, settings, _derive(seed, index, turn), others)
                for index, representation in enumerate(windows)
            )
        )
        for fitted, representation, found in zip(fits[-1], windows, scores, strict=True):
            held_out = np.flatnonzero(_is_window(representation) & ~others[:, None])
            found.flat[held_out] = fitted.score(_as_rows(representation), held_out)
    return fits, scores


def _fit(
    detector: DetectorName, windows: Windows, settings: FitSettings, seed: int, which: NDArray[np.bool_] | None = None
) -> Detector:
    """Fit one detector to the windows of all recordings, or of some."""
    is_window = _is_window(windows)
    rows = np.flatnonzero(is_window if which is None else is_window & which[:, None])
    return fit_detector(detector, _as_rows(windows), settings, seed, rows)


def _derive(seed: int, *path: int) -> int:
    """A 32-bit seed of its own for each fit (NumPy's SeedSequence)."""
    return int(np.random.SeedSequence((seed, *path)).generate_state(1)[0])


def _check_shapes(windows: Sequence[Windows], representations: int) -> None:
    if not windows or len(windows) != representations:
        raise ValueError(f"{len(windows)} representations where {max(representations, 1)} are needed")
    if len({len(each) for each in windows}) > 1:
        raise ValueError(f"representations of {[len(each) for each in windows]} recordings")
