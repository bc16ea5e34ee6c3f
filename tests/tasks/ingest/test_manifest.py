"""Manifests: what they may say, where their paths point, and what happens when they contradict themselves."""

import unicodedata
from datetime import UTC, datetime

import pytest

from humwatch.storage.errors import BadConfiguration
from humwatch.storage.reasons import Reason
from humwatch.storage.sources import ManifestFile, Member
from humwatch.tasks.ingest.manifest import ManifestFindings, findings_of, misfits_of, read_facts
from humwatch.tasks.ingest.manifest_rows import read_manifest
from humwatch.tasks.ingest.name_rules import DEFAULT_RULES


def members(*paths):
    return [Member("file:///x", path, path, 1, None, None, "none", None, "", None) for path in paths]


def facts_of(text, *paths, prefix="fan.zip/", rules=DEFAULT_RULES):
    return read_facts(members(*paths), [ManifestFile("file:///m.csv", prefix, text)], rules)[0]


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
    (agreed, contradicted), _ = read_facts(members("fan.zip/0.wav", "fan.zip/1.wav"), manifests, DEFAULT_RULES)
    assert (agreed.label, agreed.site, agreed.split, agreed.problem) == ("normal", "oslo", "test", None)
    assert contradicted.problem is Reason.CONFLICTING_NAMES


def test_no_manifest_leaves_names():
    (facts,), _ = read_facts(members("fan.zip/fan/id_00/normal/0.wav"), [], DEFAULT_RULES)
    assert (facts.machine_type, facts.machine_id, facts.label) == ("fan", "id_00", "normal")


# --- as spreadsheets and scripts write them

SAID = {"machine_id": "P7", "label": "abnormal", "Operator": "Kim", "Oil temp (°C)": "21,5"}
HEADER = ["File Name", "Machine-ID", "LABEL", "Operator", "Oil temp (°C)"]
ROW = ["a/b.wav", "P7", "NG", "Kim", "21,5"]


@pytest.mark.parametrize(
    "text",
    [
        ",".join(HEADER) + "\n" + ",".join([*ROW[:4], '"21,5"']) + "\n",
        ";".join(HEADER) + "\n" + ";".join(ROW) + "\n",
        "\t".join(HEADER) + "\r\n" + "\t".join(ROW) + "\r\n",
        "|".join(HEADER) + "\n" + "|".join(ROW),
        "sep=;\r\n" + ";".join(HEADER) + "\r\n" + ";".join(ROW) + "\r\n",
        "SEP=\t\n" + "\t".join(HEADER) + "\n" + "\t".join(ROW) + "\n",
        "\ufeffsep=;\n" + ";".join(HEADER) + "\n" + ";".join(ROW) + "\n",
        ";".join(HEADER) + ";;\r\n" + ";".join(ROW) + ";;\r\n;;;;;;\r\n",  # a sheet with more columns and rows marked
        "," + ",".join(HEADER) + "\n0," + ",".join([*ROW[:4], '"21,5"']) + "\n",  # pandas' to_csv with its index
        "\r".join([";".join(HEADER), ";".join(ROW), ""]),  # an old Mac's line ends
    ],
)
def test_dialects(text):
    manifest = read_manifest(text, "m.csv")
    assert manifest.rows == {"a/b.wav": SAID}


@pytest.mark.parametrize(
    "column", ["path", "Path", "FILE", "filename", "File Name", "file-name", "file_name", "filepath"]
)
def test_what_the_column_of_the_recording_may_be_called(column):
    assert list(read_manifest(f"{column}\na.wav\n", "m.csv").rows) == ["a.wav"]


def test_two_columns_for_the_recording_are_one_too_many():
    with pytest.raises(BadConfiguration, match="columns path and File Name both name the recording"):
        read_manifest("path,File Name\na.wav,b.wav\n", "m.csv")


@pytest.mark.parametrize(
    ("word", "label"),
    [
        ("OK", "normal"),
        ("ng", "abnormal"),
        ("0", "normal"),
        ("1", "abnormal"),
        ("0.0", "normal"),
        ("Faulty", "abnormal"),
    ],
)
def test_words_for_labels(word, label):
    assert read_manifest(f"path,label\na.wav,{word}\n", "m.csv").rows["a.wav"] == {"label": label}


