"""Lakes that earlier commits wrote (tests/data/build_lake.py) are read with nothing computed again."""

import os
import sys
import zipfile
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import sklearn

from humwatch.flows.cli.options import SettingsOptions
from humwatch.flows.night import night_run
from humwatch.flows.operations.prune import plan_pruning
from humwatch.flows.operations.status import machine_statuses
from humwatch.storage.models import get_gate
from humwatch.storage.reports import read_latest, read_summary
from humwatch.tasks.alarms.task import judge_nights
from humwatch.tasks.detectors.fit import load_model
from humwatch.tasks.detectors.task import fit_models
from humwatch.tasks.evaluation.store import read_evaluation
from humwatch.tasks.evaluation.task import evaluate_scores
from humwatch.tasks.features.task import compute_features
from humwatch.tasks.plan.night_tables import read_night
from humwatch.tasks.plan.open_nights import newest_night, open_nights
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.scope import Scope
from humwatch.tasks.scoring.task import score_recordings
from humwatch.tasks.spectrograms.task import compute_spectrograms

DATA = Path(__file__).parents[1] / "data"
ARCHIVES = sorted(DATA.glob("lake_*.zip"))
NIGHTS = [f"2026-01-{day:02d}" for day in range(1, 7)]

sys.path.insert(0, str(DATA))
from build_lake import FLEET, LABELLED  # noqa: E402 - a script beside its data, not a module of the tests


def options(flags):
    """The settings that flags of the command line stand for."""
    pairs = list(zip(flags[::2], flags[1::2], strict=True))

    def of(name):
        return [value for flag, value in pairs if flag == name]

    preset = (of("--preset") or ["default"])[0]
    return SettingsOptions(preset, None, of("--set"), of("--backbone"), of("--detector"))


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.stem)
def lakes(request, tmp_path):
    with zipfile.ZipFile(request.param) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def contents(lake):
    return {path.relative_to(lake): path.read_bytes() for path in lake.rglob("*") if path.is_file()}


def work_of(run):
    """How much every stage up to the scores had to do."""
    decoded = compute_spectrograms.fn(run)
    assert decoded.errors == ()
    return (
        decoded.recordings_decoded,
        compute_features.fn(run).windows_embedded,
        fit_models.fn(run).models_fitted,
        score_recordings.fn(run).recordings_scored,
    )


def test_there_is_a_lake_to_read():
    assert ARCHIVES


def test_labelled_machines_are_evaluated_as_they_were(lakes):
    lake = lakes / "labelled"
    before = contents(lake)
    run = Run(str(lake), options(LABELLED).settings())
    assert work_of(run) == (0, 0, 0, 0)
    evaluation = read_evaluation(run.lake, evaluate_scores.fn(run))
    assert len(evaluation.auc) == 2 * 4
    assert evaluation.auc["auc"].notna().sum() == 4
    assert contents(lake) == before


def test_a_fleets_nights_are_as_they_were_judged(lakes):
    lake = lakes / "fleet"
    before = contents(lake)
    chosen = options(FLEET)
    run = night_run(str(lake), None, None, chosen.preset, chosen.overrides())
    assert newest_night(run) == NIGHTS[-1]
    # Nights of the commissioning were done before there was a model: a run without a date would score them.
    assert open_nights(run) == {*NIGHTS[:4], NIGHTS[-1]}
    tonight = run.scoped(Scope(frozenset({NIGHTS[-1]})))
    assert work_of(tonight) == (0, 0, 0, 0)
    judge_nights.fn(tonight)
    states = read_night(tonight).set_index("machine_type")
    assert set(states["night"]) == {NIGHTS[-1]}
    assert states.loc["fan", "label"] == "abnormal"
    evaluate_scores.fn(tonight)
    after = contents(lake)
    assert {path.parts[0] for path in after} - {path.parts[0] for path in before} == {"history"}
    since = {"raised", "history"}
    assert {item for item in after.items() if not since & {*item[0].parts}} == {
        item for item in before.items() if not since & {*item[0].parts}
    }


def test_its_records_say_what_they_said(lakes):
    run = night_run(str(lakes / "fleet"), None, None, options(FLEET).preset, options(FLEET).overrides())
    (variant,) = run.variants
    key = run.model_key(variant)
    for status in machine_statuses(run):
        assert status.models
        assert status.last_score["batch"] == NIGHTS[-1]
        gate = get_gate(run.lake, key, status.machine)
        assert gate is not None
        assert gate.machine == status.machine.label
        assert gate.recordings == 3
        passport_versions = run.lake.read_json(f"models/{key}/{status.machine.path}/{gate.version}/passport.json")
        if passport_versions["versions"]["scikit-learn"].split(".")[:2] == sklearn.__version__.split(".")[:2]:
            _, stored = load_model(run.lake, key, status.machine, gate.version)
            assert stored.passport.format_version == 1
            assert len(stored.passport.calibration_scores) == len(stored.passport.training_recordings)
    latest = read_latest(run.lake)
    assert latest is not None
    assert read_summary(run.lake, latest.report_id).night == NIGHTS[-1]


def test_pruning_it_leaves_what_its_runs_need(lakes):
    lake = lakes / "fleet"
    for path in lake.rglob("*"):
        os.utime(path, (0, 0))  # long ago: nothing is kept for being new
    chosen = options(FLEET)
    run = night_run(str(lake), None, None, chosen.preset, chosen.overrides())
    pruning = plan_pruning(run, 30, datetime(2026, 6, 1, tzinfo=UTC))
    assert {group.path.split("/")[0] for group in pruning.groups()} == {"scores"}
    pruning.carry_out(run.lake)
    tonight = night_run(str(lake), date.fromisoformat(NIGHTS[-1]), None, chosen.preset, chosen.overrides())
    assert work_of(tonight) == (0, 0, 0, 0)
    assert all(status.models for status in machine_statuses(tonight))
