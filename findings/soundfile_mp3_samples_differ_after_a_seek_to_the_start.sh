#!/usr/bin/env bash
# Seeking to the start of an MP3 before anything was read changes half of the samples by their last bit: soundfile.read
# seeks, SoundFile.read(frames) does not, and so the two give different arrays of one file (each the same every time).
# What Humwatch does about it: tests/tasks/sound/test_decode.py::test_whatever_libsndfile_reads_is_read
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check soundfile==0.14.0 numpy==2.2.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import numpy as np
import soundfile

print("soundfile", soundfile.__version__, soundfile.__libsndfile_version__)
noise = np.random.default_rng(0).uniform(-0.5, 0.5, (16_000, 2))
for name, subtype in (("a.mp3", "MPEG_LAYER_III"), ("a.flac", "PCM_16"), ("a.ogg", "VORBIS")):
    soundfile.write(name, noise, 16_000, subtype=subtype)

    def read(*, sought):
        with soundfile.SoundFile(name) as file:
            if sought:
                file.seek(0)
            return file.read(file.frames, dtype="float32")

    first, again, sought = read(sought=False), read(sought=False), read(sought=True)
    differ = float(np.mean(first != sought))
    print(f"{name}: {differ:.0%} of the samples differ after seek(0), by {np.abs(first - sought).max():.1e} at most")
    assert np.array_equal(first, again)
    assert (differ > 0.3) == (name == "a.mp3")
    assert np.abs(first - sought).max() < 1e-6
PYTHON
