"""The pages of a night say what the table of nights says, escape what they are given, and lead to each other."""

import dataclasses
import re
from datetime import UTC, datetime

import numpy as np
import pytest
import site_samples as samples
from markupsafe import escape

from humwatch.tasks.reports.night.site import pages


@pytest.fixture(scope="module")
def site():
    return samples.sample_site(30)


@pytest.fixture(scope="module")
def published(site):
    return {name: data.decode() for name, data in pages(site)}


def view(site, state):
    return next(view for view in site.fleet.machines if view.state == state)


def text(page):
    body = re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def test_an_alarm_that_stands_is_not_called_new(site):
    quiet = tuple(
        dataclasses.replace(found, nights=[{**row, "new_alarm": False} for row in found.nights])
        for found in site.fleet.machines
    )
    fleet = dataclasses.replace(site.fleet, machines=quiet)
    assert "New alarms" not in fleet.changes()
    page = text(dict(pages(dataclasses.replace(site, fleet=fleet)))["index.html"].decode())
    assert "in alarm" in page
    assert "of them new" not in page


def test_a_page_a_machine_beside_the_fleet_and_the_mail(site, published):
    assert list(published)[:2] == ["index.html", "mail.html"]
    assert set(published) == {"index.html", "mail.html", *(view.page for view in site.fleet.machines)}
    linked = re.findall(r'href="(machines/[^"]+)"', published["index.html"])
    assert set(linked) == {view.page for view in site.fleet.machines}
    for found in site.fleet.machines:
        assert set(re.findall(r'<a href="([^"]+)"', published[found.page])) == {"../../index.html", "../index.html"}


def test_the_fleet_page_answers_first(site, published):
    page = text(published["index.html"])
    assert "2 machines are in alarm , 1 of them new; 1 needs attention; 3 cannot be judged" in page
    assert "30 machines · " in page
    assert "Since the night before, 2026-11-20" in page
    for title, views in site.fleet.changes().items():
        assert f"{len(views)} {title}" in page


def test_a_fleet_without_alarms_or_history_says_so(site):
    calm = [found for found in site.fleet.machines if found.state == "normal"]
    calm = [dataclasses.replace(found, before=found.tonight) for found in calm]
    quiet = dataclasses.replace(site, fleet=dataclasses.replace(site.fleet, machines=calm), rejected=site.rejected[:0])
    (_, index), (_, mail), *_ = pages(quiet)
    assert "No machine is in alarm." in text(index.decode())
    assert "No alarm was raised or cleared" in text(index.decode())
    assert "None: every recording listed was accepted." in text(index.decode())
    assert "Every machine is normal." in text(mail.decode())
    first = dataclasses.replace(quiet, fleet=dataclasses.replace(quiet.fleet, previous=None))
    assert "This is the first night" in text(next(pages(first))[1].decode())


def test_too_many_rejects_are_told_on_the_fleet_page_and_in_the_mail(site):
    (_, index), (_, mail), *_ = pages(dataclasses.replace(site, degraded=True))
    assert "Degraded." in text(index.decode())
    assert "Degraded:" in text(mail.decode())


def test_a_machine_in_alarm_has_its_nights_its_onset_and_what_to_hear(site, published):
    alarm = site.fleet.machines[1]
    page = published[alarm.page]
    tonight = alarm.tonight
    assert f"since {tonight['alarm_since']}" in text(page)
    assert f"probably began on {tonight['onset']}" in text(page)
    assert page.count('class="history"') == 7
    assert page.count("<audio ") == page.count('src="data:audio/mpeg;base64,') == 3
    assert page.count('class="spectrogram"') == 4  # of the first recording also what drove its score
    assert "What drove the score of it&#39;s &#34;quoted&#34;" in page
    assert "model 9f31c0" in page
    assert "10 of 24 shown" in text(page)
    assert text(page).count(tonight["night"]) > 2


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("unhealthy_sensor", "22 of 24 recordings were rejected: dead_channel"),
        ("silent", "last heard on"),
        ("learning", "No night has a score."),
        ("normal", "24 shown"),
        ("attention", "If it is a change, it probably began on"),
    ],
)
def test_a_machine_in_another_state_says_why(site, published, state, told):
    page = published[view(site, state).page]
    assert told in text(page)
    assert ("<audio" in page) == (state == "attention")


