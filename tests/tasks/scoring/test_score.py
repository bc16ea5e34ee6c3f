"""Scores of a lake: what scikit-learn says of the same features, for every part, detector and seed, once."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from lakes import all_scores, build, small, with_settings
from recordings import machine, write_zip
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from humwatch.storage.errors import NotComplete
from humwatch.storage.models import Machine, current_version, roll_back, set_current
from humwatch.storage.parts import list_parts
from humwatch.storage.tables import SCORES, read_table
from humwatch.tasks.detectors.calibration import make_folds
from humwatch.tasks.detectors.machine_model import fit_machine_model
from humwatch.tasks.detectors.task import fit_models
from humwatch.tasks.evaluation.store import evaluate, read_evaluation
from humwatch.tasks.evaluation.task import evaluate_scores
from humwatch.tasks.features import gather as features
from humwatch.tasks.features.gather import gather
from humwatch.tasks.plan.catalog import by_machine
from humwatch.tasks.plan.keys import model_key
from humwatch.tasks.plan.representations import parse
from humwatch.tasks.plan.roles import assign_roles
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.scope import Scope
from humwatch.tasks.plan.scores import expected_scores
from humwatch.tasks.plan.variants import Variant
from humwatch.tasks.scoring.task import score_recordings

FAN, OTHER, PUMP = Machine("fan", "id_00"), Machine("fan", "id_02"), Machine("pump", "id_00")
MEMBERS = {
    **machine("fan/id_00", 12, 4, duration_s=2.0),
    **machine("fan/id_02", 6, 2, duration_s=3.0),
    **machine("pump/id_00", 4, 0, duration_s=2.0),
    # Nothing to train on: no model, no scores.
    **machine("pump/id_02", 0, 3, duration_s=2.0),
}
FUSED = "fake+logmel/8x1"
FIT = {"detectors": ("knn", "mahalanobis"), "seeds": (0, 1), "false_alarm_rate": 0.3, "knn_neighbours": 2}


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A lake with four models for each of three machines."""
    archive = write_zip(tmp_path_factory.mktemp("source") / "plant.zip", MEMBERS)
    work = Run(str(tmp_path_factory.mktemp("lake")), small(fit=FIT))
    # (16 + 4 + 3) x 2 windows and 8 x 4; a recording counts once, whatever scores it.
    assert build(work, archive) == (31, 78, 12, 28)
    return work


@pytest.fixture
def copied(scored, tmp_path):
    """A copy that a test may change."""
    return replace(scored, lake_uri=str(shutil.copytree(scored.lake_uri, tmp_path / "lake")))


def of_machine(work, wanted, seed=0):
    """A machine's recordings with their role, and its features."""
    lake = work.lake
    accepted = work.catalog().accepted
    rows = by_machine(accepted.assign(role=assign_roles(accepted, work.settings.fit, seed)))[wanted]
    rows = rows.sort_values("recording_id")
    parts = {part.part_id: part for part in list_parts(lake)}
    return rows, lambda text: [gather(lake, parts, rows, one, work.embedding) for one in parse(text)]


def scores_of(work, rows, detector, seed=0, backbone="fake"):
    scores = all_scores(work)
    wanted = scores[(scores["detector"] == detector) & (scores["seed"] == seed) & (scores["backbone"] == backbone)]
    return wanted.set_index("recording_id").loc[rows["recording_id"]]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("wanted", [FAN, OTHER, PUMP], ids=lambda wanted: wanted.label)
def test_knn_scores_are_the_mean_distance_to_two_neighbours_in_standardised_features(scored, wanted, seed):
    rows, features = of_machine(scored, wanted, seed)
    (padded,) = features("fake")
    windows = padded[:, : 4 if wanted == OTHER else 2]
    assert np.isfinite(windows).all()
    kept = scores_of(scored, rows, "knn", seed)
    trained = (rows["role"] == "train").to_numpy()
    folds = make_folds(rows["batch"][trained].tolist(), scored.settings.fit.calibration_folds, seed)
    of_fits = []
    for fold in set(folds):
        train = windows[trained][folds != fold].reshape(-1, windows.shape[2]).astype(np.float64)
        scaler = StandardScaler().fit(train)
        neighbours = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(scaler.transform(train))
        distances, _ = neighbours.kneighbors(scaler.transform(windows.reshape(-1, windows.shape[2]).astype(np.float64)))
        of_fits.append(distances.mean(axis=1).reshape(windows.shape[:2]))
    expected = np.median(of_fits, axis=0)
    np.testing.assert_allclose(np.stack(kept["window_scores"]), expected, rtol=1e-6, atol=1e-5)
    of_recordings = np.median(np.mean(of_fits, axis=2), axis=0)
    np.testing.assert_allclose(kept["score"][~trained], of_recordings[~trained], rtol=1e-6, atol=1e-5)
    # what trained it is scored by the fit that had not heard it, so the distance to itself is in no score
    assert (kept["score"][trained] > of_recordings[trained]).all()


