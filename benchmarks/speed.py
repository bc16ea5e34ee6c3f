"""Every stage beside its peers and the machine's limits, in one run: `python benchmarks/speed.py [--device cuda]`.

One thread, in the environment of a worker (`WORKER_ENVIRONMENT` of flows/cluster.py), for the peers, too. Each row is
one piece of work done by all its contenders in turn, so many rounds; the figure is the median. On a CPU it is of
processor time, which neighbours on a shared machine disturb less than the clock.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
import torch
from peers import NaiveImage, baseline_vectors, naive_epoch, naive_lenet, naive_load, naive_logmel, naive_network
from rich.console import Console
from rich.table import Table
from sklearn.neighbors import KernelDensity
from sklearn.svm import OneClassSVM
from threadpoolctl import threadpool_limits
from torch.utils.flop_counter import FlopCounterMode

from humwatch.flows.cluster import WORKER_ENVIRONMENT
from humwatch.storage.sources import read_members
from humwatch.storage.sources.zip_archive import list_zip
from humwatch.tasks.detectors.detectors import fit_detector
from humwatch.tasks.detectors.kinds.autoencoders import fit_autoencoder
from humwatch.tasks.detectors.kinds.networks import PATCH
from humwatch.tasks.features.backbones import build
from humwatch.tasks.features.embed import BATCH_SIZES, Embedder
from humwatch.tasks.features.images import ImageMaker
from humwatch.tasks.features.windows import cut
from humwatch.tasks.plan.representations import parse
from humwatch.tasks.settings import FeatureSettings, FitSettings, ImageSettings, SpectrogramSettings
from humwatch.tasks.sound.decode import decode, select_channel
from humwatch.tasks.spectrograms.logmel import LogMel

RATE_HZ, DURATION_S, CHANNELS, FILES = 16_000, 10, 8, 4
_ONE_BY_ONE = 8  # images the eager peer is timed on
Contender = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One line of the table: our work and the peer's, for so many units; `note` says what differs or what limits."""

    stage: str
    unit: str
    peer: str
    ours: Contender
    theirs: Contender
    units: int
    target: float | None = None
    note: str = ""
    flops: float = 0.0
    their_units: int = 0


def recordings() -> list[bytes]:
    """Return WAV files like MIMII's: 8 channels of 16 bits, 10 s at 16 kHz, 12 bits of noise under a hum."""
    generator = np.random.default_rng(0)
    time_s = np.arange(RATE_HZ * DURATION_S)[:, None] / RATE_HZ
    files = []
    for number in range(FILES):
        hum = 0.05 * np.sin(2 * np.pi * (100 + 10 * number) * time_s)
        file = io.BytesIO()
        soundfile.write(
            file, hum + 0.01 * generator.normal(size=(len(time_s), CHANNELS)), RATE_HZ, format="WAV", subtype="PCM_16"
        )
        files.append(file.getvalue())
    return files


def reading_rows(files: list[bytes], folder: Path) -> Iterator[Row]:
    """Decoding, inflating, spectrograms."""
    archive = folder / "fan.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for number, data in enumerate(files):
            file.writestr(f"fan/id_00/normal/{number:08d}.wav", data)
    with archive.open("rb") as file:
        members, _ = list_zip(file, str(archive), "fan.zip", ("wav",), 1 << 30)

    def ours_zip() -> list[np.ndarray]:
        return [select_channel(decode(data), 0) for _, data in read_members(members, 1 << 30)]  # type: ignore[arg-type]

    def theirs_zip() -> list[np.ndarray]:
        with zipfile.ZipFile(archive) as opened:
            return [soundfile.read(io.BytesIO(opened.read(name)), dtype="float32")[0] for name in opened.namelist()]

    equal = all(np.array_equal(found, expected[:, 0]) for found, expected in zip(ours_zip(), theirs_zip(), strict=True))
    note = "equal to the bit" if equal else "DIFFERS"
    yield Row("decode 8-channel WAV", "file", "librosa.load", lambda: [select_channel(decode(d), 0) for d in files],
              lambda: [naive_load(d) for d in files], FILES, 8, note)  # fmt: skip
    yield Row("decode 8-channel WAV", "file", "soundfile.read", lambda: [select_channel(decode(d), 0) for d in files],
              lambda: [soundfile.read(io.BytesIO(d), dtype="float32") for d in files], FILES, None, note)  # fmt: skip
    yield Row("zip member, deflated", "file", "zipfile + soundfile", ours_zip, theirs_zip, FILES, 1.5,
              f"{note}, CRC checked")  # fmt: skip
    signals = [naive_load(data) for data in files]
    for hop in (512, 256):
        logmel = LogMel(SpectrogramSettings(hop_samples=hop))
        apart = max(np.abs(logmel(signal) - naive_logmel(signal, hop)).max() for signal in signals)
        yield Row(f"log-mel, hop {hop}", "file", "librosa", lambda logmel=logmel: [logmel(s) for s in signals],
                  lambda hop=hop: [naive_logmel(s, hop) for s in signals], FILES, 2,
                  f"{apart:.0e} dB apart")  # fmt: skip
    frames = np.random.default_rng(0).normal(size=(80, 1024))
    spectra = np.empty((80, 513), dtype=complex)
    logmel = LogMel(SpectrogramSettings())
    yield Row("log-mel, hop 512", "file", "its Fourier transforms", lambda: [logmel(s) for s in signals],
              lambda: [np.fft.rfft(frames, out=spectra) for _ in range(round(FILES * 313 / 80))], FILES, None,
              "the floor")  # fmt: skip

    wide = LogMel(SpectrogramSettings(n_mels=128))
    yield Row("file to features of the baselines", "file", "their loader",
              lambda: [np.lib.stride_tricks.sliding_window_view(wide(select_channel(decode(d), 0)), 5, axis=1).copy()
                       for d in files], lambda: [baseline_vectors(d) for d in files], FILES)  # fmt: skip


