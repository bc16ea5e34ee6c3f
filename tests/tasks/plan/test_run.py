"""A run reads the lake once, and again after what changes it."""

import dataclasses

import pandas as pd
import pytest
from lakes import build, small
from recordings import machine, write_zip

from humwatch.storage.errors import StorageUnavailable
from humwatch.storage.lake import Lake
from humwatch.storage.parts import list_parts
from humwatch.tasks.detectors.task import fit_models
from humwatch.tasks.evaluation.task import evaluate_scores
from humwatch.tasks.execution.stage import stage
from humwatch.tasks.features.task import compute_features
from humwatch.tasks.ingest.task import ingest_sources
from humwatch.tasks.plan import run as run_module
from humwatch.tasks.plan.history import HistoryReader
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.scope import Scope
from humwatch.tasks.plan.waiting import waiting, waiting_by_night, waiting_for_scores
from humwatch.tasks.scoring.task import score_recordings
from humwatch.tasks.spectrograms.task import compute_spectrograms


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    members = {**machine("fan/id_00", 6, 3, duration_s=2.0), **machine("pump/id_00", 4, 0, duration_s=2.0)}
    return write_zip(tmp_path_factory.mktemp("source") / "plant.zip", members)


@pytest.fixture
def run(tmp_path):
    return Run(str(tmp_path / "lake"), small())


@pytest.fixture
def read(monkeypatch):
    """How often the history of a lake is read, and which catalogs are made of it."""
    counts = []
    for owner, name in ((HistoryReader, "whole"), (run_module, "catalog_of")):
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, name=name, real=real: counts.append(name) or real(*args))
    return counts


def test_a_run_with_nothing_to_do_reads_the_history_once_and_makes_one_catalog(run, archive, read):
    build(run, archive)
    evaluation_id = evaluate_scores.fn(run)
    again = Run(run.lake_uri, run.settings)
    read.clear()
    assert ingest_sources.fn(again, [str(archive)]).new == 0
    done = compute_spectrograms.fn(again).recordings_decoded, compute_features.fn(again).windows_embedded
    assert (*done, fit_models.fn(again).models_fitted, score_recordings.fn(again).recordings_scored) == (0, 0, 0, 0)
    assert evaluate_scores.fn(again) == evaluation_id
    assert read == ["whole", "catalog_of"]


def test_what_a_stage_changes_is_seen_by_the_next(run, archive):
    assert run.history().rows.empty
    ingest_sources.fn(run, [str(archive)])
    assert set(run.history().rows["status"]) == {"pending"}
    compute_spectrograms.fn(run)
    assert set(run.history().rows["status"]) == {"accepted"}


def test_a_stage_that_fails_leaves_nothing_that_was_read(run, archive, read):
    ingest_sources.fn(run, [str(archive)])
    run.history()

    @stage("test")
    def fails(_run):
        raise StorageUnavailable("busy")

    read.clear()
    with pytest.raises(StorageUnavailable):
        fails.fn(run)
    run.history()
    assert read == ["whole"]


def test_scopes_of_one_run_share_what_was_read(run, archive, read):
    ingest_sources.fn(run, [str(archive)])
    read.clear()
    whole = run.catalog()
    scoped = run.scoped(Scope(machines="fan/*"))
    assert scoped.catalog() is whole
    assert (scoped.lake, scoped.embedding) == (run.lake, run.embedding)
    assert read == ["whole", "catalog_of"]
    scoped.refresh()
    assert run.catalog() is not whole


def test_some_batches_of_what_was_read_whole_are_those_read_alone(run, archive):
    build(run, archive)
    alone = Run(run.lake_uri, run.settings).catalog_of(frozenset({"all"}))
    run.catalog()
    of_whole = run.catalog_of(frozenset({"all"}))
    pd.testing.assert_frame_equal(of_whole.recordings[alone.recordings.columns], alone.recordings, check_dtype=False)
    assert run.catalog_of(frozenset({"2026-01-01"})).recordings.empty


def test_a_part_whose_run_was_killed_before_its_mark_is_still_to_be_done(run, archive):
    build(run, archive)
    part = next(part for part in list_parts(run.lake) if part.machine_type == "pump")
    run.lake.delete(part.store("spectrograms", run.spectrogram_key).mark_path)
    again = Run(run.lake_uri, run.settings)
    statuses = again.catalog().recordings.groupby("machine_type")["status"].unique()
    assert statuses.map(list).to_dict() == {"fan": ["accepted"], "pump": ["pending"]}
    assert len(waiting(again)["spectrograms"]) == 4


def test_what_recordings_wait_for_is_told_stage_by_stage(run, archive):
    def counts():
        fresh = Run(run.lake_uri, run.settings)
        waits = {**waiting(fresh), "score": waiting_for_scores(fresh)}
        return {stage: len(index) for stage, index in waits.items()}

    ingest_sources.fn(run, [str(archive)])
    assert counts() == {"spectrograms": 13, "features": 13, "score": 0}
    compute_spectrograms.fn(run)
    assert counts() == {"spectrograms": 0, "features": 13, "score": 0}
    compute_features.fn(run)
    fit_models.fn(run)
    assert counts() == {"spectrograms": 0, "features": 0, "score": 13}
    score_recordings.fn(run)
    assert counts() == {"spectrograms": 0, "features": 0, "score": 0}
    tables = run.lake.list("scores", ".parquet")
    run.lake.delete(next(path for path in tables if "machine_type=pump" in path))
    assert waiting_by_night(Run(run.lake_uri, run.settings)) == {"all": {"spectrograms": 0, "features": 0, "score": 4}}


def test_a_run_is_its_settings_and_scope_and_nothing_that_was_read(run, archive):
    """Prefect keeps a flow's parameters as JSON, and looks into the fields of a dataclass."""
    ingest_sources.fn(run, [str(archive)])
    run.catalog()
    assert {field.name for field in dataclasses.fields(run)} == {"lake_uri", "settings", "scope", "now", "only_looks"}
    assert run == Run(run.lake_uri, run.settings)


def test_a_lake_that_is_there_is_opened_by_one_look(tmp_path, monkeypatch):
    Lake.open(str(tmp_path / "lake"))
    monkeypatch.setattr(Lake, "create", lambda *_: pytest.fail("written to"))
    assert Lake.open(str(tmp_path / "lake")).uri == str(tmp_path / "lake")


def test_what_another_run_decodes_meanwhile_is_seen(run, archive):
    """One run reads the history; another ends the decoding; the first has nothing to decode, and goes on with all."""
    other = Run(run.lake_uri, run.settings)
    ingest_sources.fn(other, [str(archive)])
    assert ingest_sources.fn(run, [str(archive)]).new == 0
    assert set(run.history().rows["status"]) == {"pending"}
    assert compute_spectrograms.fn(other).recordings_decoded == 13
    assert compute_spectrograms.fn(run).recordings_decoded == 0
    compute_features.fn(run)
    assert fit_models.fn(run).models_fitted == 2
    assert score_recordings.fn(run).recordings_scored == 13
