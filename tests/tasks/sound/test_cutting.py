"""Clips of long recordings: the same samples as cut from the whole file, from few of its bytes."""

import io
import struct

import numpy as np
import pytest
import soundfile

from humwatch.storage.reasons import Reason
from humwatch.tasks.sound.cutting import Clip, clips_of, decode_clips
from humwatch.tasks.sound.decode import decode
from humwatch.tasks.sound.header import read_header
from humwatch.tasks.sound.rejected import Rejected

RATE_HZ = 8000


def encode(container="WAV", subtype="PCM_16", *, seconds=7.5, channels=2, endian="FILE"):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (round(seconds * RATE_HZ), channels))
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", RATE_HZ, channels, subtype, endian, container) as sound:
        for start in range(0, len(noise), 4096):  # libvorbis overflows its stack where much is written at once
            sound.write(noise[start : start + 4096])
    return file.getvalue()


class Counting(io.BytesIO):
    read_bytes = 0

    def read(self, size=-1):
        data = super().read(size)
        self.read_bytes += len(data)
        return data


@pytest.mark.parametrize(
    ("duration_s", "starts_s"),
    [
        (60.0, []),
        (60.5, [0, 10, 20, 30, 40, 50, 50.5]),
        (70.0, [0, 10, 20, 30, 40, 50, 60]),
        (70.00001, [0, 10, 20, 30, 40, 50, 60]),
        (61.23456, [0, 10, 20, 30, 40, 50, 51.234]),
    ],
)
def test_a_long_recording_is_cut_to_its_end(duration_s, starts_s):
    clips = clips_of(duration_s, longest_s=60, clip_s=10)
    assert [clip.start_s for clip in clips] == pytest.approx(starts_s, abs=1e-4)
    assert {clip.length_s for clip in clips} <= {10}