def embedding_rows(device: str, batch_size: int) -> Iterator[Row]:
    """Images, backbones, windows that share their overlaps."""
    rows = 8
    spectrograms = np.random.default_rng(0).uniform(-80, 0, (rows, 64, 313)).astype(np.float32)
    counts = np.full(rows, 313)
    windows = np.concatenate([cut(each, 313, ImageSettings()) for each in spectrograms])
    if device == "cpu":
        for size_px, target in ((224, 2.0), (64, None)):
            image = ImageMaker(ImageSettings(image_size_px=size_px), 80.0)
            naive = NaiveImage(size_px)
            yield Row(f"image, {size_px} px", "window", "Pillow + torchvision", lambda image=image: image(windows[:32]),
                      lambda naive=naive: [naive(window) for window in windows[:32]], 32, target)  # fmt: skip
    precisions = ["float32"]
    if device == "cuda" or "avx512_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
        precisions.append("bfloat16")
    for name, size_px, target in (("resnet18", 224, None), ("resnet34", 224, None), ("squeezenet1_1", 224, None),
                                  ("resnet18", 64, 5.0)):  # fmt: skip
        (wanted,) = parse(name)
        network = naive_network(name).to(device)
        images = ImageMaker(ImageSettings(image_size_px=size_px), 80.0, device)(windows[:batch_size])
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            expected = torch.cat([network(image[None]) for image in images])
        flops = counter.get_total_flops() / len(images)
        for precision in precisions:
            settings = FeatureSettings(random_weights=True, device=device, precision=precision, batch_size=batch_size)
            backbone = build(name, (wanted.layer,), settings, size_px)
            maps = backbone(images)[wanted.layer]
            bins = (wanted.frequency_bins, wanted.time_bins)
            found = torch.nn.functional.adaptive_avg_pool2d(maps, bins).flatten(1)
            cosine = torch.nn.functional.cosine_similarity(found, expected).min()

            def theirs(network: torch.nn.Module = network, images: torch.Tensor = images) -> None:
                with torch.inference_mode():
                    for image in images[:_ONE_BY_ONE]:
                        network(image[None])

            bits = "" if precision == "float32" else ", bf16"
            yield Row(f"{name}, {size_px} px{bits}", "image", "eager, one by one",
                      lambda backbone=backbone, images=images: backbone(images), theirs, len(images),
                      2.2 if bits and size_px == 224 else target, f"cosine {cosine:.6f}", flops,
                      min(_ONE_BY_ONE, len(images)))  # fmt: skip
    for name in ("resnet18", "squeezenet1_1"):
        shared, each = (
            Embedder(parse(name), FeatureSettings(random_weights=True, device=device, batch_size=batch_size,
                                                  fully_convolutional=whole), ImageSettings(), SpectrogramSettings())
            for whole in (True, False)
        )  # fmt: skip
        yield Row(f"{name}, fully convolutional", "window", "each window by itself",
                  lambda shared=shared: shared.embed(spectrograms, counts),
                  lambda each=each: each.embed(spectrograms, counts), len(windows), 1.6)  # fmt: skip


