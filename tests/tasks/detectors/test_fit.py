"""Models of a lake: what their keys and versions are made of, what their passports say, and which are refused."""

import json
import platform
import shutil
import zipfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import passports
import pytest
import sklearn
from lakes import all_scores, build, small, with_settings
from recordings import machine, tone, wav, write_zip

from humwatch.storage.errors import ModelIncompatible
from humwatch.storage.models import Machine, current_version, get_passport, put_model, set_current
from humwatch.storage.parts import list_parts
from humwatch.tasks.detectors.calibration import p_values, threshold
from humwatch.tasks.detectors.fit import fit_version, load_model
from humwatch.tasks.detectors.task import fit_models
from humwatch.tasks.features.gather import gather
from humwatch.tasks.ingest.task import ingest_sources
from humwatch.tasks.plan.catalog import by_machine, current_recordings
from humwatch.tasks.plan.keys import model_key
from humwatch.tasks.plan.new_actions import Plant, Said, checked, keep
from humwatch.tasks.plan.representations import parse
from humwatch.tasks.plan.roles import assign_roles
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.training import FitUnit, bounded, plan_retraining
from humwatch.tasks.plan.variants import Variant, variants
from humwatch.tasks.settings import AUTOENCODER_NAMES, DETECTOR_NAMES, FitSettings

FAN, OTHER = Machine("fan", "id_00"), Machine("fan", "id_02")
MEMBERS = {**machine("fan/id_00", 8, 3, duration_s=2.0), **machine("fan/id_02", 6, 2, duration_s=2.0)}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return write_zip(tmp_path_factory.mktemp("source") / "plant.zip", MEMBERS, zipfile.ZIP_STORED)


@pytest.fixture(scope="module")
def fitted(archive, tmp_path_factory):
    work = Run(str(tmp_path_factory.mktemp("lake")), small())
    assert build(work, archive) == (19, 38, 2, 19)
    return work


@pytest.fixture
def copied(fitted, tmp_path):
    """A copy that a test may change."""
    return replace(fitted, lake_uri=str(shutil.copytree(fitted.lake_uri, tmp_path / "lake")))


def key_of(work, detector="gmm", backbone="fake", seed=0):
    return model_key(Variant(backbone, detector, seed), work.embedding, work.settings.fit)


def passport_of(work, machine=FAN):
    (path,) = Path(work.lake_uri).glob(f"models/{key_of(work)}/{machine.path}/*/passport.json")
    return json.loads(path.read_text())


def training_of(work, machine=FAN, seed=0):
    """The recordings that must train, by the split and nothing else."""
    accepted = work.catalog().accepted
    rows = by_machine(accepted)[machine]
    return rows[assign_roles(accepted, work.settings.fit, seed)[rows.index] == "train"].sort_values("recording_id")


@pytest.mark.parametrize(
    ("changed", "detectors"),
    [
        ({"knn_neighbours": 3}, {"knn"}),
        ({"knn_metric": "cosine"}, {"knn"}),
        ({"gmm_components": 7}, {"gmm", "bayesian_gmm"}),
        ({"gmm_covariance": "full"}, {"gmm", "bayesian_gmm"}),
        ({"ocsvm_nu": 0.5}, {"ocsvm"}),
        ({"isolation_forest_trees": 9}, {"isolation_forest"}),
        ({"kde_bandwidth": 1.0}, {"kde"}),
        ({"autoencoder_epochs": 3}, {"dense_ae", "lenet_dcae", "small_dcae"}),
        ({"autoencoder_device": "cpu"}, set()),
        ({"pca_components": 8}, {*DETECTOR_NAMES, *AUTOENCODER_NAMES}),
        ({"pooling": "max"}, {*DETECTOR_NAMES, *AUTOENCODER_NAMES}),
        ({"false_alarm_rate": 0.2}, {*DETECTOR_NAMES, *AUTOENCODER_NAMES}),
        ({"training": "assumed_normal"}, {*DETECTOR_NAMES, *AUTOENCODER_NAMES}),
        ({"detectors": ("knn", "gmm"), "seeds": (0, 1)}, set()),
    ],
)
def test_a_setting_changes_the_keys_of_the_detectors_it_shapes_and_of_no_other(fitted, changed, detectors):
    fit = fitted.settings.fit
    other = FitSettings.model_validate({**fit.model_dump(), **changed})
    moved = {
        name
        for name in (*DETECTOR_NAMES, *AUTOENCODER_NAMES)
        if model_key(Variant("fake", name, 0), fitted.embedding, fit)
        != model_key(Variant("fake", name, 0), fitted.embedding, other)
    }
    assert moved == detectors


