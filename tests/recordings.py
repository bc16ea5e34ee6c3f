"""Small archives of synthetic recordings, made as users have them."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16_000


def tone(seed: int, *, frequency_hz: float = 440.0, duration_s: float = 3.0, rate_hz: int = RATE_HZ, channels: int = 1):
    """A hum with harmonics in noise, float32 (frame, channel); another seed is another take of the same machine."""
    generator = np.random.default_rng(seed)
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    hum = sum(np.sin(2 * np.pi * k * frequency_hz * time_s + generator.uniform(0, 6)) / k for k in (1, 2, 3))
    noise = generator.normal(0, 0.3, (len(time_s), channels))
    return (0.1 * (hum[:, None] + noise)).astype(np.float32)


def wav(samples, rate_hz: int = RATE_HZ, subtype: str = "PCM_16", container: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=container, subtype=subtype)
    return buffer.getvalue()


def machine(
    name: str, normal: int, abnormal: int, *, frequency_hz: float = 440.0, night: int = 0, **options
) -> dict[str, bytes]:
    """Members of a machine `TYPE/ID` in MIMII's layout; its fault is a whine at six times the frequency.

    Another night has other takes under the same names.
    """
    salt = sum(map(ord, name)) + 10_000 * night
    members = {}
    for index in range(normal):
        members[f"{name}/normal/{index:08d}.wav"] = wav(tone(1000 * salt + index, frequency_hz=frequency_hz, **options))
    for index in range(abnormal):
        samples = tone(1000 * salt + 500 + index, frequency_hz=frequency_hz, **options)
        whine = 0.3 * np.sin(2 * np.pi * 6 * frequency_hz * np.arange(len(samples)) / RATE_HZ)
        members[f"{name}/abnormal/{index:08d}.wav"] = wav(samples + whine[:, None].astype(np.float32))
    return members


def write_zip(path: Path, members: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data, compress_type=compression)
    return path
