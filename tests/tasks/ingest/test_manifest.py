"""Manifests: what they may say, where their paths point, and what happens when they contradict themselves."""

from datetime import UTC, datetime

import pytest

from humwatch.storage.errors import BadConfiguration
from humwatch.storage.reasons import Reason
from humwatch.storage.sources import ManifestFile, Member
from humwatch.tasks.ingest.manifest import read_facts
from humwatch.tasks.ingest.manifest_rows import read_manifest


def members(*paths):
    return [Member("file:///x", path, path, 1, None, None, "none", None, "", None) for path in paths]


def facts_of(text, *paths, prefix="fan.zip/", pattern=None):
    return read_facts(members(*paths), [ManifestFile("file:///m.csv", prefix, text)], pattern)[0]


def test_every_column():
    manifest = read_manifest(
        "path,site,machine_type,machine_id,batch,condition,domain,label,split,recorded_at,attributes\n"
        "a/b.wav,oslo,pump,P7,spring,6dB,Source,Anomaly,TEST,2026-11-21T02:00:00+01:00,loud\n"
        "c.wav,,,,,,,unknown,,,\n",
        "m.csv",
    )
    assert manifest.rows["a/b.wav"] == {
        "site": "oslo",
        "machine_type": "pump",
        "machine_id": "P7",
        "batch": "spring",
        "condition": "6_dB",
        "domain": "source",
        "label": "abnormal",
        "split": "test",
        "recorded_at": datetime(2026, 11, 21, 1, tzinfo=UTC),
        "attributes": "loud",
    }
    assert manifest.rows["c.wav"] == {"label": None}
    assert not manifest.contradictory


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label\nnormal\n", r"no column path \(or file, .*\); it has label"),
        ("", "no column path"),
        ("path,label,label\na.wav,normal,normal\n", "appears twice"),
        ("path,label\na.wav\n", "line 2: has 1 cells, not 2"),
        ("path,label\na.wav,normal,x\n", "line 2: has 3 cells, not 2"),
        ("path,label\n\n,normal\n", "line 3: has no path"),
        ("path,label\na.wav,broken\n", "line 2: 'broken' is no label"),
        ("path,domain\na.wav,moon\n", "'moon' is no domain"),
        ("path,split\na.wav,validation\n", "'validation' is no split"),
        ("path,recorded_at\na.wav,yesterday\n", "'yesterday' is no recorded_at"),
        ('path,label\n"a.wav,normal\n', "not CSV"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(BadConfiguration, match=message):
        read_manifest(text, "m.csv")


def test_it_wins_over_names_and_leaves_the_rest_to_them():
    text = "path,label,site\nfan/id_00/normal/0.wav,abnormal,oslo\n"
    first, second = facts_of(text, "fan.zip/fan/id_00/normal/0.wav", "fan.zip/fan/id_00/normal/1.wav")
    assert (first.label, first.site, first.machine_id, first.problem) == ("abnormal", "oslo", "id_00", None)
    assert (second.label, second.site, second.problem) == ("normal", None, None)


@pytest.mark.parametrize(
    ("prefix", "row"),
    [
        ("fan.zip/", "fan/id_00/0.wav"),
        ("fan.zip/", "./fan\\id_00\\0.wav"),
        ("fan.zip/", "0.wav"),
        ("fan.zip/fan/", "id_00/0.wav"),
        ("fan.zip/fan/id_00/", "0.wav"),
        ("", "fan.zip/fan/id_00/0.wav"),
        ("", "fan/id_00/0.wav"),
        ("", "0.wav"),
    ],
)
def test_where_paths_point(prefix, row):
    (facts,) = facts_of(f"path,site\n{row},oslo\n", "fan.zip/fan/id_00/0.wav", prefix=prefix)
    assert facts.site == "oslo"


@pytest.mark.parametrize(
    ("prefix", "row"), [("pump.zip/", "fan/0.wav"), ("fan.zip/", "an/0.wav"), ("fan.zip/", "00.wav")]
)
def test_where_they_do_not_point(prefix, row):
    (facts,) = facts_of(f"path,site\n{row},oslo\n", "fan.zip/fan/0.wav", prefix=prefix)
    assert (facts.site, facts.problem) == (None, None)


def test_rows_that_disagree_reject_their_recording_only():
    text = "path,label\na.wav,normal\na.wav,abnormal\nb.wav,normal\nb.wav,normal\n"
    a, b = facts_of(text, "fan.zip/a.wav", "fan.zip/b.wav")
    assert a.problem is Reason.CONFLICTING_NAMES
    assert (b.label, b.problem) == ("normal", None)


def test_a_base_name_that_several_have_is_no_statement():
    text = "path,label\n0.wav,normal\n"
    facts = facts_of(text, "fan.zip/x/M1/0.wav", "fan.zip/x/M2/0.wav")
    assert {fact.problem for fact in facts} == {Reason.CONFLICTING_NAMES}
    assert {fact.label for fact in facts} == {None}


def test_a_file_at_the_very_path_is_meant_even_if_others_share_its_name():
    exact, other = facts_of("path,label\n0.wav,normal\n", "fan.zip/0.wav", "fan.zip/x/M2/0.wav")
    assert (exact.label, exact.problem) == ("normal", None)
    assert other.problem is Reason.CONFLICTING_NAMES


def test_two_manifests_add_up_or_contradict_each_other():
    manifests = [
        ManifestFile("a", "", "path,label,site\nfan.zip/0.wav,normal,oslo\nfan.zip/1.wav,normal,oslo\n"),
        ManifestFile("b", "fan.zip/", "path,label,split\n0.wav,normal,test\n1.wav,abnormal,test\n"),
    ]
    (agreed, contradicted), _ = read_facts(members("fan.zip/0.wav", "fan.zip/1.wav"), manifests, None)
    assert (agreed.label, agreed.site, agreed.split, agreed.problem) == ("normal", "oslo", "test", None)
    assert contradicted.problem is Reason.CONFLICTING_NAMES


def test_no_manifest_leaves_names():
    (facts,), _ = read_facts(members("fan.zip/fan/id_00/normal/0.wav"), [], None)
    assert (facts.machine_type, facts.machine_id, facts.label) == ("fan", "id_00", "normal")