FORMATS = [
    *(("WAV", subtype) for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")),
    *(("WAV", subtype) for subtype in ("MS_ADPCM", "IMA_ADPCM")),
    ("WAVEX", "PCM_24"), ("RF64", "PCM_16"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("AIFF", "PCM_16"),
    ("AU", "PCM_16"), ("CAF", "PCM_16"), ("W64", "PCM_16"),
]  # fmt: skip


@pytest.mark.parametrize(("container", "subtype"), FORMATS)
def test_clips_are_the_samples_of_the_whole_file(container, subtype):
    data = encode(container, subtype)
    whole = decode(data).samples
    clips = clips_of(len(whole) / RATE_HZ, longest_s=2, clip_s=2)
    found = list(decode_clips(io.BytesIO(data), len(data), clips))
    assert len(found) == 4
    for clip, audio in zip(clips, found, strict=True):
        first, n_frames = clip.frames(RATE_HZ)
        np.testing.assert_array_equal(audio.samples, whole[first : first + n_frames])
        assert (audio.sample_rate_hz, audio.subtype) == (RATE_HZ, subtype)


@pytest.mark.parametrize("subtype", ["GSM610", "NMS_ADPCM_16", "G721_32"])
def test_codecs_that_cannot_seek_are_read_on(subtype):
    data = encode("WAV", subtype, channels=1)
    whole = decode(data).samples
    (audio,) = decode_clips(io.BytesIO(data), len(data), [Clip(3.0, 2.0)])
    np.testing.assert_allclose(audio.samples, whole[24_000:40_000], atol=2e-3)


@pytest.mark.parametrize(("container", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")])
def test_lossy_clips_in_one_pass_are_those_of_the_whole_file(container, subtype):
    data = encode(container, subtype)
    whole = decode(data).samples
    clips = [Clip(start_s, 2.0) for start_s in (0.0, 2.0, 4.0)]
    joined = np.concatenate([audio.samples for audio in decode_clips(io.BytesIO(data), len(data), clips)])
    np.testing.assert_allclose(joined, whole[: len(joined)], atol=1e-5)


@pytest.mark.parametrize(("container", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")])
def test_lossy_clips_anywhere_are_those_of_the_whole_file(container, subtype):
    """libsndfile's seeks in Vorbis and MP3 are wrong for the first frames, now and then: issue 885 of libsndfile."""
    data = encode(container, subtype, seconds=30, channels=1)
    whole = decode(data).samples
    starts_s = np.random.default_rng(1).uniform(0, 29, 30).round(3)
    for start_s in starts_s:
        (audio,) = decode_clips(io.BytesIO(data), len(data), [Clip(start_s, 0.5)])
        first, n_frames = Clip(start_s, 0.5).frames(RATE_HZ)
        np.testing.assert_allclose(audio.samples, whole[first : first + n_frames], atol=1e-5)


@pytest.mark.parametrize(("container", "subtype"), [*FORMATS, ("WAV", "GSM610"), ("OGG", "VORBIS")])
def test_the_last_clip_overlaps_the_one_before_it_where_there_is_no_way_back_too(container, subtype):
    data = encode(container, subtype, channels=1)
    whole = decode(data).samples
    clips = clips_of(len(whole) / RATE_HZ, longest_s=2, clip_s=2)
    assert clips[-1].start_s < clips[-2].start_s + 2
    for clip, audio in zip(clips, decode_clips(io.BytesIO(data), len(data), clips), strict=True):
        first, n_frames = clip.frames(RATE_HZ)
        np.testing.assert_array_equal(audio.samples, whole[first : first + n_frames])


def test_of_a_wav_only_the_clips_bytes_are_read():
    data = encode(seconds=60)
    file = Counting(data)
    (audio,) = decode_clips(file, len(data), [Clip(30.0, 10.0)])
    assert len(audio.samples) == 10 * RATE_HZ
    assert file.read_bytes < 10 * RATE_HZ * 4 + 200


@pytest.mark.parametrize("container", ["FLAC", "OGG", "MP3", "CAF"])
def test_clips_that_follow_one_another_need_no_way_back(container):
    """A packed file is unpacked again from its start for each."""

    class Forward(Counting):
        furthest = went_back_bytes = 0

        def read(self, size=-1):
            self.went_back_bytes += max(0, self.furthest - self.tell())
            data = super().read(size)
            self.furthest = max(self.furthest, self.tell())
            return data

    data = encode(container, {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}.get(container, "PCM_16"), seconds=60)
    file = Forward(data)
    found = decode_clips(file, len(data), clips_of(60, 2, 2))
    next(found)
    file.furthest = file.went_back_bytes = file.read_bytes = 0  # the end may be looked at before
    assert all(len(audio.stored) == 2 * RATE_HZ for audio in found)
    assert file.went_back_bytes <= 8 << 10
    assert file.read_bytes < 1.1 * len(data)


def test_flac_of_unknown_length_is_cut_too():
    data = encode("FLAC")
    fields = int.from_bytes(data[18:26], "big") >> 36 << 36
    data = data[:18] + fields.to_bytes(8, "big") + data[26:]
    header = read_header(io.BytesIO(data), len(data))
    assert header.duration_s == 7.5
    whole = decode(data).samples
    clips = clips_of(7.5, 2, 2)
    last = list(decode_clips(io.BytesIO(data), len(data), clips))[-1]
    np.testing.assert_array_equal(last.samples, whole[-2 * RATE_HZ :])


@pytest.mark.parametrize("container", ["WAV", "FLAC"])
def test_a_clip_beyond_the_end_is_truncated(container):
    data = encode(container, seconds=5)
    first, second = decode_clips(io.BytesIO(data), len(data), [Clip(3.0, 1.0), Clip(6.0, 1.0)])
    assert len(first.samples) == RATE_HZ
    assert isinstance(second, Rejected)
    assert second.reason is Reason.TRUNCATED


def test_what_a_file_raises_is_raised_and_not_taken_for_its_end():
    class Broken(io.BytesIO):
        def read(self, size=-1):
            if self.tell() + size > 20_000:
                raise ConnectionError("gone")
            return super().read(size)

    for container in ("WAV", "FLAC"):
        data = encode(container)
        with pytest.raises(ConnectionError):
            list(decode_clips(Broken(data), len(data), [Clip(0.0, 7.0)]))


def test_a_file_that_is_no_sound_gives_its_reason_for_every_clip():
    words = b"these are words" * 100
    clips = [Clip(0.0, 1.0), Clip(1.0, 1.0)]
    assert [one.reason for one in decode_clips(io.BytesIO(words), len(words), clips)] == [Reason.NOT_AUDIO] * 2


@pytest.mark.parametrize(("container", "subtype"), [*FORMATS, ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")])
def test_a_header_says_what_decoding_gives(container, subtype):
    data = encode(container, subtype)
    audio = decode(data)
    header = read_header(io.BytesIO(data), len(data))
    assert (header.codec, header.sample_rate_hz, header.channels) == (subtype, RATE_HZ, 2)
    assert header.n_frames == len(audio.stored)


def test_a_header_has_the_chunks_before_and_behind_the_samples():
    data = encode(seconds=0.01)
    data = data[:36] + b"bext" + struct.pack("<I", 4) + b"time" + data[36:] + b"guan" + struct.pack("<I", 3) + b"GUA\0"
    data += b"cue " + struct.pack("<I", 4) + b"mark"
    assert read_header(io.BytesIO(data), len(data), with_chunks=True).chunks == {b"bext": b"time", b"guan": b"GUA"}
    assert read_header(io.BytesIO(data), len(data)).chunks == {}


def test_two_mp3s_joined_are_not_taken_for_the_first_of_them():
    """Its length would be that of the first, and the clips of the second lost without a word."""
    data = encode("MP3", "MPEG_LAYER_III")
    for whole in (data, b"ID3\x04\0\0\0\0\0\x0a" + bytes(10) + data, data + b"TAG" + bytes(125)):
        assert read_header(io.BytesIO(whole), len(whole)).codec == "MPEG_LAYER_III"
    with pytest.raises(Rejected, match="joined files") as caught:
        read_header(io.BytesIO(data + data), 2 * len(data))
    assert caught.value.reason is Reason.UNSUPPORTED_FORMAT


class Sparse(io.BytesIO):
    """A file of many gigabytes of silence behind a header: nothing of it is held."""

    def __init__(self, head, size_bytes):
        super().__init__(head)
        self.head, self.size, self.at = head, size_bytes, 0

    def seek(self, offset, whence=0):
        self.at = offset if whence == 0 else self.size + offset
        return self.at

    def tell(self):
        return self.at

    def read(self, size=-1):
        end = min(self.at + size, self.size)
        data = self.head[self.at : end]
        data += bytes(end - self.at - len(data))
        self.at = end
        return data


@pytest.mark.parametrize("size_said", [0xFFFFFFFF, (5_000_000_000) % (1 << 32), 0])
def test_a_plain_wav_above_4_gib_is_read_to_its_end(size_said):
    data = encode(seconds=0.01)[:44]
    head = data[:40] + struct.pack("<I", size_said)
    size_bytes = 44 + 5_000_000_000
    header = read_header(Sparse(head, size_bytes), size_bytes)
    assert header.n_frames == 5_000_000_000 // 4
    (audio,) = decode_clips(Sparse(head, size_bytes), size_bytes, [Clip(header.duration_s - 1, 1.0)])
    assert len(audio.stored) == RATE_HZ


@pytest.mark.parametrize("block_bytes", [1, 3, 8, 4000])
def test_a_wrong_block_size_makes_no_other_clips(block_bytes):
    """libsndfile goes by channels and bits, and so do length and clips."""
    data = bytearray(encode(seconds=5))
    data[32:34] = struct.pack("<H", block_bytes)
    data = bytes(data)
    whole = decode(data).samples
    assert read_header(io.BytesIO(data), len(data)).n_frames == len(whole) == 5 * RATE_HZ
    for clip, audio in zip(
        clips_of(5, 2, 2), decode_clips(io.BytesIO(data), len(data), clips_of(5, 2, 2)), strict=True
    ):
        first, n_frames = clip.frames(RATE_HZ)
        np.testing.assert_array_equal(audio.samples, whole[first : first + n_frames])


def test_a_length_that_no_file_of_this_size_has_is_refused():
    """Else a file of some kilobytes would be cut into more clips than fit into the memory."""
    mp3 = encode("MP3", "MPEG_LAYER_III")
    at = mp3.index(b"Info") if b"Info" in mp3 else mp3.index(b"Xing")
    lying = mp3[: at + 8] + struct.pack(">I", 0x7FFFFFFF) + mp3[at + 12 :]
    flac = encode("FLAC")
    fields = int.from_bytes(flac[18:26], "big") | (1 << 36) - 1
    for data in (lying, flac[:18] + fields.to_bytes(8, "big") + flac[26:]):
        with pytest.raises(Rejected) as caught:
            read_header(io.BytesIO(data), len(data))
        assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize(("container", "size_at"), [("CAF", 12), ("W64", 56)])
def test_a_chunk_that_ends_beyond_any_file_is_a_reason(container, size_at):
    data = bytearray(encode(container))
    data[size_at : size_at + 8] = b"\x7f" * 8 if container == "CAF" else b"\xf0" * 8
    data = bytes(data)
    with pytest.raises(Rejected):
        read_header(io.BytesIO(data), len(data))
