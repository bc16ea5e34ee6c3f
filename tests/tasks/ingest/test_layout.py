"""Layout templates: what they say, where they fit, what is no template, and what comes before and after them."""

from datetime import UTC, datetime

import pytest

from humwatch.flows.presets import load
from humwatch.storage.errors import BadConfiguration
from humwatch.storage.reasons import Reason
from humwatch.storage.sources import ManifestFile, Member
from humwatch.tasks.ingest.manifest import read_facts
from humwatch.tasks.ingest.name_rules import NameRules
from humwatch.tasks.ingest.names import file_key, read_name
from humwatch.tasks.settings import IngestSettings


def rules(*layout, **settings):
    return NameRules.of(IngestSettings(layout=layout, **settings))


def said(path, *layout, **settings):
    facts = read_name(path, rules(*layout, **settings))
    assert facts.problem is None
    return {name: getattr(facts, name) for name, origin in facts.origins.items() if origin == "layout"}


def at(*numbers):
    return datetime(*numbers, tzinfo=UTC)


@pytest.mark.parametrize(
    ("template", "path", "facts"),
    [
        (
            "{site}/{machine_id}/{recorded_at:%Y/%m/%d}/{}.wav",
            "bucket/oslo/pump_03/2026/11/01/rec_0000.wav",
            {"site": "oslo", "machine_id": "pump_03", "batch": "2026-11-01"},
        ),
        (
            "{machine_type}/{machine_id}/{recorded_at:%Y/%m/%d/%H%M%S}.wav",
            "bucket/line2/pump_03/2026/11/01/010203.wav",
            {"machine_type": "line2", "machine_id": "pump_03", "recorded_at": at(2026, 11, 1, 1, 2, 3)},
        ),
        # a night, and beside it a time of day
        (
            "{batch:%d.%m.%Y}/{machine_id}/{recorded_at:%H-%M}.wav",
            "01.11.2026/press 4/23-59.WAV",
            {"batch": "2026-11-01", "machine_id": "press 4", "recorded_at": at(2026, 11, 1, 23, 59)},
        ),
        ("{batch}/{machine_id}/{}.wav", "spring/pump/x.wav", {"batch": "spring", "machine_id": "pump"}),
        # zones in the codes
        (
            "{recorded_at:%Y%m%dT%H%M%S%z}_{}",
            "20261121T020000-0500_REC.wav",
            {"recorded_at": at(2026, 11, 21, 7), "batch": "2026-11-21"},
        ),
        (
            "{recorded_at:%Y%m%dT%H%M%SZ}.wav",
            "20261121T020000Z.wav",
            {"recorded_at": at(2026, 11, 21, 2), "batch": "2026-11-21"},
        ),
        # what comes first is short where a time follows, and a fact that occurs twice reads the same twice
        (
            "{machine_id}_{recorded_at:%Y-%m-%dT%H-%M-%S}.wav",
            "flat/pump_03_2026-11-01T01-00-00.wav",
            {"machine_id": "pump_03", "recorded_at": at(2026, 11, 1, 1), "batch": "2026-11-01"},
        ),
        ("{machine_id}/{machine_id}_{}.wav", "s/pump_03/pump_03_1.wav", {"machine_id": "pump_03"}),
        # all other facts
        (
            "{domain}_{split}/{condition}/{machine_type}/{label}/{attributes}_ch{channel}.flac",
            "x/Source_TEST/6dB/fan/NG/v1_ch02.flac",
            {
                "domain": "source", "split": "test", "condition": "6_dB", "machine_type": "fan", "label": "abnormal",
                "attributes": "v1", "channel": 2, "batch": "6_dB",
            },
        ),
        # archives are folders; braces are doubled; what is special in an expression is not
        ("{site}.zip/{machine_id} (1)/{}.wav", "b/oslo.zip/p (1)/x+y.wav", {"site": "oslo", "machine_id": "p"}),
        ("{{{machine_id}}}/{}.wav", "{7}/x.wav", {"machine_id": "7"}),
        # Unicode in two forms
        ("Prüfstand {machine_id}/{}.wav", "Pru\u0308fstand 3/x.wav", {"machine_id": "3"}),
        # 2-digit years (Tascam DR: yymmdd_nnnn), days of the year, months by name
        ("{machine_id}/{recorded_at:%y%m%d}_{}.wav", "p/251121_0001.wav", {"machine_id": "p", "batch": "2025-11-21"}),
        ("{batch:%Y-%j}/{machine_id}/{}.wav", "2026-325/p/x.wav", {"batch": "2026-11-21", "machine_id": "p"}),
        ("{batch:%d %B %Y}/{machine_id}/{}", "1 May 2026/p/x.wav", {"batch": "2026-05-01", "machine_id": "p"}),
    ],
)  # fmt: skip
def test_what_a_template_says(template, path, facts):
    assert said(path, template) == facts


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("{site}/{machine_id}/{}.wav", "pump_03/x.wav"),  # not as deep
        ("{site}/{machine_id}/{}.wav", "oslo/pump_03/x.flac"),
        ("plant/{machine_id}/{}.wav", "works/pump_03/x.wav"),
        ("{machine_id}/{machine_id}_{}.wav", "pump_03/pump_04_1.wav"),
        ("{machine_id}/{batch:%Y%m%d}/{}.wav", "p/20261345/x.wav"),  # no date
        ("{machine_id}/{batch:%Y.%m.%d}/{}.wav", "p/2026-11-21/x.wav"),
        ("{machine_id}/{label}/{}.wav", "p/bearing/x.wav"),  # no label
        ("{machine_id}/ch{channel}.wav", "p/chA.wav"),
        ("pump_{machine_id}/{}.wav", "pump_/x.wav"),  # nothing there
    ],
)
def test_a_path_that_no_template_fits_is_told_and_not_guessed(template, path):
    facts = read_name(path, rules(template))
    assert (facts.problem, facts.machine_type, facts.machine_id) == (Reason.NO_LAYOUT, "unknown", "all")


