"""Files as ffmpeg, sox, flac and wavpack write them, where these are installed: libsndfile's own are not the only ones.

What is lossless equals the samples that went in; what is not, what soundfile decodes. Lengths are those that went in
wherever the file says them.
"""

import io
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from humwatch.storage.reasons import Reason
from humwatch.tasks.sound.cutting import clips_of, decode_clips
from humwatch.tasks.sound.decode import decode
from humwatch.tasks.sound.header import read_header
from humwatch.tasks.sound.mended import NEVER_FINISHED
from humwatch.tasks.sound.rejected import Rejected

RATE_HZ, N_FRAMES = 16_000, 44_101
PIPE = "-"

# What it is: program, options, name. The name "-" is a pipe: the writer cannot go back to finish its header.
LOSSLESS = {
    "wav": ("ffmpeg", [], "x.wav"),
    "wav 24": ("ffmpeg", ["-c:a", "pcm_s24le"], "x.wav"),
    "wav 32": ("ffmpeg", ["-c:a", "pcm_s32le"], "x.wav"),
    "wav float": ("ffmpeg", ["-c:a", "pcm_f32le"], "x.wav"),
    "wav double": ("ffmpeg", ["-c:a", "pcm_f64le"], "x.wav"),
    "wav with bext": ("ffmpeg", ["-write_bext", "1"], "x.wav"),
    "rf64": ("ffmpeg", ["-rf64", "always"], "x.wav"),
    "wav to a pipe": ("ffmpeg", ["-f", "wav"], PIPE),
    "wav 24 to a pipe": ("ffmpeg", ["-f", "wav", "-c:a", "pcm_s24le"], PIPE),
    "rf64 to a pipe": ("ffmpeg", ["-f", "wav", "-rf64", "always"], PIPE),
    "aiff": ("ffmpeg", [], "x.aiff"),
    "aiff 24": ("ffmpeg", ["-c:a", "pcm_s24be"], "x.aiff"),
    "aiff float": ("ffmpeg", ["-c:a", "pcm_f32be"], "x.aiff"),
    "aiff little-endian": ("ffmpeg", ["-c:a", "pcm_s16le", "-f", "aiff"], "x.aiff"),
    "aiff to a pipe": ("ffmpeg", ["-f", "aiff"], PIPE),
    "au": ("ffmpeg", [], "x.au"),
    "au to a pipe": ("ffmpeg", ["-f", "au"], PIPE),
    "caf": ("ffmpeg", [], "x.caf"),
    "caf 24": ("ffmpeg", ["-c:a", "pcm_s24be"], "x.caf"),
    "caf to a pipe": ("ffmpeg", ["-f", "caf"], PIPE),
    "w64 24": ("ffmpeg", ["-c:a", "pcm_s24le"], "x.w64"),
    "flac": ("ffmpeg", [], "x.flac"),
    "flac 24": ("ffmpeg", ["-sample_fmt", "s32"], "x.flac"),
    "flac to a pipe": ("ffmpeg", ["-f", "flac"], PIPE),
    "sox wav": ("sox", [], "x.wav"),
    "sox wav 24": ("sox", ["-b", "24"], "x.wav"),
    "sox wav float": ("sox", ["-e", "float"], "x.wav"),
    "sox wav to a pipe": ("sox", ["-t", "wav"], PIPE),
    "sox wav 24 to a pipe": ("sox", ["-t", "wav", "-b", "24"], PIPE),
    "sox big-endian wav": ("sox", ["-B"], "x.wav"),
    "sox aiff": ("sox", [], "x.aiff"),
    "sox aiff to a pipe": ("sox", ["-t", "aiff"], PIPE),
    "sox aifc": ("sox", [], "x.aifc"),
    "sox au": ("sox", [], "x.au"),
    "sox au to a pipe": ("sox", ["-t", "au"], PIPE),
    "sox caf": ("sox", [], "x.caf"),
    "sox w64": ("sox", [], "x.w64"),
    "sox flac": ("sox", [], "x.flac"),
    "sox flac to a pipe": ("sox", ["-t", "flac"], PIPE),
    "flac's flac": ("flac", ["-o"], "x.flac"),
}
# How many frames more than went in: 0 where the file says how many there are, else the padding of the last block, or
# for an MP3 without its length in the first frame the delay of the encoder too.
LOSSY = {
    "wav 8": ("ffmpeg", ["-c:a", "pcm_u8"], "x.wav", 0),
    "wav A-law": ("ffmpeg", ["-c:a", "pcm_alaw"], "x.wav", 0),
    "wav mu-law": ("ffmpeg", ["-c:a", "pcm_mulaw"], "x.wav", 0),
    "wav Microsoft ADPCM": ("ffmpeg", ["-c:a", "adpcm_ms"], "x.wav", 2048),
    "wav IMA ADPCM": ("ffmpeg", ["-c:a", "adpcm_ima_wav"], "x.wav", 2048),
    "wav Microsoft ADPCM to a pipe": ("ffmpeg", ["-c:a", "adpcm_ms", "-f", "wav"], PIPE, 2048),
    "wav GSM 6.10": ("ffmpeg", ["-c:a", "gsm_ms", "-ac", "1", "-f", "wav", "-strict", "-2"], "x.wav", 320),
    "wav GSM 6.10 to a pipe": ("ffmpeg", ["-c:a", "gsm_ms", "-ac", "1", "-f", "wav", "-strict", "-2"], PIPE, 320),
    "wav MP3": ("ffmpeg", ["-c:a", "libmp3lame", "-f", "wav"], "x.wav", 1728),
    "w64, padded to 8 bytes": ("ffmpeg", [], "x.w64", 1),
    "w64 to a pipe": ("ffmpeg", ["-f", "w64"], PIPE, 1),
    "caf A-law": ("ffmpeg", ["-c:a", "pcm_alaw"], "x.caf", 0),
    "vorbis": ("ffmpeg", ["-c:a", "libvorbis"], "x.ogg", 0),
    "vorbis to a pipe": ("ffmpeg", ["-c:a", "libvorbis", "-f", "ogg"], PIPE, 0),
    "opus": ("ffmpeg", ["-c:a", "libopus"], "x.opus", 0),
    "mp3": ("ffmpeg", ["-c:a", "libmp3lame"], "x.mp3", 0),
    "mp3 of varying bit rate": ("ffmpeg", ["-c:a", "libmp3lame", "-q:a", "2"], "x.mp3", 0),
    "mp3 without its length": ("ffmpeg", ["-c:a", "libmp3lame", "-f", "mp3"], PIPE, 1728),
    "sox wav 8": ("sox", ["-b", "8"], "x.wav", 0),
    "sox wav A-law": ("sox", ["-e", "a-law"], "x.wav", 0),
    "sox wav mu-law": ("sox", ["-e", "mu-law"], "x.wav", 0),
    "sox wav Microsoft ADPCM": ("sox", ["-e", "ms-adpcm"], "x.wav", 0),
    "sox wav IMA ADPCM": ("sox", ["-e", "ima-adpcm"], "x.wav", 0),
    "sox wav GSM 6.10": ("sox", ["-e", "gsm-full-rate", "-c", "1"], "x.wav", 0),
    "sox wav GSM 6.10 to a pipe": ("sox", ["-t", "wav", "-e", "gsm-full-rate", "-c", "1"], PIPE, 0),
    "sox vorbis": ("sox", [], "x.ogg", 0),
}
# And what the reason says.
NOT_DECODED = {
    "wav G.722": ("ffmpeg", ["-c:a", "g722", "-ac", "1"], "x.wav", "G.722 in WAV"),
    "wav G.726": ("ffmpeg", ["-c:a", "g726", "-ar", "8000", "-ac", "1"], "x.wav", "G.726 in WAV"),
    "wav AAC": ("ffmpeg", ["-c:a", "aac"], "x.wav", "AAC in WAV"),
    "wav AC-3": ("ffmpeg", ["-c:a", "ac3"], "x.wav", "AC-3 in WAV"),
    "wav WMA": ("ffmpeg", ["-c:a", "wmav2"], "x.wav", "Windows Media Audio 2 in WAV"),
    "wav FLAC": ("ffmpeg", ["-c:a", "flac"], "x.wav", "FLAC in WAV"),
    "wav 64 bits": ("ffmpeg", ["-c:a", "pcm_s64le"], "x.wav", "its codec"),
    "wav Yamaha ADPCM": ("ffmpeg", ["-c:a", "adpcm_yamaha"], "x.wav", "Yamaha ADPCM in WAV"),
    "m4a AAC": ("ffmpeg", ["-c:a", "aac"], "x.m4a", "MPEG-4 audio"),
    "m4a ALAC": ("ffmpeg", ["-c:a", "alac"], "x.m4a", "MPEG-4 audio"),
    "caf ALAC": ("ffmpeg", ["-c:a", "alac"], "x.caf", "its codec"),
    "aac": ("ffmpeg", ["-c:a", "aac"], "x.aac", "AAC (ADTS)"),
    "ac3": ("ffmpeg", [], "x.ac3", "AC-3"),
    "wma": ("ffmpeg", ["-c:a", "wmav2"], "x.wma", "Windows Media Audio"),
    "matroska": ("ffmpeg", ["-c:a", "flac"], "x.mka", "Matroska"),
    "flac in ogg": ("ffmpeg", ["-c:a", "flac", "-f", "ogg"], "x.oga", "FLAC in Ogg"),
    "speex": ("ffmpeg", ["-c:a", "libspeex"], "x.spx", "an Ogg stream"),
    "mp3 of varying bit rate without its length": (
        "ffmpeg", ["-c:a", "libmp3lame", "-q:a", "2", "-write_xing", "0"], "x.mp3", "an MP3 that is longer",
    ),
    "wavpack": ("ffmpeg", ["-c:a", "wavpack"], "x.wv", "WavPack"),
    "wavpack's wavpack": ("wavpack", ["-o"], "x.wv", "WavPack"),
    "flac's flac in ogg": ("flac", ["--ogg", "-o"], "x.oga", "FLAC in Ogg"),
    "flac 32": ("flac", ["--bps=32", "--sign=signed", "--endian=little", "--channels=1", "--sample-rate=16000",
                         "--force-raw-format", "-o"], "x.flac", "FLAC with 32 bits"),
}  # fmt: skip


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Two channels of a tone in noise, 16 bits."""
    time_s = np.arange(N_FRAMES) / RATE_HZ
    noise = np.random.default_rng(0).standard_normal(N_FRAMES)
    tone = 0.3 * np.sin(2 * np.pi * 440 * time_s) * np.minimum(time_s, 1) + 0.02 * noise
    path = tmp_path_factory.mktemp("plain") / "plain.wav"
    soundfile.write(path, np.stack([tone, 0.5 * tone[::-1]], 1), RATE_HZ, subtype="PCM_16")
    return path


def written(program, options, name, plain, folder) -> bytes:
    """What a program makes of the plain file; the test is skipped where it is not installed, or lacks the codec."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    output = PIPE if name == PIPE else str(folder / name)
    command = {
        "ffmpeg": ["ffmpeg", "-hide_banner", "-loglevel", "error", "-i", str(plain), *options, output],
        "sox": ["sox", "-D", str(plain), *options, output],
        "flac": ["flac", "-s", *options, output, str(plain)],
        "wavpack": ["wavpack", "-q", str(plain), *options, output],
    }[program]
    ran = subprocess.run(command, capture_output=True, check=False, timeout=60)
    if ran.returncode:
        pytest.skip(f"{program} does not write it: {ran.stderr.decode(errors='replace').strip()[-200:]}")
    return ran.stdout if name == PIPE else (folder / name).read_bytes()


