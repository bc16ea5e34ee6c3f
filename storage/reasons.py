"""The closed list of reasons for which a recording is rejected."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a recording is not scored; the value is what tables and reports show."""

    # found while listing
    UNSAFE_PATH = "unsafe_path"
    DUPLICATE_NAME = "duplicate_name"
    CONFLICTING_NAMES = "conflicting_names"
    UNCLEAR_MACHINE = "unclear_machine"
    OTHER_CHANNELS = "other_channels"
    NOT_IN_MANIFEST = "not_in_manifest"
    MIXED_MACHINES = "mixed_machines"
    NO_LAYOUT = "no_layout"
    ENCRYPTED = "encrypted"
    UNSUPPORTED_COMPRESSION = "unsupported_compression"
    TOO_LARGE = "too_large"
    EMPTY_FILE = "empty_file"
    # found while decoding
    SOURCE_GONE = "source_gone"
    CORRUPT = "corrupt"
    NOT_AUDIO = "not_audio"
    UNSUPPORTED_FORMAT = "unsupported_format"
    TRUNCATED = "truncated"
    NO_CHANNELS = "no_channels"
    CHANNEL_MISSING = "channel_missing"
    NOT_FINITE = "not_finite"
    NO_SAMPLES = "no_samples"
    # judged from what was measured
    SILENT = "silent"
    DEAD_CHANNEL = "dead_channel"
    CLIPPED = "clipped"
    REPEATED = "repeated"
    OTHER_BAND = "other_band"
    WRONG_LENGTH = "wrong_length"
    TOO_SHORT = "too_short"


EXPLANATIONS: dict[Reason, str] = {
    Reason.UNSAFE_PATH: "the name in the archive is absolute or leaves the archive, or it is no file there: a "
    "symbolic link, a device, a hard link to what the archive does not hold",
    Reason.DUPLICATE_NAME: "a recording of the same name was listed before it",
    Reason.CONFLICTING_NAMES: "two parts of the name or the manifest contradict each other",
    Reason.UNCLEAR_MACHINE: "its machine would be called like a date or a key: see ingest.layout",
    Reason.MIXED_MACHINES: "another folder has a machine of the same name: say in ingest.layout whose {site} it is",
    Reason.NO_LAYOUT: "its path has none of the layouts of ingest.layout",
    Reason.NOT_IN_MANIFEST: "a manifest names the machines there and has no row for it, nor do its names tell an ID",
    Reason.OTHER_CHANNELS: "it has another number of channels than most of its machine's recordings",
    Reason.ENCRYPTED: "the archive member is encrypted",
    Reason.UNSUPPORTED_COMPRESSION: "the zip member is packed by another method than Deflate, Deflate64, bzip2, "
    "LZMA and Zstandard: pack it again with one of these",
    Reason.TOO_LARGE: "it unpacks to more than ingest.max_member_bytes",
    Reason.EMPTY_FILE: "the file has no bytes",
    Reason.SOURCE_GONE: "its source was not there any more, or holds other bytes by now; it is taken in again when an "
    "ingest lists it",
    Reason.CORRUPT: "the bytes do not match their checksum or cannot be unpacked",
    Reason.NOT_AUDIO: "the bytes are no file of sound that is known here",
    Reason.UNSUPPORTED_FORMAT: "a format or codec that is not decoded here: convert it, for example with ffmpeg",
    Reason.TRUNCATED: "the file ends before the samples its header promises",
    Reason.NO_CHANNELS: "the header says 0 channels",
    Reason.CHANNEL_MISSING: "it has no channel of the number that the settings or its manifest name",
    Reason.NOT_FINITE: "it holds NaN or infinite samples",
    Reason.NO_SAMPLES: "it holds no samples",
    Reason.SILENT: "it, or one of several channels, is quieter as a whole than health.silent_rms_dbfs, its "
    "DC offset taken off",
    Reason.DEAD_CHANNEL: "the channel used, or one of several, never changes",
    Reason.CLIPPED: "more samples than health.max_clipped_fraction are at full scale",
    Reason.REPEATED: "another recording of the machine has the same samples, bit for bit: a copy, or a stuck recorder",
    Reason.OTHER_BAND: "its sample rate leaves out sound that most of its machine's recordings have, or they lack "
    "sound that it has",
    Reason.WRONG_LENGTH: "its duration is outside health.duration_tolerance of the machine's median",
    Reason.TOO_SHORT: "it is shorter than one window",
}