def test_every_recording_of_a_machine_with_a_model_is_scored_once_by_each_detector_and_seed(scored):
    scores = all_scores(scored)
    catalog = scored.catalog().recordings
    with_model = catalog[~((catalog["machine_type"] == "pump") & (catalog["machine_id"] == "id_02"))]
    grid = pd.MultiIndex.from_product([sorted(with_model["recording_id"]), ["knn", "mahalanobis"], [0, 1]])
    found = pd.MultiIndex.from_frame(scores[["recording_id", "detector", "seed"]])
    assert sorted(found) == sorted(grid)
    assert np.isfinite(scores["score"]).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_what_a_model_was_trained_on_is_marked_and_has_neither_p_value_nor_decision(scored, seed):
    rows, _ = of_machine(scored, FAN, seed)
    kept = scores_of(scored, rows, "mahalanobis", seed)
    trained = (rows["role"] == "train").to_numpy()
    assert trained.sum() == 8
    assert kept["in_training"].tolist() == trained.tolist()
    assert kept["split"].tolist() == rows["role"].tolist()
    assert kept.loc[trained, "p_value"].isna().all()
    assert kept.loc[trained, "decision"].isna().all()
    assert kept.loc[~trained, "p_value"].notna().all()


def test_seeds_split_differently_and_are_models_of_their_own(scored):
    trained = [
        set((of := scores_of(scored, of_machine(scored, FAN, seed)[0], "knn", seed))[of["in_training"]].index)
        for seed in (0, 1)
    ]
    assert trained[0] != trained[1]
    versions = all_scores(scored).groupby(["machine_type", "machine_id", "detector", "seed"])["model_version"].unique()
    assert len({version for each in versions for version in each}) == 3 * 2 * 2


def test_p_values_and_decisions_are_those_of_the_calibration_scores(scored):
    rows, _ = of_machine(scored, FAN)
    kept = scores_of(scored, rows, "knn")
    lake = scored.lake
    key = model_key(Variant("fake", "knn", 0), scored.embedding, scored.settings.fit)
    (version,) = kept["model_version"].unique()
    passport = lake.read_json(f"models/{key}/fan/id_00/{version}/passport.json")
    calibration = passport["calibration_scores"]
    assert len(calibration) == 8
    tested = kept[~kept["in_training"]]
    for score, p_value, decision in tested[["score", "p_value", "decision"]].itertuples(index=False):
        assert p_value == pytest.approx((1 + sum(each >= score for each in calibration)) / 9)
        assert decision == ("abnormal" if p_value <= 0.3 else "normal")
    assert set(tested["threshold"]) == {passport["threshold"]}
    assert set(tested["decision"]) == {"normal", "abnormal"}


def test_facts_of_the_recordings_are_in_the_table(scored):
    rows, _ = of_machine(scored, FAN)
    kept = scores_of(scored, rows, "knn")
    for column in ("machine_type", "machine_id", "batch", "label"):
        assert kept[column].tolist() == rows[column].tolist()
    assert kept["file"].tolist() == [name.rsplit("/", 1)[1] for name in rows["member"]]


def test_fused_scores_are_those_of_the_same_fit_in_memory(copied):
    fit = {**FIT, "detectors": ("knn",), "seeds": (0,)}
    work = with_settings(copied, features={"backbones": (FUSED,)}, fit=fit)
    # The log-mel statistics are new, the fake backbone's features are there already.
    assert build(work) == (0, 78, 3, 28)
    for wanted in (FAN, OTHER, PUMP):
        rows, features = of_machine(work, wanted)
        windows = features(FUSED)
        trained = (rows["role"] == "train").to_numpy()
        folds = make_folds(list(rows.loc[trained, "batch"]), 3, 0)
        fitted = fit_machine_model("knn", [each[trained] for each in windows], work.settings.fit, 0, folds)
        window_scores, recording_scores = fitted.model.scores(windows)
        recording_scores[trained] = fitted.calibration_scores
        kept = scores_of(work, rows, "knn", backbone=FUSED)
        np.testing.assert_array_equal(kept["score"], recording_scores)
        for row, expected in zip(kept["window_scores"], window_scores, strict=True):
            np.testing.assert_array_equal(row, expected[np.isfinite(expected)])


def test_a_second_run_has_nothing_to_score(copied):
    assert score_recordings.fn(copied).recordings_scored == 0
    assert fit_models.fn(copied).models_fitted == 0


