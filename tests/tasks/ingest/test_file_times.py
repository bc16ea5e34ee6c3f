"""Times inside WAV files, as recorders write them."""

import struct
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from humwatch.tasks.ingest.file_times import FileTime, time_in_wav
from humwatch.tasks.ingest.name_rules import NameRules
from humwatch.tasks.ingest.names import read_name, with_time_of_file
from humwatch.tasks.settings import IngestSettings

OSLO = ZoneInfo("Europe/Oslo")


def at(*numbers):
    return datetime(*numbers, tzinfo=UTC)


def info(**entries):
    body = b"INFO"
    for name, value in entries.items():
        data = value if isinstance(value, bytes) else value.encode()
        body += name.encode() + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    return {b"LIST": body}


def bext(date, time, description=b"scene 1\0"):
    return {b"bext": description.ljust(256, b"\0") + b"H5".ljust(64, b"\0") + date + time + bytes(8) + bytes(256)}


def guano(text):
    return {b"guan": text.encode()}


def audiomoth(text):
    return info(ICMT=text.encode().ljust(384, b"\0"), IART="AudioMoth 24E144055DDD3203")


# Sentences as the firmware prints them (AudioMoth-Firmware-Basic, from 1.0 on), and as metamoth's and opensoundscape's
# tests have them.
AUDIOMOTHS = {
    "Recorded at 19:17:30 06/04/2018 (UTC) by AudioMoth 0FE081F80FE081F0 at gain setting 2 while battery state was "
    "4.5V": at(2018, 4, 6, 19, 17, 30),
    "Recorded at 19:22:55 14/12/2020 (UTC-5) by AudioMoth 24E144055DDD3203 at medium gain setting while battery state "
    "was 4.0V and temperature was 24.5C.": at(2020, 12, 15, 0, 22, 55),
    "Recorded at 02:00:00 21/11/2026 (UTC+5:30) by AudioMoth 24E144055DDD3203 at medium gain while battery was less "
    "than 2.5V and temperature was less than 0C.": at(2026, 11, 20, 20, 30),
    "Recorded at 02:00:00 21/11/2026 (UTC-2:30) by AudioMoth 24E1 at low gain": at(2026, 11, 21, 4, 30),
    "Recorded at 02:00:00 21/11/2026 (UTC-0:30) by AudioMoth 24E1 at low gain": at(2026, 11, 21, 2, 30),
    "Recorded at 10:00:00 15/05/2021 (UTC) during deployment 41C351E84E9996C2 at medium gain setting while battery "
    "state was greater than 4.9V and temperature was -3.7C. Recording stopped due to switch position change.": at(
        2021, 5, 15, 10
    ),
    "Recorded at 10:00:00.250 15/05/2021 (UTC+10) by AudioMoth 24E1 using external microphone": at(2021, 5, 15),
}


@pytest.mark.parametrize("comment", AUDIOMOTHS)
def test_audiomoths_comment_says_its_zone(comment):
    assert time_in_wav(audiomoth(comment), OSLO) == FileTime(AUDIOMOTHS[comment], "AudioMoth comment")


@pytest.mark.parametrize(
    ("timestamp", "utc"),
    [
        ("2012-03-29T03:58:01+04:00", at(2012, 3, 28, 23, 58, 1)),
        ("2015-12-31T23:59:59Z", at(2015, 12, 31, 23, 59, 59)),
        ("2015-12-31T23:59:59.123", at(2015, 12, 31, 22, 59, 59, 123_000)),  # local
        ("2026-07-21 02:00:00", at(2026, 7, 21)),
    ],
)
def test_guanos_timestamp(timestamp, utc):
    chunk = guano(f"GUANO|Version:  1.0\n\nTimestamp:  {timestamp}\r\nNote: PET|Timestamp: 1\nMake: Pettersson  \0")
    assert time_in_wav(chunk, OSLO) == FileTime(utc, "GUANO")


@pytest.mark.parametrize(
    ("date", "time"),
    [
        (b"2026-11-21", b"02:00:00"),
        (b"2026:11:21", b"02-00-00"),
        (b"2026_11_21", b"02.00.00"),
        (b"2026/11/21", b"02 00 00"),
    ],
)
def test_broadcast_waves_time_is_local_with_any_separator(date, time):
    assert time_in_wav(bext(date, time), OSLO) == FileTime(at(2026, 11, 21, 1), "bext")
    assert time_in_wav(bext(date, time, description=b"line\nbreak"), OSLO) == FileTime(at(2026, 11, 21, 1), "bext")


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-11-21T02:00:00+0100", at(2026, 11, 21, 1)),
        ("2026-11-21 02:00:00", at(2026, 11, 21, 1)),
        ("2026-11-21", None),
        ("2026", None),
        ("21 November 2026 02:00", None),
    ],
)
def test_a_creation_date_is_a_time_where_it_has_one(text, utc):
    assert time_in_wav(info(ICRD=text + "\0"), OSLO) == (FileTime(utc, "ICRD") if utc else None)


