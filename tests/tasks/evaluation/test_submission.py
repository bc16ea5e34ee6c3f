"""Submission files: names of every year, and the figures that the official evaluators compute from them.

The rules are written here once more from the evaluators' own (y-kawagu/dcase2020_task2_evaluator and 2021,
Kota-Dohi/dcase2022_evaluator, nttcslab/dcase2023_task2_evaluator and 2024): scores and ground truth are paired by
sorted file name. docs/dcase.md has the evaluators' own answers.
"""

import csv
import io

import numpy as np
import pandas as pd
import pytest
from scipy.stats import hmean
from sklearn.metrics import confusion_matrix, roc_auc_score

from humwatch.storage.errors import BadConfiguration
from humwatch.tasks.evaluation.auc_table import auc_table
from humwatch.tasks.evaluation.submission import CHALLENGES, missing_sections, submission_files
from humwatch.tasks.evaluation.summary_table import summary_table
from humwatch.tasks.settings import EvaluationSettings

FACTS = {"site": None, "condition": None}


def recordings(*machines, domains=True, suffix="flac", seed=0):
    """Test recordings of machines `TYPE/ID`, 20 normal and 15 abnormal, in no order, with scores and decisions."""
    rng = np.random.default_rng(seed)
    rows = []
    for machine_type, machine_id in (machine.split("/") for machine in machines):
        for index in range(35):
            label, domain = ("normal", "anomaly")[index >= 20], ("source", "target")[index % 3 == 0]
            score = rng.normal(0.7 * (index >= 20))
            stem = f"{machine_id}_{domain}_test_{label}_{index:04d}" if domains else f"{label}_{machine_id}_{index:08d}"
            rows.append(
                {
                    **FACTS,
                    "machine_type": machine_type,
                    "machine_id": machine_id,
                    "domain": domain if domains else None,
                    "file": f"{stem}.{suffix}",
                    "score": score,
                    "decision": "abnormal" if score > 1 else "normal",
                    "label": "abnormal" if index >= 20 else "normal",
                }
            )
    return pd.DataFrame(rows).sample(frac=1, random_state=seed, ignore_index=True)


def column(files, name):
    """What an evaluator reads: the second column as numbers, by sorted file name; and the names."""
    rows = sorted(csv.reader(io.StringIO(files[name].decode())))
    return np.array([float(row[1]) for row in rows]), [row[0] for row in rows]


def truth(names):
    """Ground truth in the evaluators' layout: 1 = anomalous, and 1 = target domain."""
    return tuple(np.array([word in name for name in names]).astype(int) for word in ("_anomaly_", "_target_"))


@pytest.mark.parametrize(
    ("year", "machines", "expected"),
    [
        (2020, ["ToyConveyor/id_04"], ["anomaly_score_ToyConveyor_id_04.csv"]),
        (2021, ["pump/section_03"], [
            "anomaly_score_pump_section_03_source_test.csv", "anomaly_score_pump_section_03_target_test.csv",
            "decision_result_pump_section_03_source_test.csv", "decision_result_pump_section_03_target_test.csv",
        ]),
        (2022, ["bearing/section_05"], [
            "anomaly_score_bearing_section_05_test.csv", "decision_result_bearing_section_05_test.csv"]),
        (2023, ["bandsaw/section_00"], [
            "anomaly_score_bandsaw_section_00_test.csv", "decision_result_bandsaw_section_00_test.csv"]),
        (2024, ["3DPrinter/section_00"], [
            "anomaly_score_3DPrinter_section_00_test.csv", "decision_result_3DPrinter_section_00_test.csv"]),
        (2025, ["AutoTrash/section_00"], [
            "anomaly_score_AutoTrash_section_00_test.csv", "decision_result_AutoTrash_section_00_test.csv"]),
    ],
)  # fmt: skip
def test_every_year_has_its_names(year, machines, expected):
    assert sorted(submission_files(recordings(*machines, domains=year > 2020), year)) == expected


def test_rows_are_sorted_headerless_and_keep_every_digit():
    data = recordings("ToyCar/section_00").head(2)
    data["file"], data["score"] = ["section_00_0001.flac", "section_00_0000.wav"], [0.1 + 0.2, -1e-7]
    data["decision"] = ["abnormal", "normal"]
    files = submission_files(data, 2023)
    assert files["anomaly_score_ToyCar_section_00_test.csv"] == (
        b"section_00_0000.wav,-1e-07\nsection_00_0001.wav,0.30000000000000004\n"
    )
    assert files["decision_result_ToyCar_section_00_test.csv"] == b"section_00_0000.wav,0\nsection_00_0001.wav,1\n"


def our_tables(data):
    """auc.csv and summary.csv of the same recordings."""
    rows = data.assign(recording_id=[f"r{i}" for i in data.index], seed=0, role="test", rms_dbfs=0.0)
    scores = rows.assign(backbone="net", detector="gmm", threshold=1.0)
    settings = EvaluationSettings(bootstrap_samples=100)
    assignments = rows.drop(columns=["score", "decision"])
    auc = auc_table(assignments, scores, settings, backbones=["net"], detectors=["gmm"], seeds=[0])
    return auc.set_index(["machine_type", "machine_id", "domain"]), summary_table(auc)


