"""Files that appear whole or not at all, and are the same bytes whenever they are written."""

from __future__ import annotations

import csv
import io
import wave
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from humwatch.flows.simulation.signals import Samples

_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def wav_bytes(samples: Samples, sample_rate_hz: int) -> bytes:
    """A mono PCM 16 WAV file of float32 (sample,), full scale = 1."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate_hz)
        file.writeframes(np.rint(samples * np.float32(32767)).astype("<i2").tobytes())
    return buffer.getvalue()


def write_zip(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """A zip archive of (name, bytes), stored."""
    with _renamed_when_done(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members:
            info = zipfile.ZipInfo(name, _ZIP_TIME)
            info.create_system, info.external_attr = 3, 0o644 << 16  # the same on every platform
            archive.writestr(info, data)


def write_file(path: Path, data: bytes) -> None:
    """A file of its own."""
    with _renamed_when_done(path) as file:
        file.write(data)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table in UTF-8 with Unix line ends; None is empty."""
    with _renamed_when_done(path) as file, io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


@contextmanager
def _renamed_when_done(path: Path) -> Iterator[BinaryIO]:
    """A file under a temporary name beside `path` that takes its place when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.part")
    try:
        with draft.open("wb") as file:
            yield file
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
