"""Models: a version is there when its passport is, one version is current, and the one before it can come back."""

import itertools
import json

import pytest
from passports import gate, passport

from humwatch.storage.errors import ModelIncompatible, SourceNotFound
from humwatch.storage.lake import Lake
from humwatch.storage.models import (
    Machine,
    current_version,
    current_versions,
    get_gate,
    get_model,
    get_passport,
    passport_path,
    put_gate,
    put_model,
    roll_back,
    set_current,
)

FAN = Machine("fan", "id_00")
KEY = "gmm-fake-s0-000000"
NAMES = ["fan", "fan@site", "..", ".", "", "a/b", "é", "%40", "a b"]


@pytest.fixture
def lake(tmp_path):
    return Lake.open(str(tmp_path / "lake"))


def test_a_version_comes_back_as_it_was_kept(lake):
    put_model(lake, KEY, FAN, "v1", b"model", passport(threshold=0.1, notes=["é"]))
    stored = get_model(lake, KEY, FAN, "v1")
    assert (stored.version, stored.model) == ("v1", b"model")
    assert stored.passport.threshold == 0.1
    assert get_passport(lake, KEY, FAN, "v1") == stored.passport
    assert stored.passport.notes == ["é"]


def test_a_version_without_its_passport_is_not_there_and_can_be_finished(lake):
    lake.create(f"models/{KEY}/fan/id_00/v1/model.skops", b"model")
    assert not lake.exists(passport_path(KEY, FAN, "v1"))
    with pytest.raises(SourceNotFound, match="passport"):
        get_model(lake, KEY, FAN, "v1")
    put_model(lake, KEY, FAN, "v1", b"model", passport(seed=1))
    assert lake.exists(passport_path(KEY, FAN, "v1"))


def test_a_version_that_is_there_is_left_as_it_is(lake):
    put_model(lake, KEY, FAN, "v1", b"first", passport(seed=1))
    put_model(lake, KEY, FAN, "v1", b"second", passport(seed=2))
    stored = get_model(lake, KEY, FAN, "v1")
    assert (stored.model, stored.passport.seed) == (b"first", 1)


def test_current_is_what_was_set_last_for_this_machine_and_key(lake):
    assert current_version(lake, KEY, FAN) is None
    set_current(lake, KEY, FAN, "v1")
    set_current(lake, KEY, FAN, "v2")
    assert current_version(lake, KEY, FAN) == "v2"
    for key, machine in [("other", FAN), (KEY, Machine("fan", "id_00", condition="6_dB")), (KEY, Machine("fan", "id"))]:
        assert current_version(lake, key, machine) is None


def test_roll_back_swaps_with_the_previous_version_and_back(lake):
    assert roll_back(lake, KEY, FAN) is None
    set_current(lake, KEY, FAN, "v1")
    assert roll_back(lake, KEY, FAN) is None
    assert current_version(lake, KEY, FAN) == "v1"
    set_current(lake, KEY, FAN, "v2")
    assert roll_back(lake, KEY, FAN) == "v1"
    assert current_version(lake, KEY, FAN) == "v1"
    assert roll_back(lake, KEY, FAN) == "v2"


def test_making_the_current_version_current_again_writes_nothing_and_keeps_the_previous_one(lake, tmp_path):
    set_current(lake, KEY, FAN, "v1")
    set_current(lake, KEY, FAN, "v2")
    pointer = tmp_path / "lake" / "models" / KEY / "fan" / "id_00" / "current.json"
    before = pointer.stat().st_mtime_ns
    set_current(lake, KEY, FAN, "v2")
    assert pointer.stat().st_mtime_ns == before
    assert json.loads(pointer.read_text()) == {"format_version": 1, "version": "v2", "previous": "v1"}


def test_a_model_that_is_not_the_one_of_its_passport_is_refused(lake):
    put_model(lake, KEY, FAN, "v1", b"model", passport())
    put_model(lake, KEY, FAN, "v2", b"other", passport())
    folder = f"models/{KEY}/fan/id_00"
    lake.write(f"{folder}/v1/model.skops", lake.read(f"{folder}/v2/model.skops"))
    with pytest.raises(ModelIncompatible, match=r"v1/model\.skops.*delete its folder"):
        get_model(lake, KEY, FAN, "v1")
    # After a writer that died between model and passport, the passport is that of the model that is there.
    lake.delete(f"{folder}/v1/passport.json")
    put_model(lake, KEY, FAN, "v1", b"model of another processor", passport())
    assert get_model(lake, KEY, FAN, "v1").model == b"other"


def test_current_versions_are_those_of_the_machines_that_have_a_model(lake):
    machines = [Machine("fan", f"id_{number:02d}") for number in range(40)]
    for machine in machines[::2]:
        set_current(lake, KEY, machine, f"v-{machine.machine_id}")
    assert current_versions(lake, KEY, machines) == {machine: f"v-{machine.machine_id}" for machine in machines[::2]}
    assert current_versions(lake, "another-key", machines) == {}


def test_the_gate_tells_of_the_last_retraining(lake):
    assert get_gate(lake, KEY, FAN) is None
    put_gate(lake, KEY, FAN, gate())
    put_gate(lake, KEY, FAN, gate(accepted=False, reason="too few"))
    assert get_gate(lake, KEY, FAN) == gate(accepted=False, reason="too few")


def test_odd_names_share_no_folder_and_stay_inside_the_lake(lake, tmp_path):
    machines = [
        Machine(machine_type, machine_id, site, condition)
        for machine_type, machine_id in itertools.product(NAMES, NAMES)
        for site, condition in ((None, None), ("site", None), (None, "6_dB"))
    ]
    assert len({machine.path for machine in machines}) == len(machines)
    for machine in machines:
        assert not {".", "..", ""} & set(machine.path.split("/"))
    for machine in machines[:30]:
        set_current(lake, KEY, machine, "v1")
    assert [path.name for path in tmp_path.iterdir()] == ["lake"]


def test_a_machine_is_called_by_all_that_tells_it_apart():
    assert Machine("fan", "id_00").label == "fan id_00"
    assert Machine("fan", "id_00", "oslo", "-6_dB").label == "oslo fan id_00 -6_dB"
