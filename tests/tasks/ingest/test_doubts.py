"""What is doubtful about names: said with numbers, an example and what to type; nothing of layouts that are clear."""

from datetime import UTC, date, datetime

import pytest

from humwatch.storage.sources import Listing, Member
from humwatch.tasks.ingest.doubts import doubts_of_names, frame_of
from humwatch.tasks.ingest.name_rules import DEFAULT_RULES
from humwatch.tasks.ingest.recording_rows import rows_of

TODAY = date(2026, 12, 1)
NIGHTS = [f"2026-11-{day:02d}" for day in range(1, 21)]


def member(path):
    return Member(path, "", path, 10, None, None, "none", None, "tag", None)


def doubts(paths, training="labelled", ignored=None):
    rows, _ = rows_of(Listing(tuple(map(member, paths)), (), (), {}), DEFAULT_RULES, datetime(2026, 12, 1, tzinfo=UTC))
    return {doubt.code: doubt for doubt in doubts_of_names(frame_of(rows), ignored or {}, training, TODAY)}


def takes(folder, n=3):
    return [f"{folder}/{index}.wav" for index in range(n)]


def fleet(*folders, n=3):
    return [path for folder in folders for path in takes(folder, n)]


DOUBTFUL = {
    "weeks as archives": (
        fleet(*(f"uke{week}.zip/pump_0{machine}" for week in (47, 48) for machine in (1, 2))),
        {"machine_named_like_date": "2 machine types are called like a date, week or month", "no_labels": "12 rec",
         "one_id_in_several_types": "2 machine IDs in several machine types, a machine in each: pump_01 in uke47"},
    ),
    "nights above types": (
        fleet("nights/20190312/pump/normal", "nights/20190313/fan/normal"),
        {"source_as_type": "the machine type nights is SOURCE's own name, and its IDs look like types: fan, pump",
         "one_label": "all 6 labelled recordings are normal"},
    ),
    "months": (
        fleet("plant/Januar/pump_1/normal", "plant/Dezember/pump_1/abnormal"),
        {"machine_named_like_date": "Dezember, Januar", "one_id_in_several_types": "pump_1 in Dezember, Januar"},
    ),
    "a date that is the machine": (fleet("plant/press/d20261101x"), {"no_labels": "none of 3 recordings"}),
    "IDMT": (
        fleet("IDMT/train_cut/engine1_good", "IDMT/train_cut/engine2_broken"),
        {"machine_named_like_label": "engine1_good, engine2_broken", "no_labels": "none of 6 recordings"},
    ),
    "flat, machines in file names": (
        [f"sound/{side}_{night}T01-00-00.wav" for side in ("left", "right") for night in NIGHTS],
        {"one_machine": "one machine, sound/all, but their file names begin in 2 ways: left, right"},
    ),
    "flat, nothing tells machines apart": (
        [f"sound/{night}.wav" for night in NIGHTS],
        {"one_machine": "nothing tells machines apart: 20 recordings are one"},
    ),
    "flat, hexadecimal times": (
        [f"sound/5E90{take:04X}.WAV" for take in (0xA4D4, 0xB2E4)],
        {"one_machine": "nothing tells machines apart: 2 recordings are one", "no_labels": "none of 2 recordings",
         "hexadecimal_names": "may be a time"},
    ),
    "kinds of defects beside a label": (
        fleet("plant/engine/test/good", "plant/engine/test/scratch", "plant/engine/test/defect"),
        {"machine_in_machine": "engine is a machine's ID for some recordings and the type of others",
         "source_as_type": "plant is SOURCE's own name"},
    ),
    "two plants": (
        fleet("plantA/line2/pump_03/normal", "plantB/line2/pump_03/abnormal"),
        {"one_machine_in_two_places": "line2/pump_03 under plantA, plantB"},
    ),
    "two plants on the same nights": (
        fleet("all/plant_1/line2/2026-11-01/pump_03", "all/plant_2/line2/2026-11-01/pump_03"),
        {"mixed_machines": "6 of 6 recordings are rejected: another folder has a machine of the same name"},
    ),
    "two spellings": (
        fleet("plant/pumps/2026-11-01/pump_03", "plant/pumps/2026-11-02/Pump-3"),
        {"two_machines_for_one": "1 machine may have two names each: pumps/Pump-3 and pumps/pump_03"},
    ),
    "serial numbers of recordings": (
        [f"plant/2026-11-21/pump/{serial}/0.wav" for serial in range(700_100, 700_112)],
        {"one_recording_each": "12 of 12 machines have one recording each"},
    ),
    "normal sound only": (fleet("plant/press/7/normal"), {"one_label": "all 3 labelled recordings are normal"}),
    "faulty sound only": (fleet("plant/press/7/NG"), {"one_label": "there is no normal sound to learn from"}),
    "bare months and days": (fleet("plant/11/01"), {"unclear_machine": "3 of 3 recordings are rejected"}),
    "clocks": (
        [*fleet(*(f"plant/pump_03/{night}" for night in NIGHTS)), *takes("plant/pump_03/2099-01-01", 1),
         *takes("plant/pump_03/1970-01-01", 1)],
        {"far_date": "2 recordings of nights far outside the others or in the future: 1970-01-01, 2099-01-01"},
    ),
    "a year early": (
        fleet(*(f"plant/pump_03/{night}" for night in NIGHTS), "plant/pump_03/2016-11-01"),
        {"far_date": "3 recordings of nights far outside the others or in the future: 2016-11-01"},
    ),
    "some without a date": (
        [*fleet(*(f"plant/pump_03/{night}" for night in NIGHTS)), "plant/pump_03/last.wav"],
        {"some_without_night": "1 of 61 recordings have no date"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DOUBTFUL)
def test_what_is_doubtful_is_said_with_numbers_and_what_to_type(name):
    paths, expected = DOUBTFUL[name]
    found = doubts(paths)
    assert set(found) == set(expected)
    for code, words in expected.items():
        assert words in found[code].message
        assert found[code].advice


@pytest.mark.parametrize(
    "paths",
    [
        # MIMII, of several conditions and types; DCASE 2020 and 2023; the simulator's
        fleet(*(f"{condition}_dB_{kind}.zip/{kind}/id_0{number}/{label}" for condition in (-6, 0, 6)
                for kind in ("fan", "pump") for number in (0, 2) for label in ("normal", "abnormal"))),
        [f"{part}_data_fan.zip/fan/{split}/{label}_id_0{number}_0000000{take}.wav" for number in (0, 2)
         for part, split, label in (("dev", "train", "normal"), ("dev", "test", "anomaly"), ("eval", "train", "normal"))
         for take in range(3)],
        [f"ToyCar.zip/ToyCar/{split}/section_00_{domain}_{split}_{label}_{take:04d}_car_A1.wav"
         for domain in ("source", "target")
         for split, label in (("train", "normal"), ("test", "normal"), ("test", "anomaly")) for take in range(3)],
        fleet(*(f"nights/{night}/{kind}.zip/{kind}/id_0{number}" for night in NIGHTS for kind in ("fan", "pump")
                for number in (0, 2))),
        # a plant's: uploads of one line, night after night
        fleet(*(f"uploads/batch_{at}/line2/{night}/pump_03" for at, night in enumerate(NIGHTS))),
        fleet("press_1.zip/press/7/OK", "press_2.zip/press/7/NG"),
        fleet(*(f"plant/2026/11/{day:02d}/pump/SMU20210423" for day in range(1, 9))),
    ],
    ids=["MIMII", "DCASE 2020", "DCASE 2023", "simulator", "uploads", "series of archives", "spread dates"],
)  # fmt: skip
def test_nothing_is_doubtful_where_names_are_clear(paths):
    assert doubts(paths) == {}


def test_nights_are_missed_by_those_who_learn_from_them_and_labels_by_the_others():
    labelled, unlabelled = fleet("plant/fan/7/normal", "plant/fan/7/abnormal"), fleet("plant/fan/7")
    assert set(doubts(labelled)) == set()
    assert set(doubts(labelled, "assumed_normal")) == set(doubts(unlabelled, "assumed_normal")) == {"no_night"}
    assert set(doubts(unlabelled)) == {"no_labels"}


def test_files_that_may_be_recordings_are_told_and_notes_are_not():
    ignored = {".mp3": 9, "": 2, ".txt": 4, ".JSON": 1, ".7z": 1}
    found = doubts(fleet("plant/fan/7/normal", "plant/fan/7/abnormal"), ignored=ignored)["not_read"]
    assert "12 files beside 6 recordings not read: 2 without a suffix, 1 .7z, 9 .mp3" in found.message
    assert doubts(fleet("plant/fan/7/OK", "plant/fan/7/NG"), ignored={".txt": 4}) == {}


def test_doubts_of_a_large_fleet_are_few_and_short():
    paths = [f"plant_{site}/line{line}/pump_{pump}/{night}/0.wav" for site in "abcdefghi" for line in range(9)
             for pump in range(9) for night in NIGHTS[:5]]  # fmt: skip
    found = doubts(paths)  # as of nine sources
    assert "81 machines under several folders at a time" in found["one_machine_in_two_places"].message
    assert "and 6 more" in found["one_machine_in_two_places"].message
    assert all(len(doubt.message) < 300 for doubt in found.values())