def test_a_number_is_a_label_only_where_labels_are():
    assert read_manifest("path,site,2\na.wav,0,1\n", "m.csv").rows["a.wav"] == {"site": "0", "2": "1"}


def test_a_line_is_counted_from_the_first_of_the_file():
    with pytest.raises(BadConfiguration, match="line 4: 'broken' is no label"):
        read_manifest("sep=;\npath;label\na.wav;ok\nb.wav;broken\n", "m.csv")


def test_other_columns_are_attributes_behind_those_that_are_known():
    name = "fan.zip/fan/train/section_00_source_train_normal_0000_m-n_X.wav"
    (dcase,) = facts_of("path,Operator,shift\n" + name.removeprefix("fan.zip/") + ",Kim,2\n", name)
    assert dcase.attributes == "m-n_X; Operator=Kim; shift=2"
    (given,) = facts_of("path,Operator,attributes\n" + name.removeprefix("fan.zip/") + ",Kim,loud\n", name)
    assert given.attributes == "loud; Operator=Kim"
    (empty,) = facts_of("path,Operator\na.wav,\n", "fan.zip/a.wav")
    assert empty.attributes is None


def test_attributes_of_two_manifests_add_up_or_contradict_each_other():
    manifests = [
        ManifestFile("a", "", "path,operator\n0.wav,Kim\n1.wav,Kim\n"),
        ManifestFile("b", "fan.zip/", "path,shift,operator\n0.wav,2,Kim\n1.wav,2,Bo\n"),
    ]
    (agreed, contradicted), _ = read_facts(members("fan.zip/0.wav", "fan.zip/1.wav"), manifests, DEFAULT_RULES)
    assert (agreed.attributes, agreed.problem) == ("operator=Kim; shift=2", None)
    assert contradicted.problem is Reason.CONFLICTING_NAMES


# --- paths that are written differently

COMPOSED, DECOMPOSED = "Lüfter é/1.wav", unicodedata.normalize("NFD", "Lüfter é/1.wav")


@pytest.mark.parametrize(
    ("row", "path"),
    [
        (COMPOSED, DECOMPOSED),
        (DECOMPOSED, COMPOSED),
        ("x/A.WAV", "x/a.wav"),
        ("x/a.wav", "x/A.WAV"),
        ("X\\a.wav", "x/a.wav"),
        ("a.WAV", "x/y/A.wav"),
        ("FAN/1.wav", "x/inner.zip/fan/1.WAV"),
        ("STRASSE.wav", "straße.wav"),
    ],
)
def test_case_and_unicode_form_do_not_matter(row, path):
    (facts,), uses = read_facts(
        members(f"fan.zip/{path}"), [ManifestFile("m", "fan.zip/", f"path,site\n{row},oslo\n")], DEFAULT_RULES
    )
    assert (facts.site, facts.problem) == ("oslo", None)
    assert [(found.matched, found.rows_without_file) for found in findings_of(uses)] == [(1, ())]


def test_what_is_written_alike_comes_first():
    text = "path,site\na.wav,oslo\nA.wav,bergen\n"
    lower, upper, other = facts_of(text, "fan.zip/a.wav", "fan.zip/A.wav", "fan.zip/a.WAV")
    assert [lower.site, upper.site, other.site] == ["oslo", "bergen", None]
    assert [lower.problem, upper.problem, other.problem] == [None, None, None]


def test_recordings_or_rows_that_cannot_be_told_apart_are_not():
    facts = facts_of("path,site\nA.WAV,oslo\n", "fan.zip/a.wav", "fan.zip/a.WAV", "fan.zip/b.wav")
    assert [one.problem for one in facts] == [Reason.CONFLICTING_NAMES] * 2 + [None]
    assert [one.site for one in facts] == [None] * 3
    (facts,) = facts_of("path,site\nA.WAV,oslo\nA.wav,bergen\n", "fan.zip/a.wav")
    assert (facts.site, facts.problem) == (None, Reason.CONFLICTING_NAMES)
    facts = facts_of("path,site\n0.WAV,oslo\n", "fan.zip/M1/0.wav", "fan.zip/M2/0.wav")
    assert [one.problem for one in facts] == [Reason.CONFLICTING_NAMES] * 2