def test_no_two_variants_share_a_key(fitted):
    fit = FitSettings(detectors=DETECTOR_NAMES, seeds=(0, 1))
    grid = variants(("fake", "logmel", "fake+logmel", "logmel+fake"), fit)
    assert len(grid) == 4 * 7 * 2
    assert len({model_key(variant, fitted.embedding, fit) for variant in grid}) == len(grid)
    assert grid[:3] == [Variant("fake", "gmm", 0), Variant("fake", "gmm", 1), Variant("fake", "bayesian_gmm", 0)]


def test_two_ways_to_write_one_representation_share_their_features_but_are_two_columns(fitted):
    short, full = (
        model_key(Variant(text, "gmm", 0), fitted.embedding, fitted.settings.fit) for text in ("fake", "fake/1x1")
    )
    assert fitted.embedding.key(*parse("fake")) == fitted.embedding.key(*parse("fake/1x1"))
    assert short.startswith("gmm-fake-s0-")
    assert full.startswith("gmm-fake_1x1-s0-")


def test_another_setting_of_one_detector_refits_that_detector_only(copied):
    both = with_settings(copied, fit={"detectors": ("gmm", "knn")})
    assert build(both) == (0, 0, 2, 19)
    assert build(with_settings(copied, fit={"detectors": ("gmm", "knn"), "knn_neighbours": 2})) == (0, 0, 2, 19)
    assert build(both) == (0, 0, 0, 0)


def unit(work, training, machine=FAN, variant=None, **fit):
    settings = work.settings.fit.model_copy(update=fit)
    variant = variant or Variant("fake", "gmm", 0)
    return FitUnit(work.lake_uri, machine, variant, training, len(training), {}, work.embedding, settings)


def test_a_version_is_its_training_set_settings_and_machine(fitted):
    training = training_of(fitted)
    first = unit(fitted, training)
    assert first.version == unit(fitted, training.assign(part_id="elsewhere", row=0, label="abnormal")).version
    others = [
        unit(fitted, training[1:]),
        unit(fitted, training.assign(content_tag=["another", *training["content_tag"][1:]])),
        unit(fitted, training.assign(domain=["target", *training["domain"][1:]])),
        unit(fitted, training, OTHER),
        unit(fitted, training, Machine("fan", "id_00", condition="6_dB")),
        unit(fitted, training, variant=Variant("fake", "gmm", 1)),
        unit(fitted, training, variant=Variant("fake", "knn", 0)),
        unit(fitted, training, gmm_components=3),
    ]
    assert len({first.version, *(other.version for other in others)}) == 9
    assert current_version(fitted.lake, key_of(fitted), FAN) == first.version


def test_a_passport_says_what_the_model_was_made_of(fitted):
    passport, fit = passport_of(fitted), fitted.settings.fit
    # Eight normals and three abnormals: three normals are held out.
    assert passport["training_recordings"] == training_of(fitted)["recording_id"].tolist()
    assert len(passport["training_recordings"]) == 5
    assert {name: passport[name] for name in ("machine", "backbone", "detector", "seed", "training")} == {
        "machine": "fan id_00",
        "backbone": "fake",
        "detector": "gmm",
        "seed": 0,
        "training": "labelled",
    }
    assert passport["settings"]["fit"] == fit.model_dump(mode="json")
    assert passport["settings"]["spectrogram"] == fitted.settings.spectrogram.model_dump(mode="json")
    assert passport["settings"]["images"] == fitted.settings.images.model_dump(mode="json")
    assert passport["settings"]["features"]["backbones"] == ["fake"]
    assert passport["versions"] == {
        "python": platform.python_version(),
        **{
            name: version(name)
            for name in ("humwatch", "numpy", "scipy", "scikit-learn", "skops", "torch", "torchvision")
        },
    }
    assert passport["versions"]["scikit-learn"] == sklearn.__version__


