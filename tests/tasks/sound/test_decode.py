"""Decoding: equal to soundfile where the file is whole, rejected with the right reason where it is not."""

import io
import pickle
import struct
import wave

import librosa
import numpy as np
import pytest
import soundfile

from humwatch.storage.reasons import Reason
from humwatch.tasks.sound.cutting import Clip, decode_clips
from humwatch.tasks.sound.decode import Audio, Rejected, decode, resample, select_channel
from humwatch.tasks.sound.header import read_header

FORMATS = [
    *(("WAV", subtype, "FILE") for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")),
    ("WAV", "PCM_16", "BIG"),
    ("WAVEX", "PCM_16", "FILE"),
    ("WAVEX", "PCM_24", "FILE"),
    ("RF64", "PCM_16", "FILE"),
    ("FLAC", "PCM_S8", "FILE"),
    ("FLAC", "PCM_16", "FILE"),
    ("FLAC", "PCM_24", "FILE"),
]


def encode(container="WAV", subtype="PCM_16", *, n_frames=3000, channels=2, rate=16_000, endian="FILE"):
    noise = np.random.default_rng(0).uniform(-0.9, 0.9, (n_frames, channels))
    file = io.BytesIO()
    soundfile.write(file, noise, rate, format=container, subtype=subtype, endian=endian)
    return file.getvalue()


def put(data, at, layout, value):
    patched = bytearray(data)
    struct.pack_into(layout, patched, at, value)
    return bytes(patched)


def flac_with_length(data, n_frames):
    """STREAMINFO ends its second half in a 36-bit count of frames: bytes 18 to 26 of the file."""
    fields = int.from_bytes(data[18:26], "big") >> 36 << 36
    return data[:18] + (fields | n_frames).to_bytes(8, "big") + data[26:]


def reason_of(data):
    with pytest.raises(Rejected) as caught:
        decode(data)
    return caught.value.reason


@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize(("container", "subtype", "endian"), FORMATS)
def test_equals_soundfile(container, subtype, endian, channels):
    data = encode(container, subtype, channels=channels, rate=44_100, endian=endian)
    expected, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    audio = decode(data)
    assert audio.samples.dtype == np.float32
    assert audio.samples.shape == (3000, channels)
    np.testing.assert_array_equal(audio.samples, expected)
    assert (audio.sample_rate_hz, audio.subtype) == (rate, subtype) == (44_100, subtype)


@pytest.mark.parametrize("subtype", ["GSM610", "ULAW", "ALAW", "G721_32", "NMS_ADPCM_24", "MS_ADPCM", "IMA_ADPCM"])
def test_packed_wavs_are_what_soundfile_reads(subtype):
    """A `SoundFile` refuses to read GSM 6.10, G.721 and NMS ADPCM unless it is told how many frames.

    What libsndfile gives beyond the frames of the `fact` chunk is the padding of the last block.
    """
    data = encode("WAV", subtype, channels=1, rate=8000, n_frames=8000)
    expected, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    audio = decode(data)
    assert (audio.sample_rate_hz, audio.subtype) == (rate_hz, subtype)
    # IMA ADPCM as libsndfile writes it counts the padding in `fact`, too.
    np.testing.assert_array_equal(audio.samples, expected if subtype == "IMA_ADPCM" else expected[:8000])


@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "AIFF"])
def test_whatever_a_decoder_raises_is_a_reason(container, monkeypatch):
    def broken(*_args, **_options):
        raise ZeroDivisionError("in the decoder")

    data = encode(container, {"OGG": "VORBIS"}.get(container, "PCM_24"))
    monkeypatch.setattr(soundfile.SoundFile, "__init__", broken)
    with pytest.raises(Rejected, match="the decoder failed: ZeroDivisionError: in the decoder") as caught:
        decode(data)
    assert caught.value.reason is Reason.CORRUPT


@pytest.mark.parametrize("container", ["WAV", "WAVEX"])
def test_plain_16_bit_samples_are_not_copied_and_equal_all_the_same(container):
    data = encode(container, channels=8)
    audio = decode(data)
    assert audio.stored.dtype == np.int16
    assert not audio.stored.flags.owndata
    expected = soundfile.read(io.BytesIO(data), dtype="float32")[0]
    for channel in (0, 7):
        signal = select_channel(audio, channel)
        np.testing.assert_array_equal(signal, expected[:, channel])
        assert (signal.dtype, signal.flags.c_contiguous) == (np.float32, True)


