"""`humwatch alarms` as people call it."""

import getpass

import pytest
from operator_lake import humwatch, plant, work_on

from humwatch.storage.lake import Lake
from humwatch.tasks.ingest.task import ingest_sources


@pytest.fixture
def lake(tmp_path):
    (tmp_path / "nights" / "2026-01-05").mkdir(parents=True)
    plant(tmp_path / "nights" / "2026-01-05")
    ingest_sources.fn(work_on(tmp_path / "lake"), [str(tmp_path / "nights")])
    return tmp_path / "lake"


def test_a_note_is_kept_with_who_and_when_and_can_be_withdrawn(lake, monkeypatch):
    said = humwatch("alarms", "note", "pump/id_01", "--lake", lake, "--text", "[loud]", "--json")
    assert said.status == 0
    action = said.json["action"]
    assert (said.json["command"], said.json["added"], said.json["errors"]) == ("alarms note", True, [])
    assert {name: action[name] for name in ("machine", "action", "night", "text", "by")} == {
        "machine": "pump id_01", "action": "note", "night": "2026-01-05", "text": "[loud]", "by": getpass.getuser(),
    }  # fmt: skip
    again = humwatch("alarms", "note", "pump/id_01", "--lake", lake, "--text", "[loud]")
    assert again.status == 0
    assert "was kept before: nothing added" in again.stdout
    monkeypatch.setenv("HUMWATCH_USER", "kim")
    withdrawn = humwatch("alarms", "undo", action["action_id"], "--lake", lake)
    assert withdrawn.status == 0
    assert "undo of 2026-01-05 by kim" in withdrawn.stdout
    listed = humwatch("alarms", "list", "--lake", lake)
    assert "[loud]" in listed.stdout
    rows = humwatch("alarms", "list", "--lake", lake, "--machines", "pump/*", "--json").json["actions"]
    assert [(row["action"], row["by"], row["withdrawn_by"]) for row in rows] == [
        ("note", getpass.getuser(), "kim"), ("undo", "kim", None),
    ]  # fmt: skip
    assert humwatch("alarms", "list", "--lake", lake, "--machines", "fan/*", "--json").json["actions"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("note", "pump/id_1", "--text", "x"), "machine 'pump/id_1': there is none; did you mean pump/id_01"),
        (("mute", "pump/id_01", "--until", "2026-13-01"), "until '2026-13-01' is no date"),
        (("mute", "pump/id_01"), "name its last night, until"),
        (("ack", "pump/id_01"), "no alarm of pump/id_01 stands on 2026-01-05"),
        (("repaired", "pump/id_01"), "name its night"),
        (("repaired", "pump/id_01", "--night", "2026-01-06"), "no machine was heard on it"),
        (("undo", "abc"), "action 'abc': there is none"),
    ],
)
def test_what_cannot_be_is_bad_usage_and_keeps_nothing(lake, arguments, message):
    answer = humwatch("alarms", *arguments, "--lake", lake, "--json")
    assert (answer.status, answer.json["errors"][0]["code"]) == (2, "bad_configuration")
    assert message in answer.json["errors"][0]["message"]
    assert Lake(str(lake)).list("actions") == []


def test_alarms_need_a_lake(tmp_path):
    answer = humwatch("alarms", "note", "pump/id_01", "--lake", tmp_path / "gone", "--text", "x", "--json")
    assert (answer.status, answer.json["errors"][0]["code"]) == (1, "source_not_found")
    assert not (tmp_path / "gone").exists()


def test_a_user_without_a_name_has_to_give_one(lake, monkeypatch):
    def nobody():
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", nobody)
    answer = humwatch("alarms", "note", "pump/id_01", "--lake", lake, "--text", "x", "--json")
    assert answer.status == 2
    assert "--by, or HUMWATCH_USER" in answer.json["errors"][0]["message"]
    assert humwatch("alarms", "note", "pump/id_01", "--lake", lake, "--text", "x", "--by", "kim").status == 0