def test_a_threshold_that_five_recordings_cannot_support_is_none_with_its_reason(fitted):
    passport = passport_of(fitted)
    assert len(passport["calibration_scores"]) == 5
    assert passport["threshold"] is None
    assert passport["threshold_reason"] == "5 calibration recordings support no rate below 0.17; asked for 0.01"


def test_a_threshold_they_support_is_the_calibration_score_of_its_rank(copied):
    work = with_settings(copied, fit={"false_alarm_rate": 0.4})
    assert fit_models.fn(work).models_fitted == 2
    passport = passport_of(work)
    # (5 + 1) x (1 - 0.4) = 3.6: the fourth smallest.
    assert passport["threshold"] == sorted(passport["calibration_scores"])[3]
    assert passport["threshold_reason"] is None


def test_a_threshold_is_made_for_every_domain(tmp_path):
    members = {}
    for index in range(26):
        domain, tested = ("source", "target")[index >= 20], ("train", "test")[index in (0, 25)]
        name = f"fan/{tested}/section_00_{domain}_{tested}_normal_{index:04d}.wav"
        members[name] = wav(tone(index, duration_s=2.0, frequency_hz=440.0 + 40.0 * (index >= 20) * index))
    source = write_zip(tmp_path / "dev_fan.zip", members)
    work = Run(str(tmp_path / "lake"), small(fit={"false_alarm_rate": 0.09}))
    build(work, source)
    (path,) = Path(work.lake_uri).glob("models/**/passport.json")
    passport = json.loads(path.read_text())
    scores, domains = passport["calibration_scores"], passport["calibration_domains"]
    assert sorted(domains) == ["source"] * 19 + ["target"] * 5
    of_target = [score for score, domain in zip(scores, domains, strict=True) if domain == "target"]
    # of all 24 the highest may be missed, of the target's 5 none
    assert passport["threshold"] == max(of_target) == max(scores)
    assert threshold(np.array(scores), 0.09)[0] < max(scores)
    (note,) = [note for note in passport["notes"] if "domain" in note]
    assert note == "domain target: 5 calibration recordings support no rate below 0.17; its highest score counts"
    tested = all_scores(work).query("~in_training")
    np.testing.assert_array_equal(tested["p_value"], p_values(tested["score"].to_numpy(), np.array(scores), domains))
    assert (tested["p_value"] > p_values(tested["score"].to_numpy(), np.array(scores))).any()
    assert ((tested["p_value"] <= 0.09) == (tested["decision"] == "abnormal")).all()


def test_one_fold_is_a_model_of_all_without_threshold_and_p_values(fitted, copied):
    figures, scores, members = ["p_value", "threshold", "decision"], {}, {}
    for folds in (3, 1):
        work = with_settings(copied, fit={"calibration_folds": folds, "false_alarm_rate": 0.4})
        build(work)
        passport = passport_of(work)
        version = current_version(copied.lake, key_of(work), FAN)
        members[folds] = len(load_model(copied.lake, key_of(work), FAN, version)[0].members)
        used = all_scores(work)["model_version"] == version
        scores[folds] = all_scores(work)[used].set_index("recording_id").sort_index()
    assert members == {3: 3, 1: 1}
    assert (passport["calibration_scores"], passport["threshold"]) == ([], None)
    assert passport["threshold_reason"] == "no training recording was held out to make a threshold of"
    assert passport["notes"] == []
    assert np.isfinite(scores[1]["score"]).all()
    unheard = ~scores[3]["in_training"]
    assert unheard.any()
    assert scores[3].loc[unheard, figures].notna().all(axis=None)
    assert scores[1][figures].isna().all(axis=None)


def test_calibration_scores_are_of_models_that_had_not_heard_the_recording(fitted):
    """A recording in its own model scores lower than out of it."""
    lake = fitted.lake
    model, stored = load_model(lake, key_of(fitted), FAN, current_version(lake, key_of(fitted), FAN))
    rows = training_of(fitted)
    parts = {part.part_id: part for part in list_parts(lake)}
    windows = [gather(lake, parts, rows, representation, fitted.embedding) for representation in parse("fake")]
    assert np.mean(stored.passport.calibration_scores) > model.recording_scores(windows).mean()


