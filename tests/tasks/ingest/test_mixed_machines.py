"""Two machines of one name in one listing are told; parts of one are not."""

import pytest

from humwatch.storage.reasons import Reason
from humwatch.storage.sources import ManifestFile, Member
from humwatch.tasks.ingest.manifest import read_facts
from humwatch.tasks.ingest.name_rules import NameRules
from humwatch.tasks.settings import IngestSettings


def facts_of(*paths, manifests=(), problem=None, **settings):
    members = [Member("file:///x", path, path, 1, None, None, "none", None, "", problem) for path in paths]
    return read_facts(members, manifests, NameRules.of(IngestSettings(**settings)))[0]


PLANTS = ("s/plantA/line2/pump_03/0.wav", "s/plantB/line2/pump_03/0.wav")


@pytest.mark.parametrize(
    "paths",
    [
        PLANTS,
        ("s/plant1/line2/pump_03/0.wav", "s/plant2/line2/pump_03/0.wav"),
        ("s/plantA.zip/line2/pump_03/0.wav", "s/plantB.zip/line2/pump_03/0.wav"),
        ("s/north/pump/id_00/normal/0.wav", "s/south/pump/id_00/normal/0.wav"),
        ("s/line2/pump_03/0.wav", "s/plantB/line2/pump_03/0.wav"),
        ("s/2026-11-21/plantA/line2/pump_03/0.wav", "s/plantB/2026/11/21/line2/pump_03/0.wav"),
        ("s/hall1/fan.zip/0.wav", "s/hall2/fan.zip/0.wav"),
    ],
)
def test_a_machine_that_lies_in_two_places_is_refused_in_both(paths):
    first, second, other = facts_of(*paths, "s/plantA/line2/pump_04/0.wav")
    assert [first.problem, second.problem, other.problem] == [Reason.MIXED_MACHINES, Reason.MIXED_MACHINES, None]


@pytest.mark.parametrize("elsewhere", ["undated", "old/undated", "2026-02-30", "2026-13-45"])
def test_what_has_no_date_and_lies_elsewhere_does_not_stop_a_machines_nights(elsewhere):
    nights = [f"s/2026-11-{day}/fan.zip/id_00/0.wav" for day in (21, 22)]
    *good, refused = facts_of(*nights, f"s/{elsewhere}/fan.zip/id_00/0.wav")
    assert [facts.problem for facts in good] == [None, None]
    assert refused.problem == Reason.MIXED_MACHINES


@pytest.mark.parametrize(
    "paths",
    [
        ("s/week47/line2/pump_03/0.wav", "s/week48/line2/pump_03/0.wav"),
        ("s/2026-W47/line2/pump_03/0.wav", "s/2026-W48/line2/pump_03/0.wav"),
        ("s/2025/line2/pump_03/0.wav", "s/2026/line2/pump_03/0.wav"),
        ("s/2026/11/line2/pump_03/0.wav", "s/2026/12/line2/pump_03/0.wav"),
        ("s/november/line2/pump_03/0.wav", "s/Dec 2026/line2/pump_03/0.wav"),
        ("s/part1.zip/line2/pump_03/0.wav", "s/part2.zip/line2/pump_03/0.wav"),
        ("s/2026-11-21/line2/pump_03/0.wav", "s/2026-11-22/line2/pump_03/0.wav"),
        ("s/OK/line2/pump_03/0.wav", "s/NG/line2/pump_03/0.wav"),
        # MIMII and DCASE as they are packed and unpacked
        ("m/-6_dB_fan.zip/fan/id_00/normal/0.wav", "m/6_dB_fan.zip/fan/id_00/normal/0.wav"),
        ("m/-6_dB_fan/fan/id_00/normal/0.wav", "m/fan/id_00/normal/0.wav"),
        ("d/dev_data_fan.zip/fan/train/normal_id_01_0.wav", "d/eval_data_test_fan.zip/fan/test/id_01_0.wav"),
        ("d/dev_fan.zip/fan/id_00/normal/0.wav", "d/more_fan.zip/fan/id_00/normal/0.wav"),
        # the simulator
        ("n/2026-11-01/fan.zip/fan/id_00/0.wav", "n/2026-11-02/fan.zip/fan/id_00/0.wav"),
    ],
)
def test_times_parts_and_labels_make_no_second_machine(paths):
    first, second = facts_of(*paths)
    assert (first.problem, second.problem) == (None, None)
    assert (first.machine_type, first.machine_id) == (second.machine_type, second.machine_id)


def test_a_layout_a_manifest_or_a_pattern_settles_it():
    first, second = facts_of(*PLANTS, layout=("{site}/{machine_type}/{machine_id}/{}.wav",))
    assert [(known.site, known.problem) for known in (first, second)] == [("plantA", None), ("plantB", None)]
    together = facts_of(*PLANTS, layout=("{machine_type}/{machine_id}/{}.wav",))
    assert {(known.site, known.machine_id, known.problem) for known in together} == {(None, "pump_03", None)}
    manifest = ManifestFile("file:///m.csv", "s/", "path,site\nplantB/line2/pump_03/0.wav,B\n")
    assert [known.problem for known in facts_of(*PLANTS, manifests=[manifest])] == [None, None]
    assert [known.problem for known in facts_of(*PLANTS, name_pattern="(?P<site>plant.)")] == [None, None]


def test_what_is_rejected_anyway_mixes_up_nothing():
    listed = [("s/plantA/line2/pump_03/0.wav", None), ("s/../plantB/line2/pump_03/0.wav", Reason.UNSAFE_PATH)]
    members = [Member("file:///x", path, path, 1, None, None, "none", None, "", problem) for path, problem in listed]
    assert read_facts(members, [], NameRules())[0][0].problem is None


@pytest.mark.parametrize(
    ("paths", "machine"),
    [
        (("week47.zip/pump_03/0.wav", "week48.zip/pump_03/0.wav"), ("pump_03", "all")),
        (("sound/week47.zip/pump_03/0.wav", "sound/week48.zip/pump_03/0.wav"), ("sound", "pump_03")),
        (("sound/KW_47.zip/pump_03/0.wav", "sound/2026-w48.zip/pump_03/0.wav"), ("sound", "pump_03")),
        (("sound/backup/part3.zip/pump_03/0.wav", "sound/backup/part4.zip/pump_03/0.wav"), ("backup", "pump_03")),
        (("sound/week47/pump_03/0.wav", "sound/week48/pump_03/0.wav"), ("sound", "pump_03")),
        (("sound/November/pump_03/0.wav", "sound/dec_2026/pump_03/0.wav"), ("sound", "pump_03")),
        (("2026-11-21_pump.zip/3/0.wav", "2026-11-22_pump.zip/3/0.wav"), ("pump", "3")),
    ],
)
def test_a_week_a_month_or_a_part_is_no_machine_type(paths, machine):
    assert {(known.machine_type, known.machine_id) for known in facts_of(*paths)} == {machine}


@pytest.mark.parametrize(
    ("path", "machine"),
    [
        ("machines/part7.zip/0.wav", ("part7", "all")),  # nothing else names a machine
        ("separator.zip/3/0.wav", ("separator", "3")),  # begins like a month
        ("decanter/W12/0.wav", ("decanter", "W12")),
        ("press/marine_3/0.wav", ("press", "marine_3")),
    ],
)
def test_what_only_looks_like_a_time_or_a_part_stays_a_machine(path, machine):
    (known,) = facts_of(path)
    assert (known.machine_type, known.machine_id) == machine
