"""People are told through the command line, on a real webhook and a real mail server: once, and of failures."""

import json
import os
import shutil
import signal
from pathlib import Path

import pandas as pd
import pytest
import small_fleet
import warm
from conftest import dask_address, prefect_api, run_humwatch
from listeners import SECRET, MailServer, Webhook, text_of
from prefect.blocks.system import Secret
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_server import ask
from small_fleet import LAST, PLAN

from humwatch.flows.simulation import simulate
from humwatch.storage.naming import digest
from humwatch.tasks.notify.task import EVENT

pytestmark = pytest.mark.slow

FLEET = (*small_fleet.FLEET, "--set", "notify.reports_url=https://plant.example/pages/")


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """The small fleet, of which nobody was told."""
    folder = tmp_path_factory.mktemp("telling")
    fleet = simulate(PLAN, folder / "nights", workers=1)
    faulty = pd.read_csv(fleet.machines_csv).dropna(subset="onset").iloc[0]["machine_id"]
    ran = run_humwatch("nightly", folder / "nights", "--lake", folder / "lake", *FLEET)
    assert ran.status == 0, ran.stdout + ran.stderr
    assert "told" not in ran.summary
    assert not (folder / "lake" / "notices").exists()
    return folder / "lake", folder / "nights", faulty


@pytest.fixture
def lake(judged, tmp_path):
    return Path(shutil.copytree(judged[0], tmp_path / "lake"))


def nightly(lake, *arguments, urls):
    return run_humwatch("nightly", *arguments, "--lake", lake, *FLEET, env={"HUMWATCH_NOTIFY_URLS": urls})


def events(lake):
    found = ask(f"{prefect_api()}/events/filter", {"filter": {"event": {"name": [EVENT]}}, "limit": 50})["events"]
    return [
        event for event in found if event["resource"]["prefect.resource.id"] == f"humwatch.lake.{digest(str(lake))}"
    ]


def test_a_night_is_told_once_to_each_channel_and_no_address_is_kept(judged, lake):
    _, sources, faulty = judged
    with Webhook() as webhook, MailServer() as mail_server, Webhook() as down:
        down.status = 503
        urls = f"{webhook.url}\n{mail_server.url}, {down.url}"
        ran = nightly(lake, sources, "--verbose", urls=urls)
        assert ran.status == 0, ran.stderr
        assert [told["state"] for told in ran.summary["told"]] == ["sent", "sent", "failed"]
        again = nightly(lake, sources, urls=urls)
        assert again.status == 0
        (failed,) = again.summary["told"]
        assert (failed["channel"], failed["state"]) == ("3 (JSON)", "failed")
        assert failed["message"].endswith("refused with status 503")
        down.status, down.told = 200, []
        backfilled = run_humwatch(
            *("backfill", sources, "--lake", lake, "--from", "2026-01-10", "--to", LAST, *FLEET),
            env={"HUMWATCH_NOTIFY_URLS": urls},
        )
        assert [told["channel"] for told in backfilled.summary["told"]] == ["3 (JSON)"]
    (told,) = webhook.told
    (mail,) = mail_server.mails
    assert told["title"].startswith(f"Humwatch, {LAST}: ")
    first, *_, link = told["message"].splitlines()
    assert first.startswith("New alarm: fan ")
    assert f"fan {faulty}, since" in told["message"]
    assert f"fan {faulty}, since" in text_of(mail)
    report = Path(ran.summary["report"])
    assert link == f"https://plant.example/pages/{report.parent.name}/index.html"
    assert [one["message"] for one in down.told] == [told["message"]]
    said = "".join([ran.stdout, ran.stderr, again.stdout, again.stderr, json.dumps(events(lake))])
    assert "refused with status 503" in json.dumps(events(lake))
    assert SECRET not in said
    secret = SECRET.encode()
    assert not [path for path in lake.rglob("*") if path.is_file() and secret in path.read_bytes()]