def test_what_is_less_than_asked_for_is_a_note(copied):
    work = with_settings(copied, fit={"gmm_components": 80})
    fit_models.fn(work)
    assert passport_of(work)["notes"][0] == "6 mixture components instead of 80: one a training window"


def test_the_same_training_set_is_the_same_model_to_the_last_byte(copied, archive, tmp_path):
    again = Run(str(tmp_path / "again"), small(store={"block_recordings": 2, "chunk_recordings": 1}))
    build(again, archive)
    for path in Path(copied.lake_uri).glob("models/**/*"):
        if path.is_file():
            assert path.read_bytes() == (Path(again.lake_uri) / path.relative_to(copied.lake_uri)).read_bytes()


def test_how_recordings_came_into_the_lake_changes_no_digit(fitted, tmp_path):
    """One archive or two, early or late: parts differ, models and scores do not."""
    for name in ("early", "late"):
        (tmp_path / name).mkdir()
    late = write_zip(tmp_path / "late" / "plant.zip", dict(list(MEMBERS.items())[3:12]))
    early = write_zip(
        tmp_path / "early" / "plant.zip",
        {name: MEMBERS[name] for name in MEMBERS if name not in {*list(MEMBERS)[3:12]}},
    )
    work = Run(str(tmp_path / "lake"), small())
    build(work, early)
    build(work, late)
    assert len(list_parts(work.lake)) == 2
    for machine_ in (FAN, OTHER):
        current = current_version(work.lake, key_of(work), machine_)
        assert current == current_version(fitted.lake, key_of(fitted), machine_)
    scores = [all_scores(each).set_index(["model_version", "recording_id"]).sort_index() for each in (work, fitted)]
    pd.testing.assert_series_equal(scores[0]["score"].loc[scores[1].index], scores[1]["score"], check_exact=True)


def test_a_changed_training_recording_makes_a_new_version_and_going_back_fits_nothing(copied, archive, tmp_path):
    lake, key = copied.lake, key_of(copied)
    name = training_of(copied)["member"].iloc[0]
    source = Path(shutil.copy(archive, tmp_path))
    ingest_sources.fn(copied, [str(source)])
    first, untouched = current_version(lake, key, FAN), current_version(lake, key, OTHER)
    # Same bytes, another place: the recordings moved, what they are did not.
    assert build(copied)[2] == 0
    write_zip(source, {**MEMBERS, name: MEMBERS["fan/id_00/normal/00000007.wav"]}, zipfile.ZIP_STORED)
    if name.endswith("00000007.wav"):
        write_zip(source, {**MEMBERS, name: MEMBERS["fan/id_00/normal/00000006.wav"]}, zipfile.ZIP_STORED)
    assert build(copied, source)[2] == 1
    second = current_version(lake, key, FAN)
    assert second != first
    assert current_version(lake, key, OTHER) == untouched
    write_zip(source, MEMBERS, zipfile.ZIP_STORED)
    assert build(copied, source)[2] == 0
    assert current_version(lake, key, FAN) == first
    assert get_passport(lake, key, FAN, second).training_recordings


def nights(first, last, label=False):
    folder = "normal/" if label else ""
    return {
        f"2026-11-{day:02d}/fan/id_00/{folder}{name.rsplit('/', 1)[1]}": data
        for day in range(first, last + 1)
        for name, data in machine(f"fan/id_{day:02d}", 3, 0, duration_s=1.1).items()
    }


