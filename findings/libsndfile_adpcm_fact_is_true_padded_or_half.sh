#!/usr/bin/env bash
# libsndfile pads the last block of ADPCM and gives the padding as sound, and `fact`, which could tell, is of two minds:
# written for MS ADPCM it counts the true frames, for mono IMA ADPCM the padded ones, for stereo IMA ADPCM half of those.
# So who believes `fact` halves a recording, who does not hears padding.
# What Humwatch does about it: tests/tasks/sound/test_decode.py::test_packed_wavs_are_what_soundfile_reads
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check soundfile==0.14.0 numpy==2.2.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import struct
from pathlib import Path

import numpy as np
import soundfile

print("soundfile", soundfile.__version__, soundfile.__libsndfile_version__)
noise = np.random.default_rng(0).uniform(-0.5, 0.5, (16_000, 2))
expected = {("IMA_ADPCM", 1): (16_272, 16_272), ("IMA_ADPCM", 2): (8_136, 16_272),
            ("MS_ADPCM", 1): (16_000, 16_192), ("MS_ADPCM", 2): (16_000, 16_192)}
for (subtype, channels), counts in expected.items():
    soundfile.write("a.wav", noise[:, :channels], 16_000, subtype=subtype)
    data = Path("a.wav").read_bytes()
    (fact,) = struct.unpack_from("<I", data, data.index(b"fact") + 8)
    frames = len(soundfile.read("a.wav")[0])
    print(f"16,000 frames as {subtype}, channels {channels}: fact says {fact:,}, {frames:,} are read")
    assert (fact, frames) == counts
PYTHON