def test_the_first_template_that_fits_counts():
    both = rules("calibration/{machine_id}/{}.wav", "{machine_type}/{machine_id}/{}.wav")
    assert read_name("x/calibration/7/a.wav", both).machine_type == "unknown"
    assert read_name("x/press/7/a.wav", both).machine_type == "press"


def test_what_a_template_leaves_out_of_a_machine_is_not_guessed_and_the_rest_is_found():
    facts = read_name("oslo/pump_03/OK/2026-11-01/20261102T010000Z.wav", rules("{site}/{machine_id}/{}/{}/{}.wav"))
    assert (facts.site, facts.machine_type, facts.machine_id) == ("oslo", "unknown", "pump_03")
    assert (facts.label, facts.batch, facts.recorded_at) == ("normal", "2026-11-01", at(2026, 11, 2, 1))
    assert facts.origins["machine_type"] == "default"


def test_a_template_without_a_machine_leaves_it_to_the_rules():
    facts = read_name("plant/press/7/OK/a_ch1.wav", rules("{label}/{}_ch{channel}.wav"))
    assert (facts.machine_type, facts.machine_id, facts.label, facts.channel) == ("press", "7", "normal", 1)


def test_a_manifest_comes_before_the_layout_and_the_layout_before_the_pattern():
    everything = rules("{site}/{machine_id}/{}.wav", name_pattern="(?P<site>^b)(?P<machine_type>u)")
    paths = ["bucket/oslo/pump_03/a.wav", "bucket/b.wav", "bucket/c.wav"]
    members = [Member("file:///x", path, path, 1, None, None, "none", None, "", None) for path in paths]
    manifest = ManifestFile("file:///m.csv", "bucket/", "path,machine_id,label\noslo/pump_03/a.wav,P3,ok\nb.wav,P4,\n")
    (named, given, neither), _ = read_facts(members, [manifest], everything)
    assert (named.site, named.machine_type, named.machine_id, named.label) == ("oslo", "u", "P3", "normal")
    assert named.origins["site"] == "layout"
    assert named.origins["machine_type"] == "name_pattern"
    # Whoever names the machine in a manifest needs no template.
    assert (given.machine_id, given.problem) == ("P4", None)
    assert neither.problem is Reason.NO_LAYOUT


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{colour}/{}.wav", "{colour} is unknown; known are site, machine_type"),
        ("{0}.wav", "{0} is unknown"),
        ("{site.name}.wav", "{site.name} is unknown"),
        ("{site/{}.wav", "unexpected '{'"),
        ("{site", "expected '}'"),
        ("site}/{}.wav", "Single '}'"),
        ("/{site}/{}.wav", "none before"),
        ("{site}//{}.wav", "one / between"),
        ("../{site}/{}.wav", "folders and a file name"),
        ("", "folders and a file name"),
        ("{site}{machine_id}/{}.wav", "nothing tells where {machine_id} begins"),
        ("{site!r}/{}.wav", "{site} takes no codes"),
        ("{channel:d}.wav", "{channel} takes no codes"),
        ("{:%Y}.wav", "{} takes no codes"),
        ("{recorded_at}.wav", "needs the codes of a date"),
        ("{recorded_at:%m-%d}.wav", "needs the codes of a date"),
        ("{recorded_at:%H%M%S}.wav", "needs the codes of a date"),
        ("{batch}/{recorded_at:%H%M%S}.wav", "beside it {batch:...}"),
        ("{batch:%Y%m%d}/{recorded_at:%H%M%SZ}.wav", "local time of day"),
        ("{recorded_at:%Y%m%d}/{recorded_at:%H}.wav", "two kinds of codes"),
        ("{recorded_at:%Y%m%d}/{batch}/{}.wav", "one of them is enough"),
        ("{recorded_at:%Y%m%d_%M}.wav", "needs the hour"),
        ("{recorded_at:%Y%m%d_%I%M}.wav", "needs the hour"),
        ("{batch:%Y%m%d%H}/{}.wav", "the codes of a date"),
        ("{recorded_at:%s}.wav", "'%s' is no time"),
        ("{recorded_at:%Y%m%d%Z}.wav", "is no time"),
        ("{recorded_at:%Y(%m)%d}.wav", "is no time"),
        ("{recorded_at:20%y%m%d}.wav", "begins with a code"),
    ],
)
def test_what_is_no_template_is_said_at_once(template, message):
    with pytest.raises(BadConfiguration) as caught:
        rules("{machine_id}/{}.wav", template)
    assert repr(template) in str(caught.value)
    assert message in str(caught.value)