@pytest.mark.parametrize("year", [2022, 2023, 2024, 2025])
def test_since_2022_the_evaluators_give_our_source_target_pauc_and_official_score(year):
    machines = ["ToyCar/section_00", "fan/section_00", "bearing/section_00"]
    data = recordings(*machines)
    files = submission_files(data, year)
    auc, summary = our_tables(data)
    three = []
    for machine in machines:
        ending = f"{machine.replace('/', '_')}_test.csv"
        (scores, names), (decisions, _) = (
            column(files, f"{kind}_{ending}") for kind in ("anomaly_score", "decision_result")
        )
        abnormal, target = truth(names)
        assert len(scores) == 35
        expected = [
            roc_auc_score(abnormal[(target == domain) | (abnormal == 1)], scores[(target == domain) | (abnormal == 1)])
            for domain in (0, 1)
        ] + [roc_auc_score(abnormal, scores, max_fpr=0.1)]
        key = tuple(machine.split("/"))
        ours = [auc.loc[(*key, "source"), "auc"], auc.loc[(*key, "target"), "auc"], auc.loc[(*key, "all"), "pauc"]]
        assert ours == pytest.approx(expected, abs=1e-12)
        three += expected
        tn, fp, fn, tp = confusion_matrix(abnormal, decisions).ravel()
        rates = auc.loc[(*key, "all"), ["precision", "recall", "false_alarm_rate"]]
        assert rates.tolist() == pytest.approx([tp / (tp + fp), tp / (tp + fn), fp / (fp + tn)])
    official = summary[(summary["machine_type"] == "all") & (summary["domain"] == "all")]["hmean_dcase"].item()
    assert official == pytest.approx(hmean(three), abs=1e-12)


def test_in_2020_the_evaluator_gives_our_auc_and_pauc_of_each_id():
    data = recordings("fan/id_00", "fan/id_02", domains=False, suffix="wav")
    files, (auc, _) = submission_files(data, 2020), our_tables(data)
    for machine_id in ("id_00", "id_02"):
        scores, names = column(files, f"anomaly_score_fan_{machine_id}.csv")
        abnormal = np.array([name.startswith("anomaly") for name in names])
        row = auc.loc["fan", machine_id, "all"]
        assert row["auc"] == pytest.approx(roc_auc_score(abnormal, scores), abs=1e-12)
        assert row["pauc"] == pytest.approx(roc_auc_score(abnormal, scores, max_fpr=0.1), abs=1e-12)


def test_in_2021_the_evaluator_gives_our_figures_within_each_domain_and_official_score():
    data = recordings("pump/section_00", "fan/section_01")
    files, (auc, summary) = submission_files(data, 2021), our_tables(data)
    figures = []
    for machine in ("pump/section_00", "fan/section_01"):
        for domain in ("source", "target"):
            scores, names = column(files, f"anomaly_score_{machine.replace('/', '_')}_{domain}_test.csv")
            abnormal, _ = truth(names)
            expected = [roc_auc_score(abnormal, scores), roc_auc_score(abnormal, scores, max_fpr=0.1)]
            row = auc.loc[(*machine.split("/"), domain)]
            assert row[["auc_within_domain", "pauc_within_domain"]].tolist() == pytest.approx(expected, abs=1e-12)
            figures += expected
    official = summary[(summary["machine_type"] == "all") & (summary["domain"] == "all")]["hmean_dcase_2021"].item()
    assert official == pytest.approx(hmean(figures), abs=1e-12)


@pytest.mark.parametrize(
    ("year", "change", "message"),
    [
        (2019, {}, "no layout is known for 2019; there are 2020, 2021"),
        (
            2023,
            {"machine_type": "motor"},
            "not in DCASE 2023 Task 2: motor/section_00; its machines are like ToyDrone/section_00",
        ),
        (2023, {"machine_id": "section_01"}, "ToyCar/section_01"),
        (2020, {}, "ToyCar/section_00; its machines are like fan/id_01"),
        (2023, {"condition": "-6_dB"}, "ToyCar/section_00/-6_dB"),
        (2023, {"site": "plant"}, "plant/ToyCar/section_00"),
        (2021, {"domain": None}, "35 of 35 test recordings have no domain"),
        (
            2023,
            {"score": np.nan, "reason": "clipped"},
            r"35 of 35 test recordings have no score: .*\(clipped\).* and 30 more",
        ),
        (2023, {"decision": None}, "have no decision: too few normal recordings"),
        (2023, {"file": "same.wav"}, "34 of 35 test recordings have the name of another"),
    ],
)
def test_what_an_evaluator_could_not_read_is_refused(year, change, message):
    with pytest.raises(BadConfiguration, match=message):
        submission_files(recordings("ToyCar/section_00").assign(**change), year)


def test_nothing_to_submit_is_refused():
    with pytest.raises(BadConfiguration, match="no test recordings"):
        submission_files(recordings("ToyCar/section_00").head(0), 2023)


def test_what_a_submission_lacks_is_told():
    types = list(CHALLENGES[2023].evaluation)
    assert missing_sections(recordings("ToyCar/section_00"), 2023) == [f"{name}/section_00" for name in types]
    assert missing_sections(recordings(*(f"{name}/section_00" for name in types)), 2023) == []
    assert missing_sections(recordings("fan/section_03"), 2022)[:2] == ["ToyCar/section_03", "ToyCar/section_04"]
