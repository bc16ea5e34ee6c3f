"""The AUC table of small fleets against scikit-learn and hand-counted rows."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from humwatch.tasks.evaluation.auc_table import COLUMNS, auc_table
from humwatch.tasks.evaluation.metrics import auc_interval
from humwatch.tasks.settings import EvaluationSettings

SETTINGS = EvaluationSettings(bootstrap_samples=200)
FACTS = {"site": None, "machine_type": "fan", "machine_id": "id_00", "batch": "all", "condition": None, "domain": None}


def recordings(name, role, label, count, seed=0, **facts):
    """`count` rows of the assignments that differ only by recording and loudness."""
    rng = np.random.default_rng(sum(map(ord, name)))
    return pd.DataFrame(
        [
            {
                **FACTS,
                "recording_id": f"{name}-{i}",
                "seed": seed,
                "role": role,
                "label": label,
                "rms_dbfs": rng.normal(-30, 3),
                **facts,
            }
            for i in range(count)
        ]
    )


def machine(n_train, n_normal, n_abnormal, name="m", **facts):
    parts = [("train", "normal", n_train), ("test", "normal", n_normal), ("test", "abnormal", n_abnormal)]
    rows = [recordings(f"{name}-{role}-{label}", role, label, n, **facts) for role, label, n in parts]
    return pd.concat([part for part in rows if len(part)], ignore_index=True)


def scored(assignments, backbone="resnet", detector="gmm", threshold=0.5, random_state=0):
    """One random score for every recording of the assignments, abnormal ones higher; decisions where there is one."""
    rng = np.random.default_rng(random_state)
    score = rng.normal(0, 1, len(assignments)) + (assignments["label"] == "abnormal").to_numpy() * 1.0
    rows = pd.DataFrame({"recording_id": assignments["recording_id"], "seed": assignments["seed"], "score": score})
    decision = pd.Series([None if threshold is None else bool(s > threshold) for s in score], dtype=object)
    return rows.assign(
        backbone=backbone, detector=detector, threshold=np.nan if threshold is None else threshold, decision=decision
    )


def table(assignments, scores, backbones=("resnet",), detectors=("gmm",), seeds=(0,)):
    return auc_table(assignments, scores, SETTINGS, backbones=backbones, detectors=detectors, seeds=seeds)


def only(rows):
    assert len(rows) == 1
    return rows.iloc[0]


def direct(assignments, scores, normals, metric=roc_auc_score, column="score", **options):
    """The AUC (or another metric) by scikit-learn over test recordings, `normals` a mask of the normals taken."""
    both = assignments.merge(scores[["recording_id", "score"]], on="recording_id")
    test = both[(both["role"] == "test") & ((both["label"] == "abnormal") | normals.to_numpy())]
    return metric(test["label"] == "abnormal", test[column], **options)


def test_one_machine_against_scikit_learn():
    fleet = machine(20, 15, 12)
    scores = scored(fleet)
    row = only(table(fleet, scores))
    normals = fleet["label"] == "normal"
    assert (row["n_train"], row["n_normal"], row["n_abnormal"]) == (20, 15, 12)
    assert row["auc"] == pytest.approx(direct(fleet, scores, normals), abs=1e-12)
    assert row["pauc"] == pytest.approx(direct(fleet, scores, normals, max_fpr=0.1), abs=1e-12)
    assert row["rms_auc"] == pytest.approx(direct(fleet, scores, normals, column="rms_dbfs"), abs=1e-12)
    expected = direct(fleet, scores, normals, metric=average_precision_score)
    assert row["average_precision"] == pytest.approx(expected, abs=1e-12)
    assert row["auc_low"] < row["auc"] < row["auc_high"]
    assert row["reason"] is None
    assert (row["machine_type"], row["machine_id"], row["domain"]) == ("fan", "id_00", "all")
    assert row["condition"] is None
    assert row["site"] is None


def test_columns_and_types_also_of_nothing():
    designed = (
        "machine_type machine_id condition domain backbone detector seed n_train n_normal n_abnormal auc auc_low"
        " auc_high pauc rms_auc reason threshold precision recall f1 false_alarm_rate site average_precision"
        " auc_within_domain pauc_within_domain"
    )
    fleet = machine(4, 4, 4)
    full, empty = table(fleet, scored(fleet)), table(fleet.iloc[:0], scored(fleet).iloc[:0])
    assert list(full.columns) == list(empty.columns) == designed.split()
    assert full.dtypes.astype(str).to_dict() == empty.dtypes.astype(str).to_dict() == COLUMNS
    assert empty.empty


def test_louder_is_more_abnormal_unfolded():
    fleet = machine(4, 3, 3).assign(rms_dbfs=lambda rows: np.where(rows["label"] == "abnormal", -40.0, -20.0))
    assert only(table(fleet, scored(fleet)))["rms_auc"] == 0


def test_interval_is_that_of_the_rows_seed():
    fleet = machine(4, 20, 20, seed=3)
    scores = scored(fleet)
    row = only(table(fleet, scores, seeds=(3,)))
    by_id = scores.set_index("recording_id")["score"]
    test = fleet[fleet["role"] == "test"].set_index("recording_id")["label"]
    normal, abnormal = by_id[test.index[test == "normal"]], by_id[test.index[test == "abnormal"]]
    assert (row["auc_low"], row["auc_high"]) == auc_interval(normal, abnormal, 0.95, 200, 3)


def test_decisions_by_hand():
    fleet = machine(1, 4, 2)
    scores = scored(fleet).assign(decision=[False, True, False, False, False, True, False])
    row = only(table(fleet, scores))
    assert (row["precision"], row["recall"], row["f1"], row["false_alarm_rate"]) == (0.5, 0.5, 0.5, 0.25)
    assert row["threshold"] == 0.5


def test_decisions_may_be_the_words_of_the_scores_table():
    fleet = machine(3, 9, 8)
    plain = scored(fleet)
    words = plain.assign(decision=plain["decision"].map({True: "abnormal", False: "normal"}))
    pd.testing.assert_frame_equal(table(fleet, words), table(fleet, plain))


def test_without_a_threshold_rates_are_undefined_and_the_auc_is_not():
    fleet = machine(3, 9, 8)
    row = only(table(fleet, scored(fleet, threshold=None)))
    assert row[["threshold", "precision", "recall", "f1", "false_alarm_rate"]].isna().all()
    assert row["auc"] > 0
    assert row["reason"] is None


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ((6, 0, 0), "no test recordings"),
        ((0, 0, 7), "no training recordings"),
        ((4, 0, 3), "no normal test recordings"),
        ((4, 3, 0), "no abnormal test recordings"),
    ],
)
def test_undefined_is_empty_and_says_why(counts, reason):
    fleet = machine(*counts)
    scores = scored(fleet) if counts[0] else scored(fleet).iloc[:0]
    row = only(table(fleet, scores))
    assert row["reason"] == reason
    assert row[["auc", "auc_low", "auc_high", "pauc", "rms_auc"]].isna().all()
    assert (row["n_train"], row["n_normal"], row["n_abnormal"]) == counts


@pytest.mark.parametrize(("counts", "too_few"), [((6, 2, 2), True), ((6, 3, 3), True), ((6, 4, 4), False)])
def test_an_auc_of_recordings_too_few_to_tell_from_luck_says_so(counts, too_few):
    fleet = machine(*counts)
    row = only(table(fleet, scored(fleet)))
    assert 0 <= row["auc_low"] < row["auc_high"] <= 1
    assert (row["reason"] is not None) == too_few
    if too_few:
        n, m = counts[1:]
        assert row["reason"].startswith(f"too few to say: guessing ranks {n} and {m} recordings perfectly ")


def test_loudness_needs_no_model():
    fleet = machine(0, 5, 6)
    row = only(table(fleet, scored(fleet).iloc[:0]))
    assert row["reason"] == "no training recordings"
    assert np.isnan(row["auc"])
    assert row["rms_auc"] == pytest.approx(direct(fleet, scored(fleet), fleet["label"] == "normal", column="rms_dbfs"))


def test_a_model_of_earlier_recordings_counts():
    fleet = machine(0, 5, 6)
    row = only(table(fleet, scored(fleet)))
    assert row["reason"] is None
    assert row["auc"] > 0


def test_unlabelled_test_recordings_are_in_no_count():
    unknown = recordings("unknown", "test", None, 5)
    fleet = pd.concat([machine(4, 6, 5), unknown], ignore_index=True)
    row = only(table(fleet, scored(fleet)))
    assert (row["n_normal"], row["n_abnormal"], row["reason"]) == (6, 5, None)
    fleet = pd.concat([recordings("t", "train", "normal", 4), unknown], ignore_index=True)
    row = only(table(fleet, scored(fleet)))
    assert (row["n_normal"], row["n_abnormal"], row["reason"]) == (0, 0, "no normal test recordings")


def test_unused_recordings_are_in_no_count():
    fleet = machine(4, 6, 5)
    more = pd.concat([fleet, recordings("u", "unused", "abnormal", 9)], ignore_index=True)
    pd.testing.assert_frame_equal(table(more, scored(fleet)), table(fleet, scored(fleet)))


def test_missing_scores_are_never_dropped():
    fleet = machine(4, 6, 5)
    scores = scored(fleet)
    scores = scores[scores["recording_id"] != "m-test-normal-2"]
    scores.loc[scores["recording_id"] == "m-test-abnormal-1", ["score", "decision"]] = [np.nan, None]
    row = only(table(fleet, scores))
    assert row["reason"] == "scores missing: 2 of 11 test recordings"
    assert row[["auc", "pauc", "recall", "false_alarm_rate"]].isna().all()
    assert row["rms_auc"] >= 0


def test_a_missing_score_of_a_training_recording_does_not_matter():
    fleet = machine(4, 6, 5)
    scores = scored(fleet)
    without = scores[~scores["recording_id"].isin(fleet.loc[fleet["role"] == "train", "recording_id"])]
    pd.testing.assert_frame_equal(table(fleet, without), table(fleet, scores))


def test_an_unscored_detector_has_its_rows():
    fleet = machine(4, 6, 5)
    rows = table(fleet, scored(fleet), backbones=("resnet", "vgg"), detectors=("knn", "gmm"))
    assert rows[["backbone", "detector"]].to_numpy().tolist() == [
        ["resnet", "gmm"],
        ["resnet", "knn"],
        ["vgg", "gmm"],
        ["vgg", "knn"],
    ]
    assert rows["reason"].tolist() == [None, *["scores missing: 11 of 11 test recordings"] * 3]
    assert rows["rms_auc"].nunique() == 1


def test_domain_rows_set_their_normals_against_all_anomalies():
    fleet = pd.concat(
        [
            machine(9, 6, 4, name="s", domain="source"),
            machine(1, 5, 3, name="t", domain="target"),
            recordings("none", "test", "abnormal", 2, domain=None),
        ],
        ignore_index=True,
    )
    scores = scored(fleet)
    rows = table(fleet, scores).set_index("domain")
    assert list(rows.index) == ["all", "source", "target"]
    assert rows["n_train"].tolist() == [10, 9, 1]
    assert rows["n_normal"].tolist() == [11, 6, 5]
    assert rows["n_abnormal"].tolist() == [9, 9, 9]
    normals = fleet["label"] == "normal"
    assert rows.loc["all", "auc"] == pytest.approx(direct(fleet, scores, normals), abs=1e-12)
    for domain in ("source", "target"):
        mine = normals & (fleet["domain"] == domain)
        assert rows.loc[domain, "auc"] == pytest.approx(direct(fleet, scores, mine), abs=1e-12)
        assert rows.loc[domain, "rms_auc"] == pytest.approx(direct(fleet, scores, mine, column="rms_dbfs"), abs=1e-12)


def test_a_domain_without_test_normals_or_training_says_so_for_itself_only():
    fleet = pd.concat(
        [machine(9, 6, 4, name="s", domain="source"), recordings("t", "test", "abnormal", 3, domain="target")],
        ignore_index=True,
    )
    rows = table(fleet, scored(fleet)).set_index("domain")
    assert rows["reason"].tolist() == [None, None, "no normal test recordings"]
    fleet = pd.concat(
        [machine(9, 6, 4, name="s", domain="source"), machine(0, 4, 4, name="t", domain="target")], ignore_index=True
    )
    rows = table(fleet, scored(fleet)).set_index("domain")
    assert rows["n_train"].tolist() == [9, 9, 0]
    assert rows["reason"].tolist() == [None] * 3


def test_conditions_sites_and_machines_do_not_merge():
    fleet = pd.concat(
        [
            machine(3, 4, 5, name="a", condition="6_dB"),
            machine(4, 4, 5, name="b", condition="-6_dB"),
            machine(5, 4, 5, name="c", condition="6_dB", site="north"),
            machine(6, 4, 5, name="d", condition="6_dB", site="south"),
            machine(7, 4, 5, name="e", machine_id="id_02"),
            machine(8, 4, 5, name="f", machine_type="bearing"),
        ],
        ignore_index=True,
    )
    rows = table(fleet, scored(fleet))
    cells = rows[["machine_type", "machine_id", "site", "condition", "n_train"]].to_numpy().tolist()
    assert cells == [
        ["bearing", "id_00", None, None, 8],
        ["fan", "id_00", None, "-6_dB", 4],
        ["fan", "id_00", None, "6_dB", 3],
        ["fan", "id_00", "north", "6_dB", 5],
        ["fan", "id_00", "south", "6_dB", 6],
        ["fan", "id_02", None, None, 7],
    ]
    assert rows["reason"].isna().all()


def test_each_seed_has_its_own_split_and_scores():
    first = machine(6, 4, 5, seed=0)
    second = machine(5, 5, 5, seed=1)
    fleet = pd.concat([first, second], ignore_index=True)
    scores = pd.concat([scored(first), scored(second, random_state=1)], ignore_index=True)
    rows = table(fleet, scores, seeds=(0, 1))
    assert rows[["seed", "n_train", "n_normal"]].to_numpy().tolist() == [[0, 6, 4], [1, 5, 5]]
    for seed, part in enumerate((first, second)):
        mine = scores[scores["seed"] == seed]
        assert rows["auc"][seed] == pytest.approx(direct(part, mine, part["label"] == "normal"), abs=1e-12)


def test_a_machine_absent_under_one_seed_has_its_row():
    first = machine(6, 4, 5, seed=0)
    both = pd.concat([first, machine(5, 5, 5, name="n", seed=0, machine_id="id_02"), machine(5, 5, 5, seed=1)])
    rows = table(both, scored(both), seeds=(0, 1)).set_index(["machine_id", "seed"])
    assert rows["n_train"].to_dict() == {("id_00", 0): 6, ("id_00", 1): 5, ("id_02", 0): 5, ("id_02", 1): 0}
    assert rows["reason"].tolist() == [None, None, None, "no training recordings"]


def test_row_order_of_the_input_does_not_matter():
    fleet = pd.concat([machine(5, 6, 5, machine_id=f"id_0{i}", name=f"m{i}") for i in range(3)], ignore_index=True)
    scores = scored(fleet)
    mixed = table(fleet.sample(frac=1, random_state=0), scores.sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(mixed, table(fleet, scores), check_exact=True)


def test_two_scores_of_one_recording_are_refused():
    fleet = machine(3, 4, 4)
    with pytest.raises(ValueError, match="not a one-to-one merge"):
        table(fleet, pd.concat([scored(fleet), scored(fleet).iloc[:1]]))


def test_two_files_in_sixty_clips_are_too_few_to_say():
    fleet = machine(0, 60, 60)
    scores = scored(fleet).assign(score=(fleet["label"] == "abnormal").astype(float))
    assert only(table(fleet, scores))["reason"] is None
    clips = fleet.assign(path=[f"{label}.wav" for label in fleet["label"]])
    row = only(table(clips, scores))
    assert row["reason"].startswith("too few to say: guessing ranks 1 and 1")
    assert row["auc_low"] < 0.3