# --- what does not fit


def uses_of(text, *paths, prefix="fan.zip/"):
    return read_facts(members(*paths), [ManifestFile("file:///m.csv", prefix, text)], DEFAULT_RULES)[1]


def test_all_fits():
    uses = uses_of("path,label,operator\n0.wav,ok,Kim\n", "fan.zip/x/0.wav")
    (found,) = findings_of(uses)
    assert found == ManifestFindings("file:///m.csv", 1, 1, (), ())
    assert not found.fits_nothing


def test_rows_without_a_recording_and_recordings_without_a_row():
    text = "path,label\n" + "".join(f"gone/{index}.wav,ok\n" for index in range(5)) + "here.wav,ok\ntwice/0.wav,ok\n"
    uses = uses_of(text, "fan.zip/here.wav", "fan.zip/new.wav", "fan.zip/x/0.wav")
    (found,) = findings_of(uses)
    assert (found.rows, found.matched) == (7, 1)
    assert found.rows_without_file == (*(f"gone/{index}.wav" for index in range(5)), "twice/0.wav")
    assert found.files_without_row == ("fan.zip/new.wav", "fan.zip/x/0.wav")
    assert not found.fits_nothing


def test_rows_of_which_it_is_not_clear_what_they_name_are_not_without_a_recording():
    uses = uses_of("path,label\n0.wav,ok\na.wav,ok\na.wav,ng\n", "fan.zip/x/0.wav", "fan.zip/y/0.wav", "fan.zip/a.wav")
    (found,) = findings_of(uses)
    assert (found.rows, found.matched, found.files_without_row) == (2, 2, ())


def test_a_manifest_of_which_nothing_fits():
    uses = uses_of("path,label\na.mp3,ok\nb.mp3,ok\n", "fan.zip/a.wav")
    (found,) = findings_of(uses)
    assert found.fits_nothing
    ((where, error),) = misfits_of([found])
    assert where == "file:///m.csv"
    assert str(error) == "file:///m.csv: none of 2 rows names a recording that is there: a.mp3, b.mp3"
    (empty,) = findings_of(uses_of("path,label\n", "fan.zip/a.wav"))
    assert not empty.fits_nothing
    assert empty.files_without_row == ("fan.zip/a.wav",)


def test_what_another_manifest_names_is_not_without_a_row():
    manifests = [ManifestFile("a", "in/", "path,site\nx/0.wav,oslo\n"), ManifestFile("b", "in/y/", "path\n1.wav\n")]
    _, uses = read_facts(members("in/x/0.wav", "in/y/1.wav"), manifests, DEFAULT_RULES)
    assert [(found.rows_without_file, found.files_without_row) for found in findings_of(uses)] == [((), ())] * 2


def test_a_manifest_beside_several_archives_fits_all_of_them_together():
    text = "path,label\nfan.zip/0.wav,ok\nfan.zip/lost.wav,ok\npump.zip/0.wav,ok\nslider.zip/0.wav,ok\n1.wav,ok\n"
    of_fan = uses_of(text, "fan.zip/0.wav", "fan.zip/1.wav", prefix="")
    of_pump = uses_of(text, "pump.zip/0.wav", "pump.zip/2.wav", prefix="")
    (alone,) = findings_of(of_fan)
    assert (alone.rows, alone.matched, alone.rows_without_file) == (3, 2, ("fan.zip/lost.wav",))
    (pump,) = findings_of(of_pump)
    assert (pump.rows, pump.matched, pump.rows_without_file) == (2, 1, ("1.wav",))
    (both,) = findings_of([*of_fan, *of_pump])
    assert (both.rows, both.matched, both.rows_without_file) == (4, 3, ("fan.zip/lost.wav",))
    assert both.files_without_row == ("pump.zip/2.wav",)


