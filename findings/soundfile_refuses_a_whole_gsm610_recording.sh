#!/usr/bin/env bash
# soundfile's function reads a GSM 6.10 (or NMS ADPCM, G.721) WAV as a whole; its class, asked for the same file without
# a number of frames, raises ValueError, though it knows the number. The number given, both give the same samples.
# What Humwatch does about it: tests/tasks/sound/test_decode.py::test_packed_wavs_are_what_soundfile_reads
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
tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 8_000)


def refusal(read):
    try:
        read()
    except ValueError as error:
        return str(error)
    return None


for subtype, is_refused in (("PCM_16", False), ("IMA_ADPCM", False), ("GSM610", True), ("NMS_ADPCM_16", True), ("G721_32", True)):
    path = f"{subtype}.wav"
    soundfile.write(path, tone, 8_000, subtype=subtype)
    by_function, _ = soundfile.read(path)
    by_number = soundfile.SoundFile(path).read(soundfile.info(path).frames)
    whole = refusal(lambda: soundfile.SoundFile(path).read())
    later = refusal(lambda: soundfile.read(path, start=4_000))
    print(f"{subtype}: soundfile.read {by_function.shape}; SoundFile.read: {whole or 'read'}; start=4000: {later or 'read'}")
    assert np.array_equal(by_function, by_number)
    assert whole == ("frames must be specified for non-seekable files" if is_refused else None)
    assert later == ("start is only allowed for seekable files" if is_refused else None)
PYTHON