def test_a_header_that_is_less_than_plain_is_left_to_libsndfile():
    data = encode("WAVEX", channels=2)
    twelve_valid_bits = put(data, data.index(b"fmt ") + 8 + 18, "<H", 12)
    odd_frames = put(encode(channels=2), 32, "<H", 6)
    for less_plain in (twelve_valid_bits, odd_frames):
        expected = soundfile.read(io.BytesIO(less_plain), dtype="float32", always_2d=True)[0]
        np.testing.assert_array_equal(decode(less_plain).samples, expected)


def test_full_scale_is_one():
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((2, 2, 8000, 0, "NONE", ""))
        out.writeframes(np.array([[-32768, 32767], [16384, 1]], "<i2").tobytes())
    np.testing.assert_array_equal(decode(file.getvalue()).samples, [[-1, 32767 / 32768], [0.5, 1 / 32768]])


def test_float_samples_keep_what_exceeds_full_scale_and_is_not_finite():
    samples = np.array([[4.0], [np.nan], [-np.inf]], np.float32)
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="WAV", subtype="FLOAT")
    np.testing.assert_array_equal(decode(file.getvalue()).samples, samples)


@pytest.mark.parametrize("container", ["WAV", "RF64", "FLAC", "AIFF", "W64", "CAF"])
def test_every_cut_is_truncated(container):
    """But for two: a WAV that lacks 36 or 44 bytes looks like one whose writer counted the header as samples."""
    data = encode(container, n_frames=40)
    assert len(decode(data).samples) == 40
    looks_whole = {len(data) - 36, len(data) - 44} if container == "WAV" else set()
    sizes = set(range(4 if container in ("WAV", "RF64", "FLAC") else 44, len(data))) - looks_whole
    assert {reason_of(data[:size]) for size in sizes} == {Reason.TRUNCATED}


@pytest.mark.parametrize("container", ["WAV", "FLAC"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_long_file_cut_is_truncated(container, share):
    data = encode(container, n_frames=20_000)
    assert reason_of(data[: int(share * len(data))]) == Reason.TRUNCATED


def test_header_that_promises_more_is_truncated():
    assert reason_of(put(encode(), 40, "<I", 12_001)) == Reason.TRUNCATED
    assert reason_of(put(encode(endian="BIG"), 40, ">I", 12_001)) == Reason.TRUNCATED
    rf64 = encode("RF64")
    assert reason_of(put(rf64, rf64.index(b"ds64") + 16, "<Q", 12_001)) == Reason.TRUNCATED
    assert reason_of(flac_with_length(encode("FLAC"), 3001)) == Reason.TRUNCATED


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0xFFFFFFFF - 36, 0x80000000, 0x7FFFF000, 0x7FFFFFFF])
def test_placeholder_sizes_of_pipes_mean_to_the_end(size):
    data = encode()
    np.testing.assert_array_equal(decode(put(data, 40, "<I", size)).samples, decode(data).samples)


def test_flac_of_unknown_length_is_read_to_its_end():
    for n_frames in (1, 4096, 5000, 1 << 18, (1 << 18) + 1):
        data = encode("FLAC", n_frames=n_frames)
        np.testing.assert_array_equal(decode(flac_with_length(data, 0)).samples, decode(data).samples)


