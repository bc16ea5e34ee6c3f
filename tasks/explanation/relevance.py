"""What drove a score, as a map over frequency and time, and the part of the map that a page marks.

Occlusion (Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014) asks how much a score
changes without one part of the input. Taking a part out of an abnormal recording says little where the rest suffices to
keep the score up, as with detectors that saturate; so it is asked the other way round, as the insertion metric of
Petsiuk, Das and Saenko ("RISE", BMVC 2018; "include individual features" in Covert, Lundberg and Lee, "Explaining by
removing", JMLR 22, 2021): how much does the score of a normal recording rise when one band of it is replaced by that
band of the recording in question?

    rise(b, w)      score of window w of a normal recording with band b of the recording, less its own; mean over the
                    examples; 0 where it falls, and in windows that the pooling of the machine's model leaves out
    departure(m, t) how unusual the cell is for its band among training recordings (`Reference.departure`)
    relevance(m, t) = mean of rise over the bands that hold m and the windows that hold t, times departure(m, t)

The rise is the detector's own word, but only as fine as bands and windows; the departure knows nothing of the detector
and makes it fine. A model that scores recordings and not windows has one rise a band. The map is scaled to a maximum of
1: it says where, not how much.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from humwatch.tasks.detectors.machine_model import MachineModel
from humwatch.tasks.explanation.reference import Decibels, Reference
from humwatch.tasks.plan.representations import Representation
from humwatch.tasks.settings import ImageSettings

if TYPE_CHECKING:
    from humwatch.tasks.features.embed import Embedder

MOST_FRAMES = 1024
"""Frames of a recording that are explained: of a longer one, the stretch that departs most. Bounds the cost."""

_BANDS = 8  # a band is an eighth of the picture high


def relevance_map(
    logmel: Decibels,
    reference: Reference,
    model: MachineModel,
    representations: Sequence[Representation],
    embedder: Embedder,
    images: ImageSettings,
) -> NDArray[np.float32]:
    """Where a recording departs from normal as far as its model cares; the same bits for the same input.

    It costs 1 + 18 x examples times as many images as the recording has windows: 37 x 8 for 10 s with two examples.

    Args:
        logmel: The recording, at least one window long.
        reference: Of the recordings the model was trained on.
        model: Any detector over any representations.
        representations: Those of the model, in its order.
        embedder: Of these representations, perhaps among others.
        images: How windows are cut.

    Returns:
        float32 (mel, frame) from 0 to 1, higher = drove the score more; 0 throughout where no band raises the score.

    Raises:
        ValueError: The recording is shorter than a window.
    """
    if logmel.shape[1] < images.window_frames:
        raise ValueError(f"{logmel.shape[1]} frames are no window of {images.window_frames}")
    departure = reference.departure(logmel)
    stretch = _stretch(departure.sum(axis=0))
    shifted = logmel[:, stretch] + np.float32(reference.shift_db(logmel))
    bands = _bands(len(logmel))
    candidates = [logmel[:, stretch]]
    for example in reference.examples:
        candidates += _with_each_band(example, shifted - np.float32(reference.shift_db(example)), bands)
    scores = _scores(np.stack(candidates), model, representations, embedder)

    of_examples = scores[1:].reshape(len(reference.examples), 1 + len(bands), -1)
    rise = np.maximum((of_examples[:, 1:] - of_examples[:, :1]).mean(axis=0), 0) * _counts(scores[0], model)
    relevance = np.zeros(logmel.shape)
    windowed = model.level == "window" and any(each.level == "window" for each in representations)
    n_frames = shifted.shape[1]
    by_frame = rise @ (_window_shares(scores.shape[1], n_frames, images) if windowed else np.ones((1, n_frames)))
    relevance[:, stretch] = (bands / bands.sum(axis=0)).T @ by_frame * departure[:, stretch]
    highest = relevance.max()
    return (relevance / highest if highest > 0 else relevance).astype(np.float32)


def marked_area(relevance: NDArray[np.float32], max_fraction: float = 0.25) -> NDArray[np.bool_]:
    """The most relevant cells, bool (mel, frame): at most `max_fraction` of them, none without relevance.

    Cells as relevant as the first that is one too many are left out, so a map that is the same everywhere has no marks.
    """
    ordered = np.sort(relevance, axis=None)[::-1]
    allowed = int(max_fraction * ordered.size)
    limit = max(float(ordered[allowed]), 0.0) if allowed < ordered.size else 0.0
    marked: NDArray[np.bool_] = relevance > limit
    return marked


def _stretch(departure: NDArray[np.float64]) -> slice:
    """The `MOST_FRAMES` frames that depart most together, all of a recording that has no more."""
    if len(departure) <= MOST_FRAMES:
        return slice(0, len(departure))
    until = np.concatenate([[0.0], np.cumsum(departure)])
    first = int(np.argmax(until[MOST_FRAMES:] - until[:-MOST_FRAMES]))
    return slice(first, first + MOST_FRAMES)


def _bands(n_mels: int) -> NDArray[np.bool_]:
    """Overlapping bands, bool (band, mel), half a band apart; every mel band is in at least two."""
    width = max(n_mels // _BANDS, 2)
    starts = np.arange(-(width // 2), n_mels, width // 2)[:, None]
    mels = np.arange(n_mels)
    bands: NDArray[np.bool_] = (starts <= mels) & (mels < starts + width)
    return bands


def _with_each_band(example: Decibels, recording: Decibels, bands: NDArray[np.bool_]) -> list[Decibels]:
    """An example, repeated or cut to the length of a recording, then with each band of the recording in it."""
    own = example[:, np.arange(recording.shape[1]) % example.shape[1]]
    return [own, *(np.where(band[:, None], recording, own) for band in bands)]


def _scores(
    logmels: NDArray[np.float32], model: MachineModel, representations: Sequence[Representation], embedder: Embedder
) -> NDArray[np.float64]:
    """What the model sums: float64 (recording, window), or one score for each recording where it knows no windows."""
    embedded = embedder.embed(logmels, np.full(len(logmels), logmels.shape[2]))
    of_windows, of_recordings = model.scores([embedded[each] for each in representations])
    return of_windows if model.level == "window" else of_recordings[:, None]


def _counts(scores: NDArray[np.float64], model: MachineModel) -> NDArray[np.bool_]:
    """The windows of a recording, bool (window,), whose scores make the score of the recording."""
    if model.pooling == "mean":
        return np.ones(len(scores), dtype=bool)
    taken = min(1 if model.pooling == "max" else model.top_k, len(scores))
    counts: NDArray[np.bool_] = scores >= np.sort(scores)[-taken]
    return counts


def _window_shares(n_windows: int, n_frames: int, images: ImageSettings) -> NDArray[np.float64]:
    """What each window says of each frame, float64 (window, frame): frames in several windows get their mean."""
    starts = np.arange(n_windows)[:, None] * images.window_hop_frames
    frames = np.arange(n_frames)
    inside = (starts <= frames) & (frames < starts + images.window_frames)
    shares: NDArray[np.float64] = inside / np.maximum(inside.sum(axis=0), 1)
    return shares