def test_the_index_of_a_template_is_the_same_take_under_all_conditions():
    indexed = rules("{condition}/{machine_id}/{label}/{index}.wav")
    keys = {file_key(f"x/{speed}/pump/OK/0007.wav", indexed) for speed in ("slow", "fast")}
    assert keys == {"unknown/pump/normal/0007"}


def test_templates_come_from_a_file_or_the_command_line():
    one = load(assignments=["ingest.layout={site}/{machine_id}/{}.wav"]).ingest
    assert one.layout == ("{site}/{machine_id}/{}.wav",)
    assert load(assignments=['ingest.layout=["{site}/{}.wav", "{}.wav"]']).ingest.layout == ("{site}/{}.wav", "{}.wav")


def test_words_for_labels_in_other_languages():
    words = load(assignments=['ingest.label_words={Gut = "normal", "défaut" = "abnormal"}']).ingest
    german = NameRules.of(words)
    assert read_name("sound/press/7/GUT/0.wav", german).label == "normal"
    assert read_name("sound/press/7/gut_0001.wav", german).label == "normal"
    assert read_name("sound/press/7/Défaut/0.wav", german).label == "abnormal"
    assert read_name("sound/press/7/NG/0.wav", german).label == "abnormal"
    assert read_name("sound/press/7/gut/0.wav").label is None
    laid_out = NameRules.of(words.model_copy(update={"layout": ("{machine_id}/{label}/{}.wav",)}))
    assert read_name("7/gut/x.wav", laid_out).label == "normal"
    by_pattern = NameRules.of(words.model_copy(update={"name_pattern": "_(?P<label>[a-z]+)"}))
    assert read_name("7/x_gut.wav", by_pattern).label == "normal"
    member = Member("file:///x", "a.wav", "x/a.wav", 1, None, None, "none", None, "", None)
    (facts,), _ = read_facts([member], [ManifestFile("file:///m.csv", "x/", "path,label\na.wav,GUT\n")], german)
    assert facts.label == "normal"


@pytest.mark.parametrize("words", ['{gut = "fine"}', '{" " = "normal"}', '{"a/b" = "normal"}'])
def test_words_that_cannot_be_labels_are_refused(words):
    with pytest.raises(BadConfiguration, match="label_words"):
        load(assignments=[f"ingest.label_words={words}"])