def test_flac_of_unknown_length_cut_within_a_frame_is_truncated():
    data = flac_with_length(encode("FLAC", n_frames=20_000), 0)
    assert reason_of(data[: len(data) // 2]) == Reason.TRUNCATED


@pytest.mark.parametrize("at", [0.2, 0.5, 0.8])
def test_flac_damaged_in_the_middle_is_corrupt(at):
    data = bytearray(encode("FLAC", n_frames=20_000))
    data[int(at * len(data))] ^= 0x10
    assert reason_of(bytes(data)) == Reason.CORRUPT


def test_chunks_before_and_after_the_samples():
    data = encode()
    odd = data[:36] + b"LIST" + struct.pack("<I", 5) + b"abcde\0" + data[36:]
    np.testing.assert_array_equal(decode(odd).samples, decode(data).samples)
    assert reason_of(odd[:-1]) == Reason.TRUNCATED
    trailing = data + b"LIST" + struct.pack("<I", 100) + b"cut"
    np.testing.assert_array_equal(decode(trailing).samples, decode(data).samples)


def test_odd_data_chunk_needs_no_padding_byte():
    data = encode(subtype="PCM_U8", n_frames=7, channels=1)
    assert len(decode(data[: data.index(b"data") + 8 + 7]).samples) == 7


def test_id3_tag_before_flac():
    data = encode("FLAC")
    tagged = b"ID3\x04\0\0\0\0\0\x0a" + bytes(10) + data
    np.testing.assert_array_equal(decode(tagged).samples, decode(data).samples)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.EMPTY_FILE),
        (b"these are words, not sound\n" * 100, Reason.NOT_AUDIO),
        (b"x", Reason.NOT_AUDIO),
        (bytes(64_000), Reason.NOT_AUDIO),
        (b"RIFF\x10\0\0\0AVI LIST\0\0\0\0", Reason.NOT_AUDIO),
        (b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42" + bytes(100), Reason.UNSUPPORTED_FORMAT),
        (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(100), Reason.UNSUPPORTED_FORMAT),
        (b"wvpk" + bytes(100), Reason.UNSUPPORTED_FORMAT),
        (put(encode(), 20, "<H", 0x65), Reason.UNSUPPORTED_FORMAT),  # G.722
        (put(encode(), 20, "<H", 0xFF), Reason.UNSUPPORTED_FORMAT),  # AAC
        (put(encode(), 22, "<H", 0), Reason.NO_CHANNELS),
        (put(encode(endian="BIG"), 22, ">H", 0), Reason.NO_CHANNELS),
        (encode(n_frames=0), Reason.NO_SAMPLES),
        (put(encode(), 40, "<I", 3), Reason.NO_SAMPLES),
        (put(encode(), 24, "<I", 0), Reason.CORRUPT),
        (put(encode(), 24, "<I", 1), Reason.CORRUPT),
        (put(encode(), 20, "<H", 0x99), Reason.UNSUPPORTED_FORMAT),
        (put(encode(), 36, "4s", b"junk"), Reason.CORRUPT),
        (put(encode("FLAC"), 18, ">I", 0), Reason.CORRUPT),
        (flac_with_length(encode("FLAC"), (1 << 36) - 1), Reason.TOO_LARGE),
    ],
)
def test_reasons(data, reason):
    assert reason_of(data) == reason


ALSO_READ = [
    *(("AIFF", subtype) for subtype in ("PCM_16", "PCM_24", "FLOAT")),
    *(("AU", subtype) for subtype in ("PCM_16", "ULAW")),
    *(("CAF", subtype) for subtype in ("PCM_16", "ALAC_16")),
    *(("W64", subtype) for subtype in ("PCM_16", "FLOAT")),
    *(("OGG", subtype) for subtype in ("VORBIS", "OPUS")),
    ("MP3", "MPEG_LAYER_III"),
]


@pytest.mark.parametrize(("container", "subtype"), ALSO_READ)
def test_whatever_libsndfile_reads_is_read(container, subtype):
    data = encode(container, subtype, n_frames=16_000)
    expected, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    audio = decode(data)
    assert (audio.sample_rate_hz, audio.subtype) == (rate_hz, subtype)
    # mpg123 rounds the last bit otherwise after a seek to the start, which `soundfile.read` makes.
    np.testing.assert_allclose(audio.samples, expected, atol=1e-6 if container == "MP3" else 0)


def test_bw64_is_rf64_by_another_name():
    data = encode("RF64", "PCM_24")
    np.testing.assert_array_equal(decode(b"BW64" + data[4:]).samples, decode(data).samples)


def test_a_header_that_was_never_finished_is_read_to_the_end_and_that_is_said():
    data = encode()
    audio = decode(put(put(data, 40, "<I", 0), 4, "<I", 0))
    np.testing.assert_array_equal(audio.samples, decode(data).samples)
    assert "never finished" in audio.note
    assert decode(data).note == ""


def test_no_samples_before_other_chunks_are_no_samples():
    assert reason_of(put(encode(), 40, "<I", 0)[:44] + b"LIST\x04\0\0\0INFO") is Reason.NO_SAMPLES


@pytest.mark.parametrize("excess_bytes", [36, 44])
def test_a_size_that_counts_the_header_is_not_believed(excess_bytes):
    data = encode()
    audio = decode(put(data, 40, "<I", len(data) - 44 + excess_bytes))
    np.testing.assert_array_equal(audio.samples, decode(data).samples)
    assert "counts the header" in audio.note


@pytest.mark.parametrize("container", ["WAV", "RF64", "FLAC"])
def test_damaged_headers_never_raise_anything_else(container):
    rng = np.random.default_rng(1)
    data = encode(container, n_frames=500)
    outcomes = set()
    for _ in range(300):
        damaged = bytearray(data)
        for at in rng.integers(0, 100, 2):
            damaged[at] = rng.integers(256)
        try:
            outcomes.add(type(decode(bytes(damaged))))
        except Rejected as rejected:
            outcomes.add(type(rejected.reason))
    assert outcomes == {Audio, Reason}