def detector_rows() -> Iterator[Row]:
    """Scoring, and the training of the costliest autoencoder."""
    generator = np.random.default_rng(0)
    patches = generator.random((256, PATCH, PATCH), np.float32)
    epoch, network = FitSettings(autoencoder_epochs=1), naive_lenet()
    seen = torch.from_numpy(patches)[:, None]
    yield Row("lenet_dcae, an epoch", "patch", "its layers one by one",
              lambda: fit_autoencoder("lenet_dcae", patches.reshape(len(patches), -1), epoch, 0),
              lambda: naive_epoch(network, seen), len(patches))  # fmt: skip
    training, test = generator.normal(size=(3000, 512)), generator.normal(size=(1024, 512))
    settings = FitSettings(ocsvm_nu=0.1, kde_bandwidth=3.0)
    for name, theirs in (("ocsvm", OneClassSVM(nu=0.1)), ("kde", KernelDensity(bandwidth=3.0))):
        ours = fit_detector(name, training, settings, 0)  # type: ignore[arg-type]
        theirs.fit(ours.scaler.transform(training.copy()))  # it transforms in place
        scaled = ours.scaler.transform(test.copy())
        expected = -theirs.score_samples(scaled) if name == "kde" else -theirs.decision_function(scaled)
        apart = np.abs(ours.score(test) - expected).max() / np.abs(expected).max()
        yield Row(f"{name} scoring", "window", "scikit-learn", lambda ours=ours: ours.score(test),
                  lambda theirs=theirs, scaled=scaled: theirs.score_samples(scaled), len(test), 3,
                  f"{apart:.0e} apart")  # fmt: skip


def limits(device: str, rounds: int) -> tuple[float, list[str]]:
    """Return the matrix rate in FLOP/s and lines that tell what the machine can do at most."""
    size = 1024 if device == "cpu" else 8192
    left = torch.rand(size, size, device=device)
    seconds = measure({"torch": lambda: left @ left}, rounds, device)["torch"]
    rate = 2 * size**3 / seconds
    if device == "cpu":
        square = np.random.default_rng(0).random((size, size), dtype=np.float32)
        rate = max(rate, 2 * size**3 / measure({"numpy": lambda: square @ square}, rounds, device)["numpy"])
    memory = torch.zeros(1 << 28, dtype=torch.uint8, device=device)
    reading = measure({"sum": lambda: memory.view(torch.int64).sum()}, rounds, device)["sum"]
    return rate, [f"float32 matrix products: {rate / 1e9:.1f} GFLOP/s (the better of OpenBLAS and MKL on a CPU)",
                  f"reading memory: {len(memory) / reading / 1e9:.1f} GB/s"]  # fmt: skip


def measure(contenders: dict[str, Contender], rounds: int, device: str) -> dict[str, float]:
    """Return the median seconds of each; they take turns, after a round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    clock = time.process_time if device == "cpu" else time.perf_counter
    for turn in range(rounds + 1):
        for name, run in contenders.items():
            begun = clock()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            if turn:
                seconds[name].append(clock() - begun)
    return {name: median(each) for name, each in seconds.items()}


def device_name(device: str) -> str:
    """Return the name of the processor or card."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return f"{line.partition(':')[2].strip()}, {os.cpu_count()} cores, one used"
    return platform.processor()


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch-size", type=int, help="images; as the setting features.batch_size if unset")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="stages whose name holds this")
    given = parser.parse_args()
    if not WORKER_ENVIRONMENT.items() <= os.environ.items():  # glibc reads it once, at the start
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **WORKER_ENVIRONMENT})
    batch_size = given.batch_size or BATCH_SIZES[given.device]
    torch.set_num_threads(1)
    threadpool_limits(1)
    rate, lines = limits(given.device, given.rounds)
    table = Table(title=device_name(given.device), caption="; ".join(lines), title_justify="left",
                  caption_justify="left")  # fmt: skip
    for column in ("stage", "ours", "peer", "theirs", "ratio", "target", "of the matrix rate", ""):
        table.add_column(column, justify="right" if column in ("ours", "theirs", "ratio", "target") else "left")
    with TemporaryDirectory(prefix="humwatch-speed-") as folder:
        rows = [*embedding_rows(given.device, batch_size)] if given.device == "cuda" else [
            *reading_rows(recordings(), Path(folder)), *embedding_rows("cpu", batch_size), *detector_rows()
        ]  # fmt: skip
        for row in rows:
            if given.only not in row.stage:
                continue
            contenders: dict[str, Contender] = {"ours": row.ours, "theirs": row.theirs}
            if row.flops and given.device == "cpu":
                square = torch.rand(1024, 1024)
                contenders["matrix"] = lambda square=square: square @ square
            took = measure(contenders, given.rounds, given.device)
            of_rate = ""
            if row.flops:
                # Beside the row, as the machine's clock changes; the better library's rate of the start is the bound.
                beside = max(rate, 2 * 1024**3 / took["matrix"]) if "matrix" in took else rate
                of_rate = f"{row.flops * row.units / took['ours'] / beside:.0%}"
            ours, theirs = took["ours"] / row.units, took["theirs"] / (row.their_units or row.units)
            table.add_row(row.stage, f"{1e3 * ours:.3g} ms/{row.unit}", row.peer, f"{1e3 * theirs:.3g} ms",
                          f"{theirs / ours:.2f} x", f"{row.target:g} x" if row.target else "", of_rate,
                          row.note)  # fmt: skip
            print(row.stage, file=sys.stderr)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
