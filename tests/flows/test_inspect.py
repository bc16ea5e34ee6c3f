"""humwatch inspect on real files: what is understood, what is doubtful, and that nothing is written."""

import json
import tarfile

import pytest
from recordings import machine, tone, wav, write_zip
from typer.testing import CliRunner

from humwatch.flows.cli import app as cli
from humwatch.flows.cli.inspection_view import columns_of
from humwatch.tasks.ingest.header_doubts import span

SHORT = wav(tone(1, duration_s=2.5))


def inspect(*arguments):
    return CliRunner().invoke(cli.app, ["inspect", *map(str, arguments)])


def inspected(*arguments):
    return json.loads(inspect(*arguments, "--json").stdout)


def write(folder, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def codes(found):
    return {doubt["code"] for doubt in found["doubts"]}


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    nights = [f"2026-11-{day:02d}" for day in range(1, 16)]
    takes = {f"pump_0{m}/{night}/0{take}0000.wav": SHORT for m in (3, 4) for night in nights for take in (1, 2)}
    del takes["pump_04/2026-11-15/020000.wav"]
    return write(tmp_path_factory.mktemp("source") / "plant", takes | {"pump_03/photo.jpg": b"", "more.7z": b"7z"})


def test_machines_nights_origins_and_headers_are_told(plant):
    found = inspected(plant)
    assert (found["command"], found["errors"], found["recordings"]) == ("inspect", [], 59)
    assert [(one["machine_id"], one["recordings"]) for one in found["machines"]] == [("pump_03", 30), ("pump_04", 29)]
    assert found["machines"][1]["nights"]["2026-11-15"] == 1
    origins = {one["fact"]: one for one in found["origins"]}
    assert (origins["night"]["rule"], origins["night"]["recordings"]) == ("folder date", 59)
    assert origins["night"]["value"] in origins["night"]["example"]
    headers = found["headers"]
    assert (headers["looked_at"], headers["machines"], headers["median_s"]) == (59, 2, 2.5)
    assert (headers["codecs"], headers["sample_rates_hz"]) == ({"PCM_16": 59}, {"16000": 59})
    assert found["ignored"] == {".7z": 1, ".jpg": 1}
    assert codes(found) == {"not_read"}
    ready = {use["command"]: use["missing"] and use["missing"]["code"] for use in found["uses"]}
    assert ready == {"humwatch run": "no_labels", "humwatch nightly": None}


def test_a_person_reads_the_same(plant):
    shown = inspect(plant)
    assert shown.exit_code == 0
    text = shown.stdout
    assert "59 recordings of 2 machines, 15 nights: 2026-11-01 to 2026-11-15" in text
    (row,) = (line for line in text.splitlines() if "pump_04" in line and "wav" not in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == ["plant pump_04", "29", "29"]  # the month
    assert "1 file beside 59 recordings not read: 1 .7z [not_read]" in text
    assert "humwatch nightly: ready" in text
    assert shown.stderr == ""


def test_nothing_is_written_and_no_lake_is_needed(plant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(plant.rglob("*"))
    assert inspect(plant).exit_code == 0
    assert sorted(plant.rglob("*")) == before
    assert list(tmp_path.iterdir()) == []


def test_a_sample_of_headers_has_some_of_every_machine(plant):
    headers = inspected(plant, "--headers", 4)["headers"]
    assert (headers["looked_at"], headers["machines"]) == (4, 2)
    assert inspected(plant, "--headers", 0)["headers"]["looked_at"] == 0
    assert "Headers" not in inspect(plant, "--headers", 0).stdout


def test_what_headers_say_that_matters_is_doubtful(tmp_path):
    low = wav(tone(1, duration_s=2.5, rate_hz=8000), rate_hz=8000)
    stereo = wav(tone(1, duration_s=2.5, channels=2))
    files = machine("fan/1", 4, 2, duration_s=2.5) | {f"fan/2/normal/{take}.wav": low for take in range(3)}
    files["fan/1/normal/low.wav"] = low
    files |= {"fan/1/normal/stereo.wav": stereo, "fan/1/normal/long.wav": wav(tone(1, duration_s=9.0))}
    files |= {"fan/1/normal/text.wav": b"no sound" * 50, "fan/1/normal/blip.wav": wav(tone(1, duration_s=0.5))}
    found = inspected(write(tmp_path / "plant", files))
    assert codes(found) == {"mixed_rates", "low_rate", "mixed_channels", "uneven_lengths", "too_short", "not_audio"}
    told = {doubt["code"]: doubt for doubt in found["doubts"]}
    assert "1 machine with several sample rates: fan 1 has 9 at 16 kHz, 1 at 8 kHz" in told["mixed_rates"]["message"]
    assert "nothing above 4 kHz, the rest up to 8 kHz" in told["mixed_rates"]["message"]
    assert "1 of 2 machines recorded at less than the 16 kHz of spectrograms" in told["low_rate"]["message"]
    assert told["mixed_rates"]["advice"].startswith("--set spectrogram.sample_rate_hz=8000")
    assert "fan 1 from 0.5 s to 9 s" in told["uneven_lengths"]["message"]
    alike = codes(inspected(tmp_path / "plant", "--set", "spectrogram.sample_rate_hz=8000"))
    assert not alike & {"mixed_rates", "low_rate"}


def test_the_layout_that_is_advised_reads_it_without_doubts(tmp_path):
    takes = {f"plant{p}/line2/pump_03/2026/11/{day:02d}/010000.wav": SHORT for p in "AB" for day in range(1, 6)}
    source = write(tmp_path / "sound", takes)
    found = inspected(source)
    assert [(one["reason"], one["recordings"]) for one in found["rejected"]] == [("mixed_machines", 10)]
    assert f"--set ingest.layout='{found['layout']}'" in inspect(source).stdout
    better = inspected(source, "--set", f"ingest.layout={found['layout']}", "--set", "ingest.time_zone=Europe/Oslo")
    assert [(one["site"], one["recordings"]) for one in better["machines"]] == [("plantA", 5), ("plantB", 5)]
    assert (better["rejected"], better["layout"], codes(better)) == ([], None, set())


def test_times_say_where_they_are_from_and_that_they_are_taken_for_utc(tmp_path):
    takes = {f"pump_03/2026110{day}_010000.wav": SHORT for day in range(1, 4)} | {"pump_03/2026-11-04/last.wav": SHORT}
    found = inspected(write(tmp_path / "plant", takes))
    told = {doubt["code"]: doubt["message"] for doubt in found["doubts"]}
    assert "3 from file name, 1 have none" in told["mixed_times"]
    assert "the times of 3 recordings name no zone" in told["utc_assumed"]
    zoned = {f"pump_03/2026110{day}T010000Z.wav": SHORT for day in range(1, 4)}
    assert codes(inspected(write(tmp_path / "zoned", zoned))) == set()


def test_times_that_stand_in_files_are_offered(tmp_path):
    guano = b"GUANO|Version: 1.0\nTimestamp: 2026-11-01T01:00:00Z\n"
    chunk = b"guan" + len(guano).to_bytes(4, "little") + guano + b"\0" * (len(guano) % 2)
    told = SHORT[:4] + (len(SHORT) + len(chunk) - 8).to_bytes(4, "little") + SHORT[8:] + chunk
    found = inspected(write(tmp_path / "plant", {f"pump_03/{take}.wav": told for take in "ab"}))
    assert found["headers"]["times"] == {"GUANO": 2}
    assert "time_in_file" in codes(found)
    assert "time in file" in inspect(tmp_path / "plant").stdout
    taken = inspected(tmp_path / "plant", "--set", "ingest.times_in_files=true", "--headers", 1)
    assert [one["nights"] for one in taken["machines"]] == [{"2026-11-01": 2}]
    (time,) = (one for one in taken["origins"] if one["fact"] == "recorded_at")
    assert (time["rule"], time["recordings"], time["value"]) == ("file content", 2, "2026-11-01 01:00:00+00:00")
    assert "time_in_file" not in codes(taken)


def test_times_in_hexadecimal_seconds_are_utc_and_not_only_taken_for_it(tmp_path):
    source = write(tmp_path / "plant", {f"pump_03/{name}.WAV": SHORT for name in ("5E90A4D4", "5E90B2E4")})
    found = inspected(source, "--set", "ingest.hex_seconds=true")
    assert [one["nights"] for one in found["machines"]] == [{"2020-04-10": 2}]
    assert "utc_assumed" not in codes(found)


def test_manifests_that_do_not_fit_are_told(tmp_path):
    files = {f"rec/{take}.wav": SHORT for take in range(3)}
    rows = "path,label\nrec/0.wav,normal\nrec/1.wav,abnormal\nrec/9.wav,normal\n"
    found = inspected(write(tmp_path / "plant", files | {"manifest.csv": rows.encode()}))
    told = {doubt["code"]: doubt["message"] for doubt in found["doubts"]}
    assert "1 of 3 rows name no recording that is there: rec/9.wav" in told["rows_without_file"]
    assert "no row for 1 recording: plant/rec/2.wav" in told["files_without_row"]
    (label,) = (one for one in found["origins"] if one["fact"] == "label")
    assert (label["rule"], label["recordings"]) == ("manifest", 2)
    nothing = inspect(write(tmp_path / "other", files | {"manifest.csv": b"path,label\nx.wav,normal\n"}))
    assert nothing.exit_code == 1
    assert "manifest_fits_nothing" in nothing.stderr


def test_archives_of_every_kind_and_several_sources(tmp_path):
    packed = write_zip(tmp_path / "fan.zip", machine("fan/id_00", 2, 1, duration_s=2.5))
    write(tmp_path / "loose", machine("pump/id_00", 30, 1, duration_s=2.2))
    with tarfile.open(tmp_path / "pump.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "loose" / "pump", "pump")
    found = inspected(packed, tmp_path / "pump.tar.gz", tmp_path / "absent.zip")
    assert [(one["machine_type"], one["recordings"]) for one in found["machines"]] == [("fan", 3), ("pump", 31)]
    assert found["headers"]["looked_at"] == 23  # of a packed tar its first members alone
    assert [error["code"] for error in found["errors"]] == ["source_not_found"]
    assert inspect(packed, tmp_path / "absent.zip").exit_code == 1


def test_a_recording_of_one_name_in_two_sources_is_told(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_zip(tmp_path / folder / "fan.zip", machine("fan/id_00", 2, 1, duration_s=2.5))
    found = inspected(tmp_path / "a" / "fan.zip", tmp_path / "b" / "fan.zip")
    assert [(one["reason"], one["recordings"]) for one in found["rejected"]] == [("duplicate_name", 3)]


def test_nothing_is_said_of_doubts_where_nothing_was_read(tmp_path):
    headings = {"manifest.csv": b"Aufnahme,Maschine\n1.wav,press\n", "1.wav": SHORT}
    shown = inspect(write(tmp_path / "plant", headings))
    assert "bad_configuration" in shown.stderr
    assert "doubtful" not in shown.stdout


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(10, 10, "10 s"), (5, 60, "5 to 60 s"), (10, 1200, "10 s to 20 min"), (180, 1200, "3 to 20 min"),
     (4, 36_000, "4 s to 10 h"), (0.5, 4.25, "0.5 to 4.25 s")],
)  # fmt: skip
def test_lengths_have_the_unit_that_reads_best(low, high, words):
    assert span(low, high) == words


def test_a_large_fleet_is_shown_in_a_bounded_table(tmp_path):
    write(tmp_path / "plant", {f"line/pump_{m:03d}/2026-{month:02d}-01/0.wav": b"x" for m in range(60)
                               for month in range(1, 13)})  # fmt: skip
    lines = inspect(tmp_path / "plant", "--headers", 0).stdout.splitlines()
    assert "and 40 machines more with 480 recordings: see --json" in lines
    assert len(lines) < 60
    (heading,) = (line for line in lines if "machine" in line and "recordings" in line and "┃" in line)
    assert [cell.strip() for cell in heading.strip("┃").split("┃")] == ["machine", "recordings", "2026"]


@pytest.mark.parametrize(
    ("nights", "headings"),
    [
        (["2026-11-01", "2026-11-02"], ["2026-11-01", "2026-11-02"]),
        ([f"2026-11-{day:02d}" for day in range(1, 31)] + ["2026-12-01"], ["2026-11", "2026-12"]),
        ([f"{year}-{month:02d}-01" for year in (2025, 2026) for month in range(1, 13)] + ["all"],
         ["2025", "2026", "all"]),
        ([f"{year}-01-01" for year in range(2000, 2030)],
         ["2000", "2001", "2002", "2003", "2004", "2005", "...", "2029"]),
        (["-6_dB", "0_dB"], ["-6_dB", "0_dB"]),
    ],
)  # fmt: skip
def test_many_nights_are_months_or_years(nights, headings):
    columns = columns_of(nights)
    assert set(columns) == set(nights)
    assert list(dict.fromkeys(columns.values())) == headings


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "ingest.layout={machine_id}{}"), "ingest.layout"),
        (("--set", "ingest.name_pattern=("), "name_pattern"),
        (("--set", "sound.n_mels=3"), "sound"),
    ],
)
def test_wrong_settings_are_status_2(plant, arguments, message):
    ran = inspect(plant, *arguments, "--json")
    assert ran.exit_code == 2
    assert message in json.loads(ran.stdout)["errors"][0]["message"]