def test_a_manifest_beside_one_recording_is_not_about_that_alone():
    (found,) = findings_of(uses_of("path,label\n0.wav,ok\n1.wav,ok\n", "0.wav", prefix=""))
    assert (found.rows, found.matched, found.rows_without_file, found.files_without_row) == (1, 1, (), ())


@pytest.mark.parametrize("column", ["machine_id", "machine_type"])
def test_a_recording_that_the_manifest_should_have_named_is_no_machine_called_like_its_folder(column):
    text = f"path,{column}\na.wav,P1\nb.wav,P2\ngone.wav,P3\n"
    a, b, c = facts_of(text, "rec/a.wav", "rec/b.wav", "rec/c.wav", prefix="rec/")
    assert (a.problem, b.problem, c.problem) == (None, None, Reason.NOT_IN_MANIFEST)


def test_a_recording_whose_names_tell_its_machine_needs_no_row():
    text = "path,machine_id\nfan/id_00/normal/0.wav,id_99\n"
    named, other = facts_of(text, "rec/fan/id_00/normal/0.wav", "rec/fan/id_00/normal/1.wav", prefix="rec/")
    assert [(one.machine_id, one.problem) for one in (named, other)] == [("id_99", None), ("id_00", None)]
    text = "path,machine_type\nfan/normal/0.wav,fan\n"
    named, other = facts_of(text, "rec.zip/fan/normal/0.wav", "rec.zip/fan/normal/1.wav", prefix="rec.zip/")
    assert [(one.machine_type, one.problem) for one in (named, other)] == [("fan", None), ("fan", None)]


def test_a_manifest_of_labels_alone_rejects_nothing():
    labelled, other = facts_of("path,label\na.wav,ng\n", "rec/a.wav", "rec/b.wav", prefix="rec/")
    assert [(one.label, one.problem) for one in (labelled, other)] == [("abnormal", None), (None, None)]


def channels_of(text, *others):
    manifests = [ManifestFile(f"file:///{at}.csv", "fan.zip/", each) for at, each in enumerate((text, *others))]
    (first,), _ = read_facts(members("fan.zip/0.wav"), manifests, DEFAULT_RULES)
    return [(one.channel, one.machine_id, one.label, one.problem) for one in (first, *first.further)]


CHANNELS = "path,channel,machine_id\n0.wav,1,B\n0.wav,0,A\n"


def test_rows_that_name_channels_are_about_each_of_them_in_their_order():
    assert channels_of(CHANNELS) == [(0, "A", None, None), (1, "B", None, None)]
    assert channels_of(CHANNELS + "0.wav,1,B\n") == channels_of(CHANNELS)
    assert channels_of("path,channel\n0.wav,3\n") == [(3, "all", None, None)]
    manifest = read_manifest(CHANNELS + "1.wav,,\n", "m.csv")
    assert manifest.names_machines
    assert (set(manifest.rows), manifest.contradictory) == ({"0.wav", "1.wav"}, frozenset())


def test_a_row_without_a_channel_is_about_all_of_them():
    expected = [(0, "A", "normal", None), (1, "B", "normal", None)]
    assert channels_of("path,channel,machine_id,label\n0.wav,,,ok\n0.wav,0,A,\n0.wav,1,B,\n") == expected
    assert channels_of(CHANNELS, "path,label\n0.wav,ok\n") == expected


def test_rows_about_one_channel_that_disagree_cost_that_channel_or_the_file_that_lies_in_one_manifest():
    conflict = Reason.CONFLICTING_NAMES
    assert [one[3] for one in channels_of(CHANNELS, "path,channel,machine_id\n0.wav,1,C\n")] == [None, conflict]
    assert [one[3] for one in channels_of(CHANNELS, "path,machine_id\n0.wav,A\n")] == [None, conflict]
    assert [one[3] for one in channels_of(CHANNELS + "0.wav,1,C\n")] == [conflict]


def test_a_channel_is_a_number():
    with pytest.raises(BadConfiguration, match="'left' is no channel"):
        read_manifest("path,channel\n0.wav,left\n", "m.csv")
