"""Layouts that are advised: made from paths, and better than the rules on these very paths."""

from datetime import date

import pytest

from humwatch.storage.sources import Member
from humwatch.tasks.ingest.layout import compile_layouts
from humwatch.tasks.ingest.layout_advice import suggest_layout
from humwatch.tasks.ingest.manifest import read_facts
from humwatch.tasks.ingest.name_rules import DEFAULT_RULES, NameRules

TODAY = date(2026, 12, 1)
DAYS = range(1, 21)


def members(paths):
    return [Member(path, "", path, 10, None, None, "none", None, "tag", None) for path in paths]


@pytest.mark.parametrize(
    ("paths", "layout", "machines"),
    [
        ([f"sound/plant{p}/line2/pump_0{m}/{i}.wav" for p in "AB" for m in (3, 4) for i in range(3)],
         "{site}/{machine_type}/{machine_id}/{}.wav",
         {(f"plant{p}", "line2", f"pump_0{m}") for p in "AB" for m in (3, 4)}),
        ([f"sound/plant{p}/line2/pump_03/2026/11/{d:02d}/0{i}0000.wav" for p in "AB" for d in DAYS for i in range(2)],
         "{site}/{machine_type}/{machine_id}/{recorded_at:%Y/%m/%d/%H%M%S}.wav",
         {("plantA", "line2", "pump_03"), ("plantB", "line2", "pump_03")}),
        ([f"s/plant{p}/line2/pump_03/2026/11/{d:02d}/2026-11-{d:02d}T01-00-00.wav" for p in "AB" for d in DAYS],
         "{site}/{machine_type}/{machine_id}/{batch:%Y/%m/%d}/{recorded_at:%Y-%m-%dT%H-%M-%S}.wav",
         {("plantA", "line2", "pump_03"), ("plantB", "line2", "pump_03")}),
        ([f"s/plant{p}/2026-11/line2/pump_03/2026-11-{d:02d}/{d}.wav" for p in "AB" for d in DAYS],
         "{site}/{}/{machine_type}/{machine_id}/{recorded_at:%Y-%m-%d}/{}.wav",
         {("plantA", "line2", "pump_03"), ("plantB", "line2", "pump_03")}),
        ([f"sound/plant{p}/hall/press/{m}/mic/2026-11-{d:02d}/{d}.wav" for p in "AB" for m in "xy" for d in DAYS],
         "{site}/{}/{machine_type}/{machine_id}/{}/{recorded_at:%Y-%m-%d}/{}.wav",
         {(f"plant{p}", "press", m) for p in "AB" for m in "xy"}),
        ([f"sound/uke{k}/{m}/{i}.wav" for k in (47, 48) for m in ("press", "saw") for i in range(3)],
         "{machine_id}/{}.wav", {(None, "unknown", "press"), (None, "unknown", "saw")}),
        ([f"sound/{m}_2026-11-{d:02d}T01-00-00.wav" for m in ("left", "right") for d in DAYS],
         "{machine_id}_{recorded_at:%Y-%m-%dT%H-%M-%S}.wav", {(None, "unknown", "left"), (None, "unknown", "right")}),
    ],
)  # fmt: skip
def test_a_layout_is_advised_that_reads_every_machine(paths, layout, machines):
    assert suggest_layout(members(paths), DEFAULT_RULES, TODAY) == layout
    facts, _ = read_facts(members(paths), (), NameRules(layouts=compile_layouts([layout])))
    assert {(one.site, one.machine_type, one.machine_id) for one in facts} == machines
    assert all(one.problem is None for one in facts)


@pytest.mark.parametrize(
    "paths",
    [
        [f"fan.zip/fan/id_0{m}/{label}/{i}.wav" for m in (0, 2) for label in ("normal", "abnormal") for i in range(3)],
        [f"sound/pump_0{m}/2026/11/{d:02d}/rec.wav" for m in (3, 4) for d in DAYS],
        [f"sound/{i}.wav" for i in range(20)],
        [f"s/plant{p}/2026-11-{d:02d}/line2/20261101/pump/{d}.wav" for p in "AB" for d in DAYS],
        [f"sound/11/{d:02d}/{i}.wav" for d in DAYS for i in range(2)],
        ["a.wav"],
        [f"sound/rec_{i:03d}.wav" for i in range(20)],
        [f"sound/{year}_11_{d:02d}_02_00_00.WAV" for year in (2025, 2026) for d in DAYS],
        [f"sound/rec_202611{d:02d}_020000.wav" for d in DAYS],
        [f"sound/rec_202611{d:02d}T020000+1000_202611{d:02d}T030000+1000.wav" for d in DAYS],
    ],
    ids=["MIMII", "spread dates", "nothing to go by", "two dates", "no year", "one file", "one beginning",
         "times alone", "one beginning and times", "starts and ends"],
)  # fmt: skip
def test_no_layout_is_advised_where_names_are_clear_or_say_nothing(paths):
    assert suggest_layout(members(paths), DEFAULT_RULES, TODAY) is None


def test_of_many_paths_some_are_looked_at():
    paths = [f"s/plant{p}/line/pump_{m}/{i}.wav" for p in "AB" for m in range(50) for i in range(200)]
    assert suggest_layout(members(paths), DEFAULT_RULES, TODAY) == "{site}/{machine_type}/{machine_id}/{}.wav"
