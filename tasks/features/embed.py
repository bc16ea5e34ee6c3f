"""Spectrograms -> features: windows cut, drawn as images, taken through each backbone once, pooled into vectors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from humwatch.storage.errors import BadConfiguration
from humwatch.tasks.features.backbones import Backbone, build, choose_device, map_shapes
from humwatch.tasks.features.images import ImageMaker
from humwatch.tasks.features.pooling import (
    Moments,
    moments,
    pool,
    pooled,
    recording_vector,
    window_spans,
    window_vectors,
)
from humwatch.tasks.features.windows import strip_frames, strips
from humwatch.tasks.plan.representations import Representation
from humwatch.tasks.settings import FeatureSettings, ImageSettings, SpectrogramSettings
from humwatch.tasks.weights.sources import LOGMEL

# Windows of one strip at most, so that a recording of hours is no single image.
_STRIP_WINDOWS = 16
# More are no faster on a CPU and take more memory: the maps of one layer have tens of megabytes.
BATCH_SIZES = {"cpu": 16, "cuda": 32}


def feature_size(representation: Representation, images: ImageSettings, spectrogram: SpectrogramSettings) -> int:
    """Return the length of a representation's vectors; needs neither data nor weights.

    Raises:
        BadConfiguration: the source has no such layer, or its map cannot be pooled like that.
    """
    if representation.source == LOGMEL:
        channels, rows, columns = 1, spectrogram.n_mels, images.window_frames
    else:
        shapes = map_shapes(representation.source, (representation.layer,), images.image_size_px)
        channels, rows, columns = shapes[representation.layer]
    bins = (representation.frequency_bins, representation.time_bins)
    if bins[0] > rows or bins[1] > columns:
        raise BadConfiguration(
            f"{representation}: its map has {rows}x{columns} cells (frequency x time), so at most as many bins"
        )
    if bins == (rows, columns) and "std" in representation.statistics and representation.level == "window":
        raise BadConfiguration(f"{representation}: a bin is one cell, which has no std; use mean or fewer bins")
    return len(representation.statistics) * channels * bins[0] * bins[1]


class Embedder:
    """The backbones of some representations, ready to run. Costs seconds to make; keep one for each process.

    Raises:
        BadConfiguration: a representation that cannot be, an unknown colour map, an absent device.
        WeightsNotFound, ModelIncompatible: see `state.load_weights` and `backbones.build`.
    """

    def __init__(
        self,
        representations: Sequence[Representation],
        features: FeatureSettings,
        images: ImageSettings,
        spectrogram: SpectrogramSettings,
    ) -> None:
        self._sizes = {
            representation: feature_size(representation, images, spectrogram) for representation in representations
        }
        self._settings = images
        self._device = choose_device(features.device)
        self._batch_size = features.batch_size or BATCH_SIZES[self._device.type]
        self._largest_pass = self._batch_size
        self._longest_strip = _STRIP_WINDOWS if features.fully_convolutional else 1
        self._image_maker = ImageMaker(images, spectrogram.top_db, self._device)
        # log-mel statistics of a recording are those of its frames, not of its windows
        self._of_windows = [
            representation
            for representation in self._sizes
            if representation.level == "window" or representation.source != LOGMEL
        ]
        layers: dict[str, list[str]] = defaultdict(list)
        for representation in self._sizes:
            if representation.source != LOGMEL and representation.layer not in layers[representation.source]:
                layers[representation.source].append(representation.layer)
        if features.fully_convolutional:
            _must_widen(layers, images)
        self._backbones: dict[str, Backbone] = {
            source: build(source, tuple(names), features, images.image_size_px) for source, names in layers.items()
        }

    def feature_size(self, representation: Representation) -> int:
        """Return the length of the vectors of one of the embedder's representations."""
        return self._sizes[representation]

    def embed(self, spectrograms: np.ndarray, n_frames: np.ndarray) -> dict[Representation, np.ndarray]:
        """Embed every window that lies inside its recording.

        Windows go through a backbone in row order, in batches that run across recordings and are padded to
        `batch_size`: every pass has one shape. With one torch thread a window's bits then do not depend on its place in
        a batch, so neither on how rows are split into calls. With `fully_convolutional` strips of windows do, those of
        one length together.

        On a GPU the next batches are made here while it works on the last: nothing waits until all are on their way.

        Args:
            spectrograms: float32 (recording, n_mels, frames) in dB, NaN after a recording's own frames.
            n_frames: integers (recording,), each recording's own frames.

        Returns:
            float32 (recording, window, feature) for each representation, as many windows as the longest recording has,
            NaN where a recording has no such window. At recording level (recording, 1, feature); NaN for a recording
            shorter than one window.

        Raises:
            ValueError: a recording's own frames hold NaN or infinite values.
        """
        for row, count in enumerate(n_frames):
            if not np.isfinite(spectrograms[row, :, : int(count)]).all():
                raise ValueError(f"row {row} holds NaN or infinite values within its {count} frames")
        counts = [self._settings.n_windows(int(count)) for count in n_frames]
        moments_of_windows = self._window_moments(spectrograms, n_frames) if self._of_windows and any(counts) else {}
        ends = np.cumsum(counts, dtype=int)
        features = {}
        for representation, size in self._sizes.items():
            per_window = representation.level == "window"
            vectors = np.full(
                (len(counts), max(counts, default=0) if per_window else 1, size), np.nan, dtype=np.float32
            )
            for row, (count, end) in enumerate(zip(counts, ends, strict=True)):
                if count and per_window:
                    vectors[row, :count] = window_vectors(
                        _rows(moments_of_windows[representation], slice(end - count, end))
                    )
                elif count and representation.source == LOGMEL:
                    own = torch.tensor(spectrograms[row, None, None, :, : int(n_frames[row])], dtype=torch.float32)
                    vectors[row] = recording_vector(pool(own, representation))
                elif count:
                    vectors[row] = recording_vector(_rows(moments_of_windows[representation], slice(end - count, end)))
            features[representation] = vectors
        return features

    def _window_moments(self, spectrograms: np.ndarray, n_frames: np.ndarray) -> Mapping[Representation, Moments]:
        """Return the moments of all windows of all recordings, one after the other."""
        batches: dict[Representation, list[list[torch.Tensor]]] = {
            representation: [] for representation in self._of_windows
        }
        order: list[int] = []
        for strips_of_batch, levels in self._batches(spectrograms, n_frames):
            order += [index for strip in strips_of_batch for index in strip]
            length = len(strips_of_batch[0])
            maps = self._maps(torch.from_numpy(levels))
            for representation, pieces in batches.items():
                used = maps[representation.source, representation.layer][: len(strips_of_batch)]
                spans = None
                if self._longest_strip > 1:
                    spans = window_spans(length, representation.time_bins, used.shape[-1], self._settings)
                pieces.append([values.to("cpu", non_blocking=True) for values in pooled(used, representation, spans)])
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        back = np.argsort(order)
        return {representation: _rows(moments(pieces), back) for representation, pieces in batches.items()}

    def _batches(self, spectrograms: np.ndarray, n_frames: np.ndarray) -> Iterator[tuple[list[range], np.ndarray]]:
        """Yield batches of strips of one length: the windows of each, counted over all recordings, and their levels.

        Levels are float32 (strips of a full batch, n_mels, frames), padded with zeros.
        """
        places: dict[int, list[tuple[int, range, int]]] = defaultdict(list)
        before = 0
        for row, count in enumerate(n_frames):
            for strip in strips(int(count), self._settings, self._longest_strip):
                places[len(strip)].append((row, strip, before))
            before += self._settings.n_windows(int(count))
        for length, of_length in sorted(places.items()):
            frames = strip_frames(length, self._settings)
            full = max(1, self._batch_size // length)
            for first in range(0, len(of_length), full):
                batch = of_length[first : first + full]
                levels = np.zeros((full, spectrograms.shape[1], frames), dtype=np.float32)
                for at, (row, strip, _) in enumerate(batch):
                    start = strip.start * self._settings.window_hop_frames
                    levels[at] = spectrograms[row, :, start : start + frames]
                yield [range(before + strip.start, before + strip.stop) for _, strip, before in batch], levels

    def _maps(self, levels: torch.Tensor) -> dict[tuple[str, str], torch.Tensor]:
        """Return {(source, layer): (batch, channel, frequency, time)}; log-mel is the levels themselves."""
        maps = {(LOGMEL, ""): levels[:, None]}
        if self._backbones:
            if self._device.type == "cuda":
                levels = levels.pin_memory().to(self._device, non_blocking=True)
            images = self._image_maker(levels)
            for source, backbone in self._backbones.items():
                for layer, values in self._pass(backbone, images).items():
                    maps[source, layer] = values
        return maps

    def _pass(self, backbone: Backbone, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return a backbone's maps; a GPU out of memory gets half as many images at once from then on."""
        while True:
            try:
                passes = [backbone(part) for part in torch.split(images, self._largest_pass)]
            except torch.OutOfMemoryError:
                if self._largest_pass == 1:
                    raise
                self._largest_pass = (self._largest_pass + 1) // 2
                torch.cuda.empty_cache()
            else:
                return {layer: torch.cat([maps[layer] for maps in passes]) for layer in passes[0]}


def _must_widen(layers: Mapping[str, Sequence[str]], images: ImageSettings) -> None:
    """Refuse layers whose map does not grow with the image: there is nothing to pool windows from.

    Raises:
        BadConfiguration: such a layer.
    """
    for source, names in layers.items():
        square, wide = (
            map_shapes(source, tuple(names), images.image_size_px, times * images.image_size_px) for times in (1, 4)
        )
        for name in names:
            if wide[name][2] < 2 * square[name][2]:
                raise BadConfiguration(
                    f"features.fully_convolutional needs a layer whose map grows with the image: {source}@{name} does "
                    "not"
                )


def _rows(whole: Moments, rows: slice | np.ndarray) -> Moments:
    return Moments(whole.mean[rows], None if whole.std is None else whole.std[rows])