def test_a_machine_taken_for_normal_keeps_its_model_until_it_is_retrained(tmp_path):
    pattern = r"(?P<batch>\d{4}-\d\d-\d\d)/(?P<machine_type>\w+)/(?P<machine_id>\w+)/"
    fit = {"training": "assumed_normal", "commissioning_nights": 2, "min_training_recordings": 6}
    work = Run(str(tmp_path / "lake"), small(fit=fit, ingest={"name_pattern": pattern}))
    lake, key = work.lake, key_of(work)
    assert build(work, write_zip(tmp_path / "1.zip", nights(1, 1))) == (3, 3, 0, 0)
    assert build(work, write_zip(tmp_path / "2.zip", nights(2, 2))) == (3, 3, 1, 6)
    first = current_version(lake, key, FAN)
    passport = get_passport(lake, key, FAN, first)
    assert passport.training == "assumed_normal"
    assert len(passport.training_recordings) == 6
    # A late arrival of the first night would make another training set; the model stays.
    late = {name.replace("2026-11-09", "2026-11-01").replace("0000000", "1000000"): data
            for name, data in nights(9, 9).items()}  # fmt: skip
    assert build(work, write_zip(tmp_path / "late.zip", {**late, **nights(3, 3)})) == (6, 6, 0, 6)
    assert current_version(lake, key, FAN) == first
    # Retraining is bounded as a first fit is.
    plan = with_settings(work, fit={**fit, "max_recordings": 5}, retrain={"training_nights": 2, "gate_nights": 1})
    (unit_,) = plan_retraining(plan)
    assert (len(unit_.candidate.training), unit_.candidate.available, len(unit_.gate)) == (5, 9, 3)


def test_retraining_knows_no_night_before_a_repair(tmp_path):
    pattern = r"(?P<batch>\d{4}-\d\d-\d\d)/(?P<machine_type>\w+)/(?P<machine_id>\w+)/"
    fit = {"training": "assumed_normal", "commissioning_nights": 2, "min_training_recordings": 6}
    retrain = {"training_nights": 3, "gate_nights": 1}
    work = Run(str(tmp_path / "lake"), small(fit=fit, ingest={"name_pattern": pattern}, retrain=retrain))
    build(work, write_zip(tmp_path / "1.zip", nights(1, 5)))
    (unit_,) = plan_retraining(work)
    assert set(unit_.candidate.training["batch"]) == {"2026-11-02", "2026-11-03", "2026-11-04"}
    plant = Plant(work.lake, current_recordings(work.lake)[0])
    repair = checked(Said("repaired", "fan/id_00", "kim", night="2026-11-03"), plant)
    keep(work.lake, [repair], plant.actions)
    (unit_,) = plan_retraining(work)
    assert set(unit_.candidate.training["batch"]) == {"2026-11-03", "2026-11-04"}
    assert set(unit_.gate["recording_id"]) == set(work.history().rows.query("batch == '2026-11-05'")["recording_id"])
    late = checked(Said("repaired", "fan/id_00", "kim", night="2026-11-05"), plant)
    keep(work.lake, [late], plant.actions)
    assert list(plan_retraining(work)) == []  # too few


def test_bounded_keeps_the_order_and_the_bound():
    training = pd.DataFrame({"recording_id": [f"r{n:02d}" for n in range(40)]})
    windows = np.random.default_rng(0).integers(1, 10, 40)
    chosen = []
    for bound in (5, 50, 100, windows.sum() - 1):
        kept = bounded(training, windows, FitSettings(max_windows=bound), seed=3)
        assert kept.index.is_monotonic_increasing
        assert windows[kept.index].sum() <= bound
        # Nearly full: the next recording of the sample, of 9 windows at most, did not fit.
        assert windows[kept.index].sum() > bound - 9
        chosen.append(set(kept.index))
    assert chosen[0] < chosen[1] < chosen[2] < chosen[3]
    pd.testing.assert_frame_equal(bounded(training, windows, FitSettings(max_windows=windows.sum()), seed=3), training)


def test_bounded_is_a_matter_of_the_seed_and_takes_one_recording_however_long():
    training = pd.DataFrame({"recording_id": [f"r{n:02d}" for n in range(40)]})
    windows = np.full(40, 10)
    hundred, nine = FitSettings(max_windows=100), FitSettings(max_windows=9)
    pd.testing.assert_frame_equal(*(bounded(training, windows, hundred, seed=3) for _ in range(2)))
    assert set(bounded(training, windows, hundred, seed=3).index) != set(
        bounded(training, windows, hundred, seed=4).index
    )
    assert len(bounded(training, windows, nine, seed=3)) == 1


