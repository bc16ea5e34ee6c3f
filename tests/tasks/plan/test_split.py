"""Who trains and who tests: the sizes promised, one side for one file, and no influence of order or neighbours."""

import pandas as pd
import pytest

from humwatch.tasks.plan.split import split


def machine(n_normal, n_abnormal, n_unknown=0, machine_id="id_00", site=None, conditions=(None,)):
    rows = []
    for condition in conditions:
        for label, count in (("normal", n_normal), ("abnormal", n_abnormal), (None, n_unknown)):
            # as in MIMII: both label folders count their files from 00000000
            rows += [(condition, label, f"{number:08d}.wav") for number in range(count)]
    table = pd.DataFrame(rows, columns=["condition", "label", "file_key"])
    table["recording_id"] = [f"{site}/{machine_id}/{c}/{lab}/{key}" for c, lab, key in rows]
    return table.assign(site=site, machine_type="fan", machine_id=machine_id, split=None, domain=None)


def counts(table, roles):
    """(normal train, normal test, abnormal test, abnormal unused)"""
    normal, abnormal = table["label"] == "normal", table["label"] == "abnormal"
    return (
        int((normal & (roles == "train")).sum()),
        int((normal & (roles == "test")).sum()),
        int((abnormal & (roles == "test")).sum()),
        int((abnormal & (roles == "unused")).sum()),
    )


@pytest.mark.parametrize(
    ("n_normal", "n_abnormal", "expected"),
    [
        (10, 8, (5, 5, 8, 0)),
        (3, 3, (2, 1, 3, 0)),
        (8, 6, (4, 4, 6, 0)),
        (8, 8, (4, 4, 8, 0)),
        (6, 0, (6, 0, 0, 0)),
        (0, 7, (0, 0, 7, 0)),
        (1, 4, (1, 0, 4, 0)),
        (1011, 407, (861, 150, 407, 0)),
    ],
)
def test_holdout(n_normal, n_abnormal, expected):
    table = machine(n_normal, n_abnormal)
    assert counts(table, split(table, seed=0, mode="holdout")) == expected


@pytest.mark.parametrize(
    ("n_normal", "n_abnormal", "expected"),
    [
        (1011, 407, (861, 150, 150, 257)),  # MIMII fan id_00
        (1000, 100, (900, 100, 100, 0)),
        (3, 8, (1, 2, 2, 6)),
        (6, 0, (6, 0, 0, 0)),
        (0, 7, (0, 0, 0, 7)),
    ],
)
def test_paper(n_normal, n_abnormal, expected):
    table = machine(n_normal, n_abnormal)
    assert counts(table, split(table, seed=0, mode="paper")) == expected


@pytest.mark.parametrize("mode", ["holdout", "paper"])
def test_a_file_plays_one_role_in_all_conditions(mode):
    table = machine(20, 12, conditions=("-6_dB", "0_dB", "6_dB"))
    roles = split(table, seed=1, mode=mode)
    assert roles.groupby([table["label"], table["file_key"]]).nunique().max() == 1
    one = machine(20, 12)
    assert counts(table, roles) == tuple(3 * count for count in counts(one, split(one, seed=1, mode=mode)))


def test_normal_and_abnormal_files_of_one_name_are_drawn_apart():
    table = machine(200, 100)
    roles = split(table, seed=0, mode="paper")
    chosen = {
        label: set(table["file_key"][(table["label"] == label) & (roles == "test")]) for label in ("normal", "abnormal")
    }
    assert len(chosen["normal"]) == len(chosen["abnormal"]) == 100
    assert chosen["normal"] != chosen["abnormal"]


def test_order_index_and_neighbours_do_not_matter():
    first, second = machine(30, 9), machine(25, 25, machine_id="id_02", site="Köln")
    alone = split(first, seed=3, mode="holdout")
    together = pd.concat([second, first]).sample(frac=1, random_state=0)
    together.index = pd.Index([f"row {number}" for number in range(len(together))])
    roles = split(together, seed=3, mode="holdout")
    assert list(roles.index) == list(together.index)
    of_file = roles.set_axis(together["recording_id"])
    assert list(of_file[first["recording_id"]]) == list(alone)


def test_seeds_and_machines_draw_differently():
    def test_normals(seed, **which):
        table = machine(40, 10, **which)
        return set(table["file_key"][(table["label"] == "normal") & (split(table, seed, "holdout") == "test")])

    drawn = [test_normals(0), test_normals(1), test_normals(0, machine_id="id_02"), test_normals(0, site="A")]
    assert all(drawn[i] != drawn[j] for i in range(4) for j in range(i))
    assert test_normals(0) == drawn[0]


def test_the_draw_is_the_same_in_every_process_and_version():
    table = machine(6, 2)
    roles = split(table, seed=0, mode="holdout")
    assert list(table["file_key"][(table["label"] == "normal") & (roles == "test")]) == ["00000001.wav", "00000005.wav"]


def test_every_normal_is_tested_by_some_seed():
    table = machine(10, 4)
    tested = set()
    for seed in range(40):
        roles = split(table, seed, "holdout")
        tested |= set(table["file_key"][(table["label"] == "normal") & (roles == "test")])
    assert len(tested) == 10


def test_unlabelled_recordings_are_scored_and_never_train():
    table = machine(10, 0, n_unknown=5)
    roles = split(table, seed=0, mode="holdout")
    assert set(roles[table["label"].isna()]) == {"test"}
    assert counts(table, roles) == (10, 0, 0, 0)


def test_the_split_of_the_archive_is_kept():
    table = machine(6, 4, n_unknown=3)
    table["split"] = ["train"] * 4 + ["test"] * 2 + ["train"] + ["test"] * 3 + ["test"] * 2 + ["train"]
    for mode in ("holdout", "paper"):
        roles = split(table, seed=0, mode=mode)
        assert list(roles) == ["train"] * 4 + ["test"] * 2 + ["unused"] + ["test"] * 3 + ["test"] * 3


def test_one_machine_with_and_one_without_a_split():
    dcase = machine(6, 2).assign(split=["train"] * 5 + ["test"] * 3)
    mimii = machine(10, 8, machine_id="id_02")
    together = pd.concat([dcase, mimii], ignore_index=True)
    roles = split(together, seed=0, mode="holdout")
    assert counts(dcase, roles[:8]) == (5, 1, 2, 0)
    assert counts(mimii, roles[8:].reset_index(drop=True)) == (5, 5, 8, 0)


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
def test_every_kind_of_null_is_the_same(missing):
    table = machine(12, 5, n_unknown=2)
    other = table.astype(object)
    for column in ("site", "split", "label"):
        other[column] = [missing if pd.isna(value) else value for value in table[column]]
    pd.testing.assert_series_equal(split(other, 0, "holdout"), split(table, 0, "holdout"))
    strings = table.astype(dict.fromkeys(["site", "split", "label", "file_key", "machine_id"], "string"))
    pd.testing.assert_series_equal(split(strings, 0, "holdout"), split(table, 0, "holdout"))


def test_no_recordings():
    roles = split(machine(0, 0), seed=0, mode="holdout")
    assert len(roles) == 0
    assert roles.name == "role"


def test_what_is_supplemental_neither_trains_nor_tests():
    table = machine(4, 1).assign(split=["train", "supplemental", "test", "supplemental", "supplemental"])
    assert list(split(table, seed=0, mode="holdout")) == ["train", "unused", "test", "unused", "unused"]
