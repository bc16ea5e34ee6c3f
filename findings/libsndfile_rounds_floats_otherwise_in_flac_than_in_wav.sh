#!/usr/bin/env bash
# The same float samples become other 16-bit integers in FLAC than in WAV: libsndfile scales and rounds in two ways, and
# half of the samples differ by one. Lossless is what happens after that: only integers that are written come back.
# What Humwatch does about it: takes are compared by decoded samples, and tests write integers where they compare
# containers (tests/tasks/plan/test_repeats.py).
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
floats = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000).astype(np.float32)
integers = np.round(floats * 32_767).astype(np.int16)
for kind, samples, is_same in (("float32", floats, False), ("int16", integers, True)):
    read = {}
    for name in ("a.wav", "a.flac"):
        soundfile.write(name, samples, 16_000, subtype="PCM_16")
        read[name] = soundfile.read(name, dtype="int16")[0].astype(int)
    differ = read["a.wav"] != read["a.flac"]
    print(f"{kind} written: {differ.mean():.0%} of the 16-bit samples differ between WAV and FLAC")
    assert (not differ.any()) == is_same
    assert np.abs(read["a.wav"] - read["a.flac"]).max() <= 1
PYTHON