def test_bounded_by_recordings():
    training = pd.DataFrame({"recording_id": [f"r{n:02d}" for n in range(40)]})
    windows = np.full(40, 10)
    kept = bounded(training, windows, FitSettings(max_recordings=15), seed=3)
    assert len(kept) == 15
    assert kept.index.is_monotonic_increasing
    assert len(bounded(training, windows, FitSettings(max_recordings=15, max_windows=100), seed=3)) == 10
    pd.testing.assert_frame_equal(bounded(training, windows, FitSettings(max_recordings=40), seed=3), training)


def test_training_is_bounded_by_windows_in_the_lake(copied):
    work = with_settings(copied, fit={"max_windows": 7})
    fit_models.fn(work)
    # Two windows a recording: three of them.
    trained = passport_of(work)["training_recordings"]
    assert len(trained) == 3
    available = set(training_of(work)["recording_id"])
    assert set(trained) < available
    assert passport_of(work)["notes"][0] == f"a random 3 of {len(available)} training recordings are used"


def change_passport(work, **changes):
    """Rewrite a current model's passport; return what loads it."""
    lake, key = work.lake, key_of(work)
    current = current_version(lake, key, FAN)
    path = f"models/{key}/{FAN.path}/{current}/passport.json"
    passport = lake.read_json(path)
    lake.write(path, json.dumps({**passport, "versions": {**passport["versions"], **changes}}).encode())
    return lambda: load_model(lake, key, FAN, current)


def test_a_model_of_another_scikit_learn_is_refused_by_the_names_of_both(copied):
    major, minor = map(int, sklearn.__version__.split(".")[:2])
    other = f"{major}.{minor - 1}.2"
    load = change_passport(copied, **{"scikit-learn": other})
    with pytest.raises(ModelIncompatible) as caught:
        load()
    assert f"scikit-learn {other} (here {sklearn.__version__})" in str(caught.value)
    assert "fan id_00" in str(caught.value)


def test_a_patch_of_scikit_learn_and_other_libraries_do_not_matter(copied):
    patched = ".".join([*sklearn.__version__.split(".")[:2], "99"])
    model, stored = change_passport(copied, **{"scikit-learn": patched, "torch": "1.0.0", "numpy": "1.0"})()
    assert stored.passport.versions["torch"] == "1.0.0"
    assert {len(member) for member in model.members} == {1}


@pytest.mark.parametrize("what", ["flipped", "truncated", "another machine's", "pickle"])
def test_a_model_file_that_somebody_has_changed_is_refused(copied, what):
    lake, key = copied.lake, key_of(copied)
    current = current_version(lake, key, FAN)
    path = f"models/{key}/{FAN.path}/{current}/model.skops"
    data = bytearray(lake.read(path))
    if what == "flipped":
        data[len(data) // 2] ^= 1
    elif what == "truncated":
        data = data[:-10]
    elif what == "another machine's":
        data = lake.read(f"models/{key}/{OTHER.path}/{current_version(lake, key, OTHER)}/model.skops")
    else:
        data = b"\x80\x04]\x94."
    lake.write(path, bytes(data))
    with pytest.raises(ModelIncompatible, match=r"model\.skops"):
        load_model(lake, key, FAN, current)
    # Not even where the passport was forged to fit the file, unless it is a model.
    if what != "another machine's":
        lake.delete(f"models/{key}/{FAN.path}/{current}/passport.json")
        put_model(lake, key, FAN, current, bytes(data), passport_of_versions())
        with pytest.raises(ModelIncompatible, match="not a stored model"):
            load_model(lake, key, FAN, current)


def passport_of_versions():
    return passports.passport(versions={"scikit-learn": sklearn.__version__})


def test_fitting_a_version_makes_it_current_for_nobody(copied):
    lake, key = copied.lake, key_of(copied)
    before = current_version(lake, key, FAN)
    parts = {part.part_id: part for part in list_parts(lake)}
    candidate = replace(unit(copied, training_of(copied)[:3]), parts=parts)
    fit_version(lake, candidate)
    assert current_version(lake, key, FAN) == before
    # A fit of the whole training set finds the old one there, and it stays the current one.
    set_current(lake, key, FAN, candidate.version)
    assert fit_models.fn(copied).models_fitted == 0
    assert current_version(lake, key, FAN) == before