def test_markup_is_escaped_everywhere(published):
    hostile = 0
    for name, page in published.items():
        assert samples.HOSTILE not in page, name
        assert page.count("<script>") == (name == "index.html"), name
        hostile += "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        assert "<b>bold" not in page
        policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
        assert policy.startswith("default-src &#39;none&#39;;")
        assert "unsafe" not in policy
    assert hostile == 3


def test_the_mail_needs_nothing_and_names_what_is_not_normal(site, published):
    mail = published["mail.html"]
    assert not re.search(r"<script|<img|<svg|href=|src=|url\(|@import", mail)
    for found in site.fleet.machines:
        changed = found.machine.machine_id in ("id_003", "id_008")  # an alarm cleared, one that is back
        assert (str(escape(found.machine.label)) in mail) == (found.state != "normal" or changed)


def test_a_machine_with_one_night_and_no_figures_has_a_page(site):
    bare = dict.fromkeys(site.fleet.machines[0].tonight)
    bare |= {"night": samples.TONIGHT, "state": "learning", "machine_type": "fan", "machine_id": "new"}
    bare |= {"n_recordings": 0, "n_rejected": 0, "reference_nights": 0, "backbone": "net", "detector": "gmm", "seed": 0}
    one = dataclasses.replace(view(site, "learning"), nights=[bare], before=None, since=samples.TONIGHT)
    *_, (_, page) = pages(dataclasses.replace(site, fleet=dataclasses.replace(site.fleet, machines=[one])))
    assert "No model has scored it yet." in text(page.decode())


def test_other_models_are_beside_the_one_that_is_shown(site):
    alarm = site.fleet.machines[0]
    other = alarm.tonight | {"detector": "knn", "state": "normal"}
    both = dataclasses.replace(alarm, others=[other])
    *_, (_, page) = pages(dataclasses.replace(site, fleet=dataclasses.replace(site.fleet, machines=[both])))
    assert "Other models tonight" in text(page.decode())
    assert "squeezenet1_1 · knn" in text(page.decode())


def test_the_same_night_gives_the_same_pages(site, published):
    again = {name: data.decode() for name, data in pages(samples.sample_site(30))}
    assert again == published
    assert np.mean([len(page) for page in published.values()]) < 120_000


def test_what_people_did_is_on_the_page_with_who_and_when(site):
    alarm, other = view(site, "alarm"), view(site, "normal")
    said = {
        "acknowledged_by": "kim", "acknowledged_at": "2026-11-20T08:00:00+00:00", "muted_by": "lee",
        "muted_until": "2026-12-01", "repaired": "2026-11-02", "note": "<i>loud</i>",
    }  # fmt: skip
    known = dataclasses.replace(alarm, nights=[*alarm.nights[:-1], alarm.tonight | said])
    at = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
    rows = [
        {"action_id": "abc", "action": action, "night": "2026-11-20", "until": until, "text": text, "by": "kim",
         "at": at, "withdrawn_by": by, "withdrawn_at": by and at}
        for action, until, text, by in (
            ("ack", None, "bearing <ordered>", None), ("mute", "2026-12-01", None, "lee"), ("note", None, "loud", None),
            ("repaired", None, None, None),
        )
    ]  # fmt: skip
    fleet = dataclasses.replace(site.fleet, machines=[known, other])
    made = {
        name: data.decode()
        for name, data in pages(dataclasses.replace(site, fleet=fleet, actions={known.machine: rows}))
    }
    page = text(made[known.page])
    for words in (
        "Acknowledged by kim on 2026-11-20", "Muted by lee through 2026-12-01", "nights before 2026-11-02 are no ref",
        "2026-11-20 08:30 kim Acknowledged 2026-11-20 bearing &lt;ordered&gt; abc",
        "Muted through 2026-12-01 withdrawn by lee, 2026-11-20 08:30", "Note : &lt;i&gt;loud&lt;/i&gt;",
    ):  # fmt: skip
        assert words in page
    assert "What people did" not in made[other.page]
    assert "1 acknowledged or muted" in text(made["index.html"])
    for name in ("index.html", "mail.html"):
        assert "acknowledged by kim" in text(made[name])
        assert "muted through 2026-12-01" in text(made[name])
