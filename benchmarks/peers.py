"""What others would write, to be measured beside Humwatch: the naive pipeline and the loader of the baselines.

`python benchmarks/peers.py ARCHIVE` runs the naive pipeline on a zip archive in MIMII's layout and prints its AUCs.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import zipfile
from collections import defaultdict
from pathlib import Path

import librosa
import matplotlib as mpl
import numpy as np
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import StandardScaler
from torch import nn

from humwatch.tasks.weights.vision import models, torchvision

RATE_HZ, N_FFT, N_MELS, WINDOW, HOP_WINDOW = 16_000, 1024, 64, 64, 32


def naive_load(data: bytes) -> np.ndarray:
    """The whole file with librosa, its first channel: (sample,)."""
    samples, _ = librosa.load(io.BytesIO(data), sr=RATE_HZ, mono=False)
    return np.atleast_2d(samples)[0]


def naive_logmel(samples: np.ndarray, hop: int = 512) -> np.ndarray:
    """Librosa's log-mel spectrogram: (mel, frame)."""
    mel = librosa.feature.melspectrogram(
        y=samples, sr=RATE_HZ, n_fft=N_FFT, hop_length=hop, n_mels=N_MELS, pad_mode="constant"
    )
    return librosa.power_to_db(mel, ref=np.max, top_db=80.0)


def naive_windows(logmel: np.ndarray) -> list[np.ndarray]:
    """Overlapping windows."""
    return [logmel[:, start : start + WINDOW] for start in range(0, logmel.shape[1] - WINDOW + 1, HOP_WINDOW)]


class NaiveImage:
    """Matplotlib's colours, Pillow's resize, torchvision's tensor and normalisation, one window at a time."""

    def __init__(self, size_px: int = 224) -> None:
        transforms = torchvision.transforms
        self._size = (size_px, size_px)
        self._colours = mpl.colormaps["viridis"]
        self._finish = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
        )

    def __call__(self, window: np.ndarray) -> torch.Tensor:
        """Return (1, 3, px, px)."""
        rgb = Image.fromarray(self._colours((window + 80) / 80, bytes=True)[..., :3])
        image: torch.Tensor = self._finish(rgb.resize(self._size, Image.Resampling.BILINEAR))
        return image[None]


def naive_network(name: str) -> nn.Module:
    """A torchvision model without its classifier, weights drawn with seed 0 (they cost the same as trained ones)."""
    torch.manual_seed(0)
    network: nn.Module = models.get_model(name, weights=None).eval()
    if name.startswith("resnet"):
        network.fc = nn.Identity()  # type: ignore[assignment]
        return network
    return nn.Sequential(network.features, nn.AdaptiveAvgPool2d(2), nn.Flatten())


def naive_lenet() -> nn.Module:
    """The paper's first autoencoder layer by layer, as it is described: (patch, 1, 64, 64) to the same."""

    def convolution(before: int, after: int) -> nn.Module:
        return nn.Conv2d(before, after, 5, padding=2, bias=False)

    down: list[nn.Module] = []
    for before, after in ((1, 32), (32, 64), (64, 128)):
        down += [convolution(before, after), nn.BatchNorm2d(after), nn.ELU(), nn.MaxPool2d(2)]
    up: list[nn.Module] = [nn.Unflatten(1, (2, 8, 8)), nn.ELU()]
    for before, after in ((2, 128), (128, 64), (64, 32)):
        up += [convolution(before, after), nn.BatchNorm2d(after), nn.ELU(), nn.Upsample(scale_factor=2)]
    middle = (nn.Flatten(), nn.Linear(128 * 8 * 8, 128), nn.BatchNorm1d(128))
    return nn.Sequential(*down, *middle, *up, convolution(32, 1), nn.Sigmoid())


def naive_epoch(network: nn.Module, patches: torch.Tensor, batch_patches: int = 128) -> None:
    """Train an epoch with Adam on the mean squared error."""
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)
    for batch in patches.split(batch_patches):
        optimiser.zero_grad()
        nn.functional.mse_loss(network(batch), batch).backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def baseline_vectors(data: bytes, n_mels: int = 128, frames: int = 5, hop: int = 512) -> np.ndarray:
    """The loader of the MIMII and DCASE baselines: log-mel frames, so many stacked, (vector, n_mels * frames).

    Follows `file_to_vector_array` of MIMII's baseline.py and of DCASE's common.py.
    """
    samples, rate = librosa.load(io.BytesIO(data), sr=None, mono=False)
    mel = librosa.feature.melspectrogram(
        y=np.atleast_2d(samples)[0], sr=rate, n_fft=1024, hop_length=hop, n_mels=n_mels, power=2.0
    )
    logmel = 20.0 / 2.0 * np.log10(mel + np.finfo(float).eps)
    count = logmel.shape[1] - frames + 1
    vectors = np.zeros((count, n_mels * frames))
    for frame in range(frames):
        vectors[:, n_mels * frame : n_mels * (frame + 1)] = logmel[:, frame : frame + count].T
    return vectors


def naive_pipeline(archive: Path, backbone: str, size_px: int) -> dict[str, float]:
    """Return the AUC of each machine: half as many normals as there are abnormals' test, the other normals train."""
    network, image = naive_network(backbone), NaiveImage(size_px)
    features: dict[str, dict[str, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    with zipfile.ZipFile(archive) as file, torch.no_grad():
        for name in (each for each in file.namelist() if each.endswith(".wav")):
            _, machine, label, _ = name.rsplit("/", 3)
            windows = naive_windows(naive_logmel(naive_load(file.read(name))))
            features[machine][label].append(np.concatenate([network(image(window)).numpy() for window in windows]))
    aucs = {}
    for machine, of in sorted(features.items()):
        normals, abnormals = of["normal"], of["abnormal"]
        random.Random(0).shuffle(normals)
        held = min(len(abnormals), len(normals) // 2)
        scaler = StandardScaler().fit(np.concatenate(normals[held:]))
        rows = scaler.transform(np.concatenate(normals[held:])).astype(np.float64)
        model = GaussianMixture(min(80, len(rows)), covariance_type="diag", max_iter=150, random_state=0).fit(rows)
        scores = [-model.score_samples(scaler.transform(each)).mean() for each in normals[:held] + abnormals]
        aucs[machine] = float(roc_auc_score([0] * held + [1] * len(abnormals), scores))
    return aucs


def main() -> None:
    """Run the naive pipeline."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size-px", type=int, default=224)
    given = parser.parse_args()
    print(json.dumps(naive_pipeline(given.archive, given.backbone, given.size_px)))


if __name__ == "__main__":
    main()