def test_a_scope_scores_its_machines_only(scored, tmp_path):
    lake = str(shutil.copytree(scored.lake_uri, tmp_path / "lake"))
    shutil.rmtree(tmp_path / "lake" / "scores")
    for pattern, count in (("fan/id_0?", 24), ("pump/*", 4), ("pump/id_02", 0), ("siteA/*", 0)):
        work = Run(lake, scored.settings, Scope(machines=pattern))
        assert score_recordings.fn(work).recordings_scored == count
    assert score_recordings.fn(Run(lake, scored.settings, Scope(frozenset({"another night"})))).recordings_scored == 0


def test_scores_of_one_machine_or_of_all_of_its_part_are_the_same_digits(scored, tmp_path):
    lake = str(shutil.copytree(scored.lake_uri, tmp_path / "lake"))
    shutil.rmtree(tmp_path / "lake" / "scores")
    work = Run(lake, scored.settings, Scope(machines="fan/id_02"))
    score_recordings.fn(work)
    rows, _ = of_machine(scored, OTHER)
    pd.testing.assert_frame_equal(scores_of(work, rows, "knn"), scores_of(scored, rows, "knn"), check_exact=True)


def test_a_new_model_scores_again_and_the_one_before_finds_its_scores(copied):
    lake = copied.lake
    key = model_key(Variant("fake", "knn", 0), copied.embedding, copied.settings.fit)
    first = current_version(lake, key, FAN)
    model, passport = (f"models/{key}/fan/id_00/{first}/{name}" for name in ("model.skops", "passport.json"))
    for path in (model, passport):
        lake.write(path.replace(first, "second"), lake.read(path))
    before = set(lake.list("scores"))
    set_current(lake, key, FAN, "second")
    # The part's table holds both fans; recordings are counted once.
    assert score_recordings.fn(copied).recordings_scored == 24
    (added,) = set(lake.list("scores")) - before
    table = read_table(lake, added, SCORES).to_pandas()
    assert set(table.loc[table["machine_id"] == "id_00", "model_version"]) == {"second"}
    assert roll_back(lake, key, FAN) == first
    assert score_recordings.fn(copied).recordings_scored == 0


def test_a_table_is_named_by_what_is_known_of_its_recordings(scored):
    unit = next(iter(expected_scores(scored)))
    assert unit.path in scored.lake.list("scores")
    assert replace(unit, recordings=unit.recordings.assign(rms_dbfs=0.0)).path == unit.path
    others = [
        replace(unit, recordings=unit.recordings.assign(label="abnormal")).path,
        replace(unit, recordings=unit.recordings.assign(role="test")).path,
        replace(unit, recordings=unit.recordings[1:]).path,
        replace(unit, versions={**unit.versions, FAN: "another"}).path,
    ]
    assert len({unit.path, *others}) == 5


def test_an_evaluation_needs_every_table_is_made_once_and_has_scikit_learns_auc(copied):
    lake = copied.lake
    path = next(path for path in lake.list("scores") if "machine_type=fan" in path)
    data = lake.read(path)
    lake.delete(path)
    with pytest.raises(NotComplete, match="1 of 8 score tables are missing: run `humwatch score` first"):
        evaluate(copied)
    lake.write(path, data)
    evaluation_id = evaluate(copied)
    assert evaluate_scores.fn(copied) == evaluation_id
    auc = read_evaluation(lake, evaluation_id).auc
    # Machines, detectors and seeds; the pump without normals too.
    assert len(auc) == 4 * 2 * 2
    row = auc[(auc["machine_id"] == "id_00") & (auc["machine_type"] == "fan") & (auc["detector"] == "knn")].iloc[0]
    rows, _ = of_machine(copied, FAN)
    tested = scores_of(copied, rows, "knn")
    tested = tested[tested["split"] == "test"]
    assert len(tested) == 8
    assert row["auc"] == pytest.approx(roc_auc_score(tested["label"] == "abnormal", tested["score"]))
    written = lake.list("evaluations")
    assert evaluate(copied) == evaluation_id
    assert lake.list("evaluations") == written
    other = with_settings(copied, fit=FIT, evaluation={"confidence": 0.9})
    assert evaluate(other) != evaluation_id


@pytest.mark.slow
def test_scores_do_not_depend_on_how_many_recordings_are_read_together(copied, monkeypatch):
    lake = copied.lake
    expected = all_scores(copied).sort_values(["recording_id", "detector", "seed"], ignore_index=True)
    for together in (1, 5, 13):  # a machine in pieces; pieces of several machines
        lake.delete("scores")
        monkeypatch.setattr(features, "_READ_TOGETHER", together)
        assert score_recordings.fn(copied).recordings_scored == 28
        found = all_scores(copied).sort_values(["recording_id", "detector", "seed"], ignore_index=True)
        pd.testing.assert_frame_equal(found, expected)