def test_rejection_survives_pickling_and_says_the_same_twice():
    messages = []
    for _ in range(2):
        with pytest.raises(Rejected) as caught:
            decode(b"words")
        copy = pickle.loads(pickle.dumps(caught.value))
        assert (copy.reason, copy.detail) == (caught.value.reason, caught.value.detail)
        messages.append(str(copy))
    assert messages[0] == messages[1]
    assert messages[0].startswith("not_audio: ")


def test_select_channel():
    samples = np.array([[0.1, 0.5, -0.3], [0.2, -0.5, 0.3]], np.float32)
    audio = Audio(samples, 16_000, "FLOAT")
    for channel in range(3):
        selected = select_channel(audio, channel)
        np.testing.assert_array_equal(selected, samples[:, channel])
        assert selected.flags.c_contiguous
    mean = select_channel(audio, "mean")
    assert mean.dtype == np.float32
    np.testing.assert_allclose(mean, [0.1, 0], atol=1e-8)


@pytest.mark.parametrize("channel", [3, 8, -1])
def test_missing_channel(channel):
    with pytest.raises(Rejected) as caught:
        select_channel(Audio(np.zeros((5, 3), np.float32), 16_000, "PCM_16"), channel)
    assert caught.value.reason == Reason.CHANNEL_MISSING


@pytest.mark.parametrize("from_hz", [8000, 11_025, 15_999, 16_001, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("n_frames", [1, 777, 12_001])
def test_resample_equals_librosa(from_hz, n_frames):
    signal = np.random.default_rng(2).standard_normal(n_frames).astype(np.float32)
    resampled = resample(signal, from_hz, 16_000)
    assert resampled.dtype == np.float32
    np.testing.assert_array_equal(resampled, librosa.resample(signal, orig_sr=from_hz, target_sr=16_000))


def test_resample_keeps_a_tone_and_leaves_an_equal_rate_alone():
    tone = np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000).astype(np.float32)
    expected = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(resample(tone, 48_000, 16_000)[1000:-1000], expected[1000:-1000], atol=1e-4)
    assert resample(tone, 48_000, 48_000) is tone


@pytest.mark.parametrize("container", ["WAV", "RF64", "W64", "CAF", "AIFF", "AU"])
def test_what_a_recorder_leaves_that_lost_power_is_read_to_the_end_in_every_container(container):
    """libsndfile's own headers as they are before a file is closed."""
    data = encode(container)
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 16_000, 2, format=container, subtype="PCM_16") as writer:
        writer.write(decode(data).samples)
        unfinished = file.getvalue()
    audio = decode(unfinished)
    np.testing.assert_array_equal(audio.samples, decode(data).samples)
    assert "never finished" in audio.note
    header = read_header(io.BytesIO(unfinished), len(unfinished))
    assert (header.n_frames, header.note) == (3000, audio.note)
    (clip,) = decode_clips(io.BytesIO(unfinished), len(unfinished), [Clip(0.1, 0.05)])
    np.testing.assert_array_equal(clip.samples, audio.samples[1600:2400])
    assert clip.note == audio.note


@pytest.mark.parametrize(("container", "order"), [("CAF", ">"), ("W64", "<")])
def test_samples_that_go_on_to_the_end_need_no_size(container, order):
    data = encode(container)
    if container == "CAF":
        endless = put(data, data.index(b"data") + 4, ">q", -1)
    else:
        endless = put(put(data, data.index(b"data") + 16, "<Q", (1 << 63) - 1), 16, "<Q", (1 << 64) - 1)
    audio = decode(endless)
    np.testing.assert_array_equal(audio.samples, decode(data).samples)
    assert audio.note == ""


def test_a_cut_mp3_that_says_its_length_is_truncated():
    data = encode("MP3", "MPEG_LAYER_III", n_frames=50_000)
    assert b"Xing" in data or b"Info" in data
    assert reason_of(data[: len(data) // 2]) == Reason.TRUNCATED


def test_an_mp3_that_goes_on_after_the_length_it_says_is_no_shorter_recording():
    data = encode("MP3", "MPEG_LAYER_III", n_frames=50_000)
    assert reason_of(data + data) == Reason.UNSUPPORTED_FORMAT
    with pytest.raises(Rejected, match="is longer than its first frame says"):
        decode(data + data)


def test_packets_that_give_less_than_a_file_says_are_truncated():
    """libsndfile leaves out a damaged packet of ALAC without a word."""
    data = encode("CAF", "ALAC_16", n_frames=20_000)
    at = data.index(b"data") - 8  # sizes of packets stand before it
    assert reason_of(data[: at - 2] + b"\x7f\xff\xff\xff" + data[at + 2 :]) == Reason.TRUNCATED
