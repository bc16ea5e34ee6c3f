"""What channels are told over the nights of a made-up fleet: once, the worst first, whatever goes wrong in between."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from typing import ClassVar

import pandas as pd
import pyarrow as pa
import pytest
from lakes import small
from listeners import SECRET, MailServer, Webhook, text_of

from humwatch.storage.alarm_actions import ACTIONS, put_actions
from humwatch.storage.errors import StorageFull
from humwatch.storage.lake import Lake
from humwatch.storage.notices import channel_id, known_channel
from humwatch.storage.tables import MACHINE_NIGHTS, create_table
from humwatch.tasks.notify.news import News
from humwatch.tasks.notify.task import Delivery, tell_channels
from humwatch.tasks.plan.night_tables import table_path
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.scope import Scope

LINK = "https://plant.example/reports/night-x/index.html"


def night(day):
    return f"2026-01-{day:02d}"


@pytest.fixture
def webhook(monkeypatch):
    with Webhook() as server:
        monkeypatch.setenv("HUMWATCH_NOTIFY_URLS", server.url)
        yield server


class Plant:
    """A lake with nights that are made up: states by machine, `n` normal, `a` alarm, `s` silent, `u` unhealthy."""

    STATES: ClassVar = {"n": "normal", "a": "alarm", "s": "silent", "u": "unhealthy_sensor", "A": "silent"}

    def __init__(self, uri):
        self.run = Run(uri, small(report={"title": "Plant"}))

    def nights(self, **machines):
        """Keep every night anew; `A` is silent while its alarm stands."""
        key = self.run.nights_key(self.run.variants[0])
        self.run.lake.delete(f"nights/{key}")
        (shown,) = self.run.variants
        rows = []
        for machine, states in machines.items():
            since = None
            for day, letter in enumerate(states, 1):
                stands = letter in "aA"
                raised = stands and since is None
                since = (since or night(day)) if stands else None
                row = {
                    "machine_type": "fan", "machine_id": machine, "night": night(day), "alarm_since": since,
                    "new_alarm": raised, "backbone": shown.backbone, "detector": shown.detector, "seed": shown.seed,
                    "state": self.STATES[letter], "reason": "stuck\nfan x: forged" if letter == "u" else None,
                    "evidence": 12.0, "level_alarm": 8.0, "onset": night(day) if raised else None,
                }  # fmt: skip
                rows.append({**dict.fromkeys(MACHINE_NIGHTS.names), **row})
        for name, table in pd.DataFrame(rows, columns=MACHINE_NIGHTS.names).groupby("night"):
            made = pa.Table.from_pandas(table, schema=MACHINE_NIGHTS, preserve_index=False)
            create_table(self.run.lake, table_path(key, name, None, "made up"), made)
        self.last = max(row["night"] for row in rows)
        return self

    def tell(self, *of_run, judged=True, **notify):
        sections = {"report": {"title": "Plant"}, "notify": notify}
        run = Run(self.run.lake_uri, small(**sections), Scope(frozenset({self.last})))
        return tell_channels.fn(run, self.last, of_run, LINK, judged=judged)


@pytest.fixture
def plant(tmp_path):
    return Plant(str(tmp_path / "lake"))


def states(deliveries):
    return [delivery.state for delivery in deliveries]


def test_one_message_with_the_worst_first_and_a_link(plant, webhook):
    plant.nights(a_silent="nns", b_broken="nnu", c_wrong="nna", d_fine="nnn")
    assert states(plant.tell(News("failed", "source_gone", "ingest: source_gone: b.zip", night(3)))) == ["sent"]
    (told,) = webhook.told
    assert told["title"] == "Plant, 2026-01-03: 1 new alarm, 1 failure, 1 silent machine, 1 unhealthy sensor"
    assert told["message"].splitlines() == [
        "New alarm: fan c_wrong, since 2026-01-03; changed on 2026-01-03; evidence 1.5 times the level of an alarm",
        "Failure: ingest: source_gone: b.zip",
        "Silent machine: fan a_silent, since 2026-01-03",
        "Unhealthy sensor: fan b_broken, since 2026-01-03: stuck fan x: forged",
        LINK,
    ]


def test_nothing_to_say_is_no_message_and_without_channels_nothing_is_kept(plant, webhook, monkeypatch):
    plant.nights(fine="nnn")
    assert plant.tell() == []
    monkeypatch.delenv("HUMWATCH_NOTIFY_URLS")
    plant.nights(wrong="nna")
    assert plant.tell() == []
    assert not webhook.told
    assert not plant.run.lake.list("notices", "begun.json")


def test_each_thing_is_told_once_over_reruns_and_nights(plant, webhook):
    for states_until in ("na", "naa", "naaa"):
        plant.nights(wrong=states_until)
        plant.tell()
        plant.tell()
    assert [told["title"] for told in webhook.told] == ["Plant, 2026-01-02: 1 new alarm"]
    plant.nights(wrong="naaan")
    for _ in range(2):
        plant.tell()
    assert webhook.told[1:] == [
        {
            **webhook.told[1],
            "title": "Plant, 2026-01-05: 1 alarm cleared",
            "message": f"Alarm cleared: fan wrong\n{LINK}",
        }
    ]
    assert webhook.told[1]["type"] == "success"
    plant.nights(wrong="naaanna")
    for _ in range(2):
        plant.tell()
    assert len(webhook.told) == 3
    assert webhook.told[2]["title"] == "Plant, 2026-01-07: 1 new alarm"


def test_another_night_with_something_new_tells_only_that(plant, webhook):
    plant.nights(wrong="na", other="nn")
    plant.tell()
    plant.nights(wrong="naa", other="nna")
    plant.tell()
    assert [told["message"].count("New alarm") for told in webhook.told] == [1, 1]
    assert "other" in webhook.told[1]["message"]


def test_a_muted_machine_is_told_of_when_that_is_over_and_what_was_told_before_is_not_again(plant, webhook):
    plant.nights(known="na", later="nn", other="nn")
    plant.tell()
    assert len(webhook.told) == 1
    for machine in ("known", "later"):
        muted = {
            "action_id": machine, "action": "mute", "machine_type": "fan", "machine_id": machine, "by": "Kim",
            "night": night(2), "until": night(3), "at": datetime(2026, 1, 2, tzinfo=UTC),
        }  # fmt: skip
        put_actions(plant.run.lake, [{**dict.fromkeys(ACTIONS.names), **muted}])
    plant.nights(known="naa", later="nna", other="nna")
    plant.tell()
    assert [told["title"] for told in webhook.told[1:]] == ["Plant, 2026-01-03: 1 new alarm"]
    assert "other" in webhook.told[1]["message"]
    plant.nights(known="naaa", later="nnaa", other="nnaa")
    plant.tell()
    (told,) = webhook.told[2:]
    assert told["title"] == "Plant, 2026-01-04: 1 new alarm"
    assert "later" in told["message"]


def test_what_was_over_in_between_is_told_again_though_nobody_ran_then(plant, webhook):
    plant.nights(wrong="ns")
    plant.tell()
    plant.nights(wrong="nss")
    assert plant.tell() == []
    plant.nights(wrong="nssns")
    assert states(plant.tell()) == ["sent"]
    plant.nights(wrong="nssnsss")
    assert plant.tell() == []
    assert [told["title"] for told in webhook.told] == [f"Plant, {night(day)}: 1 silent machine" for day in (2, 5)]


def test_an_alarm_that_stands_while_its_machine_is_silent_is_not_told_anew(plant, webhook):
    plant.nights(wrong="na")
    plant.tell()
    plant.nights(wrong="naA")
    plant.tell()
    plant.nights(wrong="naAa")
    assert plant.tell() == []
    assert [told["title"] for told in webhook.told] == [
        "Plant, 2026-01-02: 1 new alarm", "Plant, 2026-01-03: 1 silent machine",
    ]  # fmt: skip


@pytest.mark.slow
def test_what_lasts_longer_than_is_looked_at_is_told_once(plant, webhook, monkeypatch):
    monkeypatch.setattr("humwatch.tasks.notify.task.WINDOW_NIGHTS", 4)
    monkeypatch.setattr("humwatch.tasks.notify.news.WINDOW_NIGHTS", 4)
    for nights in range(2, 12):
        plant.nights(wrong="n" + "s" * (nights - 1))
        plant.tell()
    assert len(webhook.told) == 1
    with Webhook() as other:
        monkeypatch.setenv("HUMWATCH_NOTIFY_URLS", other.url)
        for _ in range(2):
            plant.tell()
        assert len(other.told) == 1


def test_an_alarm_that_labels_take_back_is_cleared(plant, webhook):
    plant.nights(wrong="na")
    plant.tell()
    plant.nights(wrong="nn")
    assert states(plant.tell()) == ["sent"]
    assert plant.tell() == []
    assert webhook.told[-1]["title"] == "Plant, 2026-01-02: 1 alarm cleared"


def test_many_are_counted_and_the_rest_is_on_the_page(plant, webhook):
    plant.nights(**{f"fan_{number:02d}": "na" for number in range(40)})
    plant.tell()
    lines = webhook.told[0]["message"].splitlines()
    assert webhook.told[0]["title"] == "Plant, 2026-01-02: 40 new alarms"
    assert len(lines) == 17
    assert lines[-2:] == ["and 25 more", LINK]


@pytest.mark.slow
def test_a_channel_that_is_down_is_told_by_the_next_run_and_the_others_not_again(plant, monkeypatch):
    with Webhook() as up, MailServer() as mail_server:
        with Webhook() as down:
            pass
        monkeypatch.setenv("HUMWATCH_NOTIFY_URLS", f"{up.url}\n{down.url}\n{mail_server.url}")
        plant.nights(wrong="na")
        told = [plant.tell(), plant.tell()]  # nobody listens, twice
        assert states(told[0]) == ["sent", "failed", "sent"]
        assert [(delivery.channel, delivery.state) for delivery in told[1]] == [("2 (JSON)", "failed")]
        assert told[1][0].message == "Plant, 2026-01-02: 1 new alarm: no connection"
        with down:
            down.status = 503
            assert states(plant.tell()) == ["failed"]
            down.status, down.told = 200, []
            assert states(plant.tell()) == ["sent"]
            assert plant.tell() == []
            assert len(up.told) == len(down.told) == len(mail_server.mails) == 1
        assert "fan wrong" in text_of(mail_server.mails[0])


def test_an_answer_that_is_lost_is_told_as_such_and_nothing_is_sent_again(plant, webhook):
    plant.nights(wrong="na", other="nn")
    webhook.status = None
    assert states(plant.tell()) == ["unsure"]
    webhook.status = 200
    (again,) = plant.tell()
    assert again.state == "unsure"
    assert again.message.endswith("not sent again: Plant, 2026-01-02: 1 new alarm")
    assert len(webhook.told) == 1
    plant.nights(wrong="naa", other="nna")
    assert states(plant.tell()) == ["sent"]
    assert "An earlier message may not have arrived: Plant, 2026-01-02: 1 new alarm" in webhook.told[1]["message"]
    assert "wrong" not in webhook.told[1]["message"]
    assert plant.tell() == []


@pytest.mark.slow
@pytest.mark.parametrize("server", [Webhook, MailServer])
def test_a_run_that_is_killed_between_sending_and_noting_tells_nobody_twice(plant, monkeypatch, server, tmp_path):
    plant.nights(wrong="na")
    script = (
        "import sys; from test_notify import Plant; plant = Plant(sys.argv[1]); plant.last = sys.argv[2]; "
        "print('ready', flush=True); plant.tell(); print('noted', flush=True)"
    )
    with server() as listening:
        monkeypatch.setenv("HUMWATCH_NOTIFY_URLS", listening.url)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", script, plant.run.lake_uri, plant.last]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            # The message is here, and its sender is gone before it hears so.
            listening.before = lambda: (os.kill(process.pid, signal.SIGKILL), process.wait())
            said = process.stdout.read()
        assert (said, process.returncode) == ("ready\n", -signal.SIGKILL)
        listening.before = lambda: None
        received = listening.told if server is Webhook else listening.mails
        assert len(received) == 1
        assert states(plant.tell()) == ["unsure"]
        assert states(plant.tell()) == ["unsure"]
        assert len(received) == 1


def test_a_run_that_is_killed_before_sending_is_told_of_too(plant, webhook):
    plant.nights(wrong="na")
    plant.tell()
    (ended,) = plant.run.lake.list("notices", "ended.json")
    plant.run.lake.delete(ended)
    (delivery,) = plant.tell()
    assert delivery.state == "unsure"
    assert len(webhook.told) == 1


def test_two_runs_at_once_send_one_message(plant, webhook):
    plant.nights(wrong="na")
    others = []

    def another():
        webhook.before = lambda: None
        others.extend(plant.tell())

    webhook.before = another
    assert states(plant.tell()) == ["sent"]
    assert states(others) == ["unsure"]  # it sees the message that is being sent
    assert len(webhook.told) == 1


def test_a_failure_is_told_once_a_night_and_code_though_it_comes_again(plant, webhook):
    plant.nights(fine="nn")
    for day, codes in ((2, "storage_full"), (2, "storage_full"), (2, "workers_lost"), (3, "storage_full")):
        plant.tell(News("failed", codes, f"{codes}: no", night(day)), judged=False)
    assert [told["message"].splitlines()[0] for told in webhook.told] == [
        "Failure: storage_full: no", "Failure: workers_lost: no", "Failure: storage_full: no",
    ]  # fmt: skip


def test_a_failure_forgets_no_alarm_and_clears_none(plant, webhook):
    plant.nights(wrong="na")
    plant.tell()
    plant.tell(News("failed", "storage_full", "no", night(3)), judged=False)
    plant.nights(wrong="naa")
    assert plant.tell() == []
    plant.nights(wrong="naan")
    plant.tell()
    assert [told["title"].split(": ")[1] for told in webhook.told] == ["1 new alarm", "1 failure", "1 alarm cleared"]


class Full(Lake):
    def create(self, path, data):
        raise StorageFull("no room")


def test_a_failure_is_told_though_the_lake_cannot_note_it_and_nothing_else_is(plant, webhook, monkeypatch):
    plant.nights(wrong="na")
    monkeypatch.setattr("humwatch.tasks.plan.run.Lake", Full)
    assert states(plant.tell()) == ["failed"]
    assert not webhook.told
    assert states(plant.tell(News("failed", "storage_full", "no room", night(2)), judged=False)) == ["sent"]
    assert [told["title"] for told in webhook.told] == ["Plant, 2026-01-02: 1 failure"]


def test_a_message_that_arrived_and_could_not_be_noted_is_not_sent_again(plant, webhook, monkeypatch):
    class FullAtLast(Lake):
        def create(self, path, data):
            if path.endswith("ended.json"):
                raise StorageFull("no room")
            return super().create(path, data)

    plant.nights(wrong="na")
    monkeypatch.setattr("humwatch.tasks.plan.run.Lake", FullAtLast)
    assert states(plant.tell()) == ["unsure"]
    monkeypatch.undo()
    monkeypatch.setenv("HUMWATCH_NOTIFY_URLS", webhook.url)
    assert states(plant.tell()) == ["unsure"]
    assert len(webhook.told) == 1


def test_addresses_are_in_no_object_of_the_lake_and_their_names_in_it_are_hard_to_guess(plant, webhook):
    plant.nights(wrong="na")
    deliveries = plant.tell()
    lake = plant.run.lake
    kept = {path: lake.read(path).decode(errors="replace") for path in lake.list("")}
    assert len([path for path in kept if path.startswith("notices/")]) == 3
    for secret in (SECRET, webhook.url, str(webhook.port)):
        assert secret not in json.dumps(kept) + repr(deliveries)
    other = Lake.open(f"{lake.uri}-2")
    assert channel_id(lake, webhook.url) == channel_id(lake, webhook.url) != channel_id(other, webhook.url)
    assert known_channel(Lake(f"{lake.uri}-3"), webhook.url) is None


def test_a_secret_block_that_cannot_be_read_is_told_and_the_others_are_used(plant, webhook, monkeypatch):
    def load(name):
        raise ValueError(f"{SECRET} is not there")

    monkeypatch.setattr("prefect.blocks.system.Secret.load", load)
    plant.nights(wrong="na")
    deliveries = plant.tell(secret_blocks=["plant-chat"])
    assert states(deliveries) == ["failed", "sent"]
    assert deliveries[0] == Delivery("plant-chat", "failed", "the Prefect secret block cannot be read (ValueError)")