def test_a_command_killed_between_sending_and_noting_tells_nobody_twice(judged, lake):
    _, sources, _ = judged
    with Webhook() as webhook:
        environment = {
            "PREFECT_API_URL": prefect_api(), "HUMWATCH_DASK__ADDRESS": dask_address(),
            "HUMWATCH_NOTIFY_URLS": webhook.url,
        }  # fmt: skip
        assert warm.can_run(environment, {"PREFECT_API_URL": prefect_api()})
        process = warm.begin(["nightly", str(sources), "--lake", str(lake), *FLEET], environment)
        webhook.before = lambda: os.killpg(process.pid, signal.SIGKILL)
        process.join(240)
        assert process.exitcode == -signal.SIGKILL
        webhook.before = lambda: None
        (begun,) = lake.glob("notices/*/*/begun.json")
        assert not list(lake.glob("notices/*/*/ended.json"))
        for _ in range(2):
            ran = nightly(lake, sources, urls=webhook.url)
            assert ran.status == 0
            (told,) = ran.summary["told"]
            assert told["state"] == "unsure"
            assert told["message"].endswith(f"not sent again: {json.loads(begun.read_text())['title']}")
        doctor = run_humwatch(
            *("doctor", "--lake", lake, "--backbone", "fake"), env={"HUMWATCH_NOTIFY_URLS": webhook.url}
        )
        (check,) = [check for check in doctor.summary["checks"] if check["check"] == "notify"]
        assert check["state"] == "warn"
        assert "may not have arrived" in check["found"]
        assert len(webhook.told) == 1


def test_a_night_that_fails_is_told_once(lake, tmp_path):
    refused = f"https://somebody:{SECRET}@127.0.0.1:1/gone.zip?signature={SECRET}"
    with Webhook() as webhook:
        for where, source in ((lake, tmp_path / "gone"), (tmp_path / "new", refused)):
            for states in (["sent"], []):
                ran = nightly(where, source, urls=webhook.url)
                assert (ran.status, [told["state"] for told in ran.summary.get("told", ())]) == (1, states)
        some, all_of_it = webhook.told
        assert "new alarm" in some["title"]  # the night was judged all the same
        assert "Failure: ingest: source_not_found: " in some["message"]
        assert all_of_it["title"].endswith(": 1 failure")
        assert all_of_it["message"].startswith("Failure: ")
        assert "127.0.0.1:1/gone.zip" in all_of_it["message"]
        assert SECRET not in some["message"] + all_of_it["message"]
        backfilled = run_humwatch(  # the same failure, whatever the night
            *("backfill", tmp_path / "gone", "--lake", lake, "--from", "2026-01-10", "--to", LAST, *FLEET),
            env={"HUMWATCH_NOTIFY_URLS": webhook.url},
        )
        assert (backfilled.status, len(webhook.told)) == (1, 2)


def test_addresses_are_read_from_secret_blocks(judged, lake):
    with Webhook() as webhook, temporary_settings({PREFECT_API_URL: prefect_api()}):
        Secret(value=f"{webhook.url}\n").save("plant-chat", overwrite=True)
        given = ("--set", "notify.secret_blocks=['plant-chat', 'nowhere']")
        ran = run_humwatch("nightly", judged[1], "--lake", lake, *FLEET, *given)
        assert ran.status == 0
        unreadable, told = ran.summary["told"]
        assert (unreadable["channel"], unreadable["state"]) == ("nowhere", "failed")
        assert unreadable["message"] == "the Prefect secret block cannot be read (ValueError)"
        assert (told["channel"], told["state"]) == ("1 (JSON)", "sent")
        assert len(webhook.told) == 1
        assert SECRET not in ran.stdout + ran.stderr


def test_an_address_that_is_none_fails_no_night(judged, lake):
    ran = nightly(lake, judged[1], urls=f"nothing://{SECRET}")
    assert ran.status == 0
    assert [(told["channel"], told["state"]) for told in ran.summary["told"]] == [("1", "failed")]
    assert SECRET not in ran.stdout + ran.stderr


def test_that_nothing_arrived_of_a_night_by_the_clock_is_told_once(judged, lake):
    """The newest night is from January 2026, so tonight is overdue."""
    _, sources, _ = judged
    with Webhook() as webhook:
        overdue = [nightly(lake, sources, "--by-clock", urls=webhook.url) for _ in range(2)]
    assert [ran.status for ran in overdue] == [4, 4]
    about = [line for told in webhook.told for line in told["message"].splitlines() if "nothing arrived" in line]
    (said,) = about
    assert f"the newest night with recordings is {LAST}" in said