def test_of_several_that_disagree_the_one_with_a_zone_counts():
    chunks = {
        **guano("GUANO|Version: 1.0\nTimestamp: 2026-11-21T04:00:00Z"),
        **info(ICMT="Recorded at 03:00:00 21/11/2026 (UTC) by AudioMoth 1", ICRD="2026-11-21T01:00:00Z"),
        **bext(b"2026-11-21", b"02:00:00"),
    }
    sources = []
    for name in (b"guan", b"", b"bext", b"LIST"):
        sources.append(str(time_in_wav(chunks, UTC).source))
        chunks.pop(name, None)
        if not name:
            chunks |= info(ICRD="2026-11-21T01:00:00Z")
    assert sources == ["GUANO", "AudioMoth comment", "bext", "ICRD"]
    assert time_in_wav(chunks, UTC) is None


@pytest.mark.parametrize(
    "chunks",
    [
        {},
        {b"LIST": b""},
        {b"LIST": b"INFO"},
        {b"LIST": b"adtl" + b"ICRD\x14\0\0\0" + b"2026-11-21T02:00:00Z"},
        {b"LIST": b"INFOICRD\xff\xff\xff\xff2026"},
        {b"LIST": b"INFOICRD"},
        {b"bext": b""},
        {b"bext": bytes(602)},
        bext(b"0000-00-00", b"00:00:00"),
        bext(b"1970-01-01", b"00:00:07"),  # a clock that was never set
        bext(b"1980-01-01", b"00:00:00"),
        bext(b"2026-02-30", b"02:00:00"),
        bext(b"2026-11-21", bytes(8)),
        {b"guan": b"\xff\xfe\0"},
        guano("Timestamp:"),
        guano("Timestamp: yesterday"),
        guano("Timestamp: 0001-01-01T00:00:00+14:00"),
        audiomoth("Recorded at 25:00:00 21/11/2026 (UTC) by AudioMoth 1"),
        audiomoth("Recorded at 02:00:00 21/11/2026 by AudioMoth 1"),
        audiomoth("Recorded at 02:00:00 21/11/2026 (UTC+99) by AudioMoth 1"),
    ],
)
def test_what_is_no_time_says_nothing(chunks):
    assert time_in_wav(chunks, OSLO) is None


def test_an_entry_that_is_cut_off_still_says_its_time():
    chunk = info(ICMT="Recorded at 02:00:00 21/11/2026 (UTC) by AudioMoth 24E144055DDD3203")[b"LIST"][:-4]
    assert time_in_wav({b"LIST": chunk}, OSLO).recorded_at == at(2026, 11, 21, 2)


def test_names_come_first_and_the_night_follows_the_file_where_nothing_else_says_one():
    rules = NameRules.of(IngestSettings(time_zone="Europe/Oslo", day_begins="06:00"))
    early = at(2026, 11, 22, 2)
    timed = with_time_of_file(read_name("sound/pump/3/REC001.WAV", rules), early, rules)
    assert (timed.recorded_at, timed.batch) == (early, "2026-11-21")
    assert (timed.origins["recorded_at"], timed.origins["batch"]) == ("file content", "file content")
    dated = with_time_of_file(read_name("sound/2026-11-23/pump/3/REC001.WAV", rules), early, rules)
    assert (dated.recorded_at, dated.batch) == (early, "2026-11-23")
    named = read_name("sound/pump/3/20261121_020000.WAV", rules)
    assert with_time_of_file(named, early, rules) is named


@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("5E90A4D4.WAV", at(2020, 4, 10, 16, 54, 44)),
        ("5e90a4d4.wav", at(2020, 4, 10, 16, 54, 44)),
        ("00000017.wav", None),  # MIMII's indices
        ("20261121.wav", None),  # a date
        ("5E90A4D4F.wav", None),
    ],
)
def test_hexadecimal_seconds_are_read_where_a_setting_says_so(name, time):
    asked = NameRules.of(IngestSettings(hex_seconds=True))
    assert read_name(f"sound/pump/3/{name}", asked).recorded_at == time
    assert read_name(f"sound/pump/3/{name}").recorded_at is None