def check_header_and_clips(data):
    """The header's length is that of the samples, and clips are the same samples, the last one overlapping."""
    audio = decode(data)
    header = read_header(io.BytesIO(data), len(data))
    assert (header.n_frames, header.channels) == audio.stored.shape
    assert (header.sample_rate_hz, header.codec) == (audio.sample_rate_hz, audio.subtype)
    clips = clips_of(header.duration_s, longest_s=0.5, clip_s=0.5)
    for chosen in (clips, clips[2:]):
        for clip, found in zip(chosen, decode_clips(io.BytesIO(data), len(data), chosen), strict=True):
            first, n_frames = clip.frames(audio.sample_rate_hz)
            # Opus and MP3 round otherwise after a seek; GSM 6.10's state never quite converges.
            np.testing.assert_allclose(found.samples, audio.samples[first : first + n_frames], atol=1e-5)


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_files_are_the_plain_samples(kind, plain, tmp_path):
    data = written(*LOSSLESS[kind], plain, tmp_path)
    expected = soundfile.read(plain, dtype="float32")[0]
    audio = decode(data)
    np.testing.assert_array_equal(audio.samples, expected)
    assert audio.note in ("", NEVER_FINISHED)
    check_header_and_clips(data)


@pytest.mark.parametrize("kind", LOSSY)
def test_lossy_files_are_what_soundfile_decodes(kind, plain, tmp_path):
    program, options, name, most_padding = LOSSY[kind]
    data = written(program, options, name, plain, tmp_path)
    audio = decode(data)
    assert 0 <= len(audio.stored) - N_FRAMES <= most_padding
    try:
        expected = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0]
    except soundfile.LibsndfileError:
        assert kind == "w64 to a pipe"  # which libsndfile itself does not read
        expected = soundfile.read(plain, dtype="float32")[0]
    # mpg123 rounds the last bit otherwise after a seek to the start, which `soundfile.read` makes.
    n_frames = min(len(expected), len(audio.stored))
    np.testing.assert_allclose(audio.samples[:n_frames], expected[:n_frames], atol=1e-6)
    check_header_and_clips(data)


@pytest.mark.parametrize("kind", NOT_DECODED)
def test_what_is_not_decoded_says_so(kind, plain, tmp_path):
    program, options, name, words = NOT_DECODED[kind]
    data = written(program, options, name, plain, tmp_path)
    with pytest.raises(Rejected) as caught:
        decode(data)
    assert caught.value.reason is Reason.UNSUPPORTED_FORMAT
    assert caught.value.detail.startswith(words)
    assert "ffmpeg -i" in caught.value.detail


@pytest.mark.parametrize("container", ["caf", "w64"])
def test_a_header_that_sox_repeats_in_a_pipe_is_not_taken_for_sound(container, plain, tmp_path):
    data = written("sox", ["-t", container], PIPE, plain, tmp_path)
    with pytest.raises(Rejected, match="stands again") as caught:
        decode(data)
    assert caught.value.reason is Reason.CORRUPT
