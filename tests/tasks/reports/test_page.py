"""The page says everything it was given, escapes it, asks for nothing from outside, and stays small."""

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import report_samples as samples
from sklearn.metrics import average_precision_score

from humwatch.tasks.evaluation.published import published_table
from humwatch.tasks.reports import page_rows
from humwatch.tasks.reports.evaluation.page import render
from humwatch.tasks.reports.svg.curves import PValueLine, RocLine, calibration_svg, pr_svg
from humwatch.tasks.settings import IngestSettings

DASH = "\N{EN DASH}"
LINKS = ("src", "href", "srcset", "poster", "data", "action", "xlink:href")


class Page(HTMLParser):
    """What a browser would make of the text: tags with attributes, and the visible text of each section."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.sections: dict[str, list[str]] = {"header": []}
        self.rows: list[list[str]] = []
        self._section = "header"
        self._silent = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self._silent = tag in ("script", "style")
        if tag == "section":
            self._section = attributes["aria-labelledby"]
            self.sections[self._section] = []
        self.sections[self._section].append(" ")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self._silent = False
        if tag == "table":
            self.rows.append([])

    def handle_data(self, data):
        if self._silent:
            return
        self.sections[self._section].append(data)
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data

    def text(self, section: str) -> str:
        return " ".join("".join(self.sections[section]).split())

    def fleet_rows(self, name: str) -> list[list[str]]:
        rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]
        return [row for row in rows if len(row) == 15 and row[0].startswith(name)]


@pytest.fixture(scope="module")
def report():
    return samples.sample_report()


@pytest.fixture(scope="module")
def html(report):
    return render(report)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_the_same_input_gives_the_same_page(html):
    assert render(samples.sample_report()) == html


def test_markup_in_names_stays_text(page, html):
    assert html.count("<script") == 1
    assert samples.HOSTILE not in html
    assert samples.HOSTILE in page.text("fleet")
    assert samples.HOSTILE in page.text("roc")
    assert samples.HOSTILE_FILE in page.text("abnormal")
    assert [tag for tag, _ in page.tags if tag == "i"] == []
    assert "pump/id_04/<i>0</i>.wav" in page.text("rejected")
    assert {attributes.get("data-type") for tag, attributes in page.tags if tag == "tbody"} >= {samples.HOSTILE}


def test_nothing_is_asked_from_outside(page, html):
    targets = [value for _, attributes in page.tags for name, value in attributes.items() if name in LINKS]
    assert targets
    assert [value[:40] for value in targets if not re.match(r"data:|#[a-z]+$|[a-z]+\.(csv|json)$", value)] == []
    assert not re.search(r"@import|url\(", html)
    policy = next(
        a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_every_file_beside_the_page_is_linked(page):
    links = {attributes["href"] for tag, attributes in page.tags if tag == "a"}
    assert links >= {"auc.csv", "summary.csv", "scores.csv", "rejected.csv", "summary.json"}


def test_every_link_within_the_page_has_its_target(page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {
        attributes["href"][1:] for tag, attributes in page.tags if tag == "a" and attributes["href"][0] == "#"
    } <= set(ids)


def test_the_verdict_counts_machines_and_recordings_and_gives_each_models_mean(page, report):
    assert (
        f"6 machines, {report.counts['listed']} recordings: {report.counts['accepted']} accepted, 3 rejected."
        in page.text("header")
    )
    overall = report.auc[(report.auc["domain"] == "all")]
    for (backbone, detector), rows in overall.groupby(["backbone", "detector"]):
        expected = (
            f"{backbone} · {detector} {np.nanmean(rows['auc'].astype(float)):.3f} mean AUC of 5 machines; 1 undefined"
        )
        assert expected in page.text("header")


def test_a_machine_row_holds_the_figures_of_its_auc_row(page, report):
    auc = report.auc[(report.auc["machine_id"] == "id_02") & (report.auc["machine_type"] == "fan")]
    expected = auc[(auc["domain"] == "all") & (auc["detector"] == "gmm")].iloc[0]
    scores = report.scores[(report.scores["machine_id"] == "id_02") & (report.scores["machine_type"] == "fan")]
    alarms = ((scores["decision"] == "abnormal") & (scores["detector"] == "gmm")).sum()
    assert page.fleet_rows("fan id_02")[0] == [
        "fan id_02 plant-a",
        "efficientnet_lite0 · gmm",
        f"{alarms} of 100",
        "160",
        "60",
        "60",
        "40",
        f"{expected['auc']:.3f}",
        f"{expected['auc_low']:.2f}{DASH}{expected['auc_high']:.2f}",
        f"{expected['pauc']:.3f}",
        "0.550",
        f"{100 * expected['false_alarm_rate']:.3g} %",
        f"{expected['precision']:.2f}",
        f"{expected['recall']:.2f}",
        f"{expected['f1']:.2f}",
    ]
    assert "False alarms stated 2 %" in page.text("fleet")
    assert "95 % interval" in page.text("fleet")


def test_domain_rows_follow_their_machine(page):
    names = [row[0] for row in page.rows if len(row) == 15][1:]
    assert [name.strip() for name in names[1:3]] == ["↳ source", "↳ target"]
    assert sum(name.startswith("↳") for name in names) == 2 * 6 * 2


def test_an_undefined_auc_shows_its_reason_and_no_zero(page):
    undefined = page.fleet_rows("pump id_04")[0]
    assert undefined[6:11] == ["0", DASH, "no abnormal test recordings", DASH, DASH]
    assert undefined[2].endswith(" of 50")


def test_loudness_that_does_as_well_is_pointed_out_in_either_direction(page):
    assert page.fleet_rows("pump id_00")[0][10] == "0.930 louder ≥ AUC"
    assert page.fleet_rows("valve id_02")[0][10] == "0.020 quieter ≥ AUC"
    assert page.fleet_rows("fan id_00")[0][10] == "0.610"


@pytest.mark.parametrize(
    ("auc", "rms_auc", "hint"),
    [(0.8, 0.79, ""), (0.8, 0.8, "louder"), (0.8, 0.2, "quieter"), (0.8, 0.21, ""), (None, 0.9, ""), (0.9, None, "")],
)
def test_the_hint_compares_folded_loudness(auc, rms_auc, hint):
    assert page_rows.loudness_hint(auc, rms_auc) == hint


def test_a_missing_threshold_says_why(page):
    assert page.fleet_rows("pump id_00")[0][2] == "no threshold"
    reason = "12 calibration recordings support no rate below 0.077; asked for 0.02"
    components = "48 training windows: 48 components instead of 80"
    assert f"No threshold. {components} threshold not supported: {reason}" in page.text("distributions")
    assert page.text("distributions").count(reason) == 2
    assert page.text("fleet").count(reason) == 2


def test_the_rejected_are_listed_with_reason_explanation_and_detail(page):
    text = page.text("rejected")
    assert "2 corrupt: the bytes do not match their checksum or cannot be unpacked" in text
    assert "1 silent: it, or one of several channels, is quieter as a whole than health.silent_rms_dbfs" in text
    assert text.count("CRC-32 is 1b2e, the directory says 77aa") == 2
    assert text.count("s3://acoustics/2026-11-21/pump.zip") == 3


def test_means_settings_and_versions_are_there(page, report):
    rows = [[cell.strip() for cell in row] for row in page.rows]
    pump = report.summary[(report.summary["machine_type"] == "pump") & (report.summary["domain"] == "target")].iloc[1]
    expected = [
        "pump",
        DASH,
        "target",
        "squeezenet1_1 · knn",
        "1",
        "1",
        *(f"{pump[name]:.3f}" for name in ("mean_auc", "hmean_auc", "mean_pauc", "hmean_pauc")),
        DASH,
    ]
    assert expected in rows
    assert ["gmm_components", "80"] in rows
    assert ["extensions", ", ".join(IngestSettings().extensions)] in rows
    assert ["fmax_hz", "unset"] in rows
    assert ["numpy", report.versions["numpy"]] in rows


def test_each_clip_is_embedded_with_its_figures(page, report):
    pictures = [a for tag, a in page.tags if tag == "img"]
    sounds = [a for tag, a in page.tags if tag == "audio"]
    assert len(pictures) == len(sounds) == len(report.clips) == 4
    assert all(clip.file in picture["alt"] for clip, picture in zip(report.clips, pictures, strict=True))
    assert all(sound["src"].startswith("data:audio/mpeg;base64,") for sound in sounds)
    assert "loudness cannot be compared by ear" in page.text("abnormal")


def test_a_clip_without_sound_has_no_player(report):
    silent = [dataclasses.replace(clip, audio=None) for clip in report.clips]
    page = Page(render(dataclasses.replace(report, clips=silent)))
    assert sum(tag == "img" for tag, _ in page.tags) == 4
    assert sum(tag == "audio" for tag, _ in page.tags) == 0


def test_degraded_says_why_and_names_the_exit_status(page, report):
    assert "Degraded" not in page.text("header")
    text = Page(render(samples.degraded(report))).text("header")
    assert "3 of 20 recordings were rejected (15 %), more than ingest.max_rejected_fraction (5 %) allows" in text
    assert "exit status 3" in text


def test_missing_values_read_the_same_whatever_their_kind(report, html):
    as_nan = {
        name: getattr(report, name).map(lambda value: np.nan if value is None else value)
        for name in ("auc", "scores", "fleet", "rejected", "notes", "summary")
    }
    as_nan["clips"] = [
        dataclasses.replace(clip, condition=np.nan, site=clip.site or np.nan, threshold=clip.threshold or np.nan)
        for clip in report.clips
    ]
    assert render(dataclasses.replace(report, **as_nan)) == html


def test_a_night_without_labels_shows_alarms_and_scores(report):
    scores = report.scores.assign(label=None)
    undefined = dict.fromkeys(("auc", "auc_low", "auc_high", "pauc", "rms_auc", "precision", "recall", "f1"))
    auc = report.auc.assign(**undefined, n_normal=0, n_abnormal=0, reason="no normal test recordings")
    summary = report.summary.assign(mean_auc=None, n_machines=0)
    page = Page(render(dataclasses.replace(report, auc=auc, scores=scores, summary=summary)))
    assert page.fleet_rows("fan id_02")[0][7:9] == [DASH, "no normal test recordings"]
    assert page.fleet_rows("fan id_02")[0][2].endswith(" of 100")
    assert "No machine has an AUC, so there is no curve" in page.text("roc")
    assert "unlabelled n = 100" in page.text("distributions")
    assert "undefined no machine has an AUC" in page.text("header")


def test_a_run_in_which_everything_was_rejected_still_has_a_page(report):
    empty = {name: getattr(report, name).head(0) for name in ("auc", "summary", "scores", "fleet", "notes")}
    page = Page(render(samples.degraded(dataclasses.replace(report, **empty, clips=[]))))
    assert "No model was evaluated." in page.text("header")
    assert "Nothing outside the training data was scored." in page.text("abnormal")
    assert "No test recording has a score." in page.text("distributions")
    assert "Nothing was evaluated." in page.text("means")


def test_a_run_without_any_recording_still_has_a_page(report):
    tables_of = ("auc", "summary", "scores", "fleet", "notes", "rejected")
    empty = {name: pd.DataFrame(columns=getattr(report, name).columns) for name in tables_of}
    counts = {"listed": 0, "accepted": 0, "rejected": 0}
    page = Page(render(dataclasses.replace(report, **empty, counts=counts, clips=[])))
    assert "0 machines, 0 recordings: 0 accepted, 0 rejected." in page.text("header")
    assert "None: every recording listed was accepted." in page.text("rejected")


def test_a_note_of_no_model_in_particular_is_told_of_the_machine(report):
    note = {"backbone": "", "detector": "", "note": "4 recordings resampled to 16000 Hz"}
    notes = pd.concat([report.notes, report.notes.head(1).assign(**note)], ignore_index=True)
    page = Page(render(dataclasses.replace(report, notes=notes)))
    assert "every model 4 recordings resampled to 16000 Hz" in page.text("fleet")


def test_a_machine_without_any_model_has_its_row(report):
    fleet = pd.concat([report.fleet, report.fleet.head(1).assign(machine_id="id_99")], ignore_index=True)
    page = Page(render(dataclasses.replace(report, fleet=fleet)))
    assert page.fleet_rows("fan id_99")[0][8] == "not evaluated"


def test_several_seeds_have_rows_of_their_own_and_one_curve():
    report = samples.sample_report(2, clips=0, domains=False, seeds=(3, 7))
    page = Page(render(report))
    assert [row[1] for row in page.fleet_rows("fan id_00")] == [
        f"{model} seed {seed}" for model in ("efficientnet_lite0 · gmm", "squeezenet1_1 · knn") for seed in (3, 7)
    ]
    lowest = report.auc[(report.auc["seed"] == 3) & (report.auc["machine_id"] == "id_00")]["auc"].tolist()
    assert [f"AUC {value:.3f}" in page.text("roc") for value in lowest] == [True, True]
    assert len([a for tag, a in page.tags if tag == "path" and a.get("class") == "roc m0"]) == 1 + 2 + 2 + 1


def test_precision_recall_curves_have_the_average_precision_below_them(page, report):
    row = report.auc[(report.auc["domain"] == "all") & (report.auc["machine_id"] == "id_02")].iloc[0]
    assert f"AP {row['average_precision']:.3f} {row['backbone']} · {row['detector']}" in page.text("pr")
    rng = np.random.default_rng(0)
    normal, abnormal = rng.integers(0, 30, 60).astype(float), rng.integers(5, 40, 40).astype(float)
    path = re.search(r'class="roc m0" d="([^"]+)"', pr_svg("k", "fan", [RocLine(0, "net", normal, abnormal)]))[1]
    area, x = 0.0, 22.0
    for height, right in re.findall(r"V([\d.]+)H([\d.]+)", path):
        area += (104 - float(height)) / 100 * (float(right) - x) / 100
        x = float(right)
    expected = average_precision_score(np.repeat([0, 1], [60, 40]), np.r_[normal, abnormal])
    assert (x, area) == (122.0, pytest.approx(expected, abs=2e-3))


def test_comparisons_say_better_only_where_the_interval_excludes_zero(page, report):
    text = page.text("comparisons")
    machines = report.comparisons[report.comparisons["machine_id"].notna() & (report.comparisons["domain"] == "all")]
    shown = pd.concat([report.comparisons[report.comparisons["machine_id"].isna()], machines])
    for better, words in (("a", "A is better"), ("b", "B is better"), ("neither", "no difference shown")):
        assert text.count(words) == (shown["better"] == better).sum()
    row = machines.iloc[0]
    assert f"{row['difference']:+.3f}".replace("-", "\N{MINUS SIGN}") in text
    assert f"all types {len(machines)} machines" in text


def test_calibration_counts_false_alarms_of_all_machines(page, report):
    pool = report.calibration[(report.calibration["machine_type"] == "all") & (report.calibration["domain"] == "all")]
    text = page.text("calibration")
    for row in pool.itertuples():
        figures = f"{row.n_normal} {row.alarms} 2 % {100 * row.observed_rate:.1f} % {100 * row.low:.1f}"
        assert figures in text
    assert "1 without threshold" in text
    assert "Observed over stated rate" in text


def test_the_curve_of_p_values_is_their_cumulative_share():
    svg = calibration_svg("k", [PValueLine(0, "net", np.array([0.25, 0.5, 0.5, 1.0]))])
    # x is 22 + 100 p, y 104 - 100 share: nothing below 0.25, then a quarter, from 0.5 on three quarters.
    assert 'd="M22 104.0V104.0H47.0V79.0H72.0V29.0H122.0V4.0H122.0"' in svg


def test_the_papers_table_stands_beside_ours_only_where_it_applies(page, report):
    assert "published" not in page.sections
    auc = report.auc.head(1).assign(
        condition="-6_dB",
        site=None,
        machine_type="fan",
        machine_id="id_02",
        backbone="resnet34",
        detector="gmm",
        auc=0.7,
    )
    other = Page(render(dataclasses.replace(report, published=published_table(auc))))
    text = other.text("published")
    assert "ResNet34 · GMM 0.656 0.656 ↳ ours, resnet34 · gmm 0.700 +0.044 0.700 +0.044" in text
    assert "LeNet-DCAE" in text


def test_one_model_is_compared_with_none():
    page = Page(render(samples.sample_report(2, clips=0, models=samples.MODELS[:1])))
    assert "comparisons" not in page.sections
    assert ("a", {"href": "#comparisons"}) not in page.tags


def test_training_and_unused_recordings_are_in_no_chart(report):
    scores = report.scores.assign(split="test")
    scores.loc[scores.index[::2], "split"] = "unused"
    fan = (scores["machine_id"] == "id_00") & (scores["machine_type"] == "fan") & (scores["detector"] == "gmm")
    normals = (fan & (scores["split"] == "test") & (scores["label"] == "normal")).sum()
    assert normals == 30
    groups = page_rows.fleet_groups(report.fleet, report.auc, scores)
    chart = page_rows.distribution_charts(groups.shown, scores, report.notes).shown[0]
    assert f"{normals} normal" in chart.svg


def test_charts_of_a_large_fleet_are_capped_and_say_so():
    report = samples.sample_report(40, clips=0, domains=False, models=samples.MODELS[:1])
    page = Page(render(report))
    assert "24 of 39 shown: the machines with the lowest AUC." in page.text("roc")
    assert "24 of 40 shown: those with the most alarms" in page.text("distributions")
    lowest = report.auc.dropna(subset="auc").sort_values("auc").head(24)
    assert all(f"{row.machine_type} {row.machine_id}" in page.text("roc") for row in lowest.itertuples())


def test_a_fleet_beyond_the_tables_cap_keeps_the_machines_with_alarms(report):
    n = page_rows.MAX_GROUPS + 10
    ids = [f"unit_{number:05d}" for number in range(n)]
    fleet = pd.concat([report.fleet.iloc[[0]]] * n, ignore_index=True).assign(machine_id=ids)
    auc = pd.concat([report.auc.iloc[[0]]] * n, ignore_index=True).assign(machine_id=ids)
    scores = report.scores.iloc[[0]].assign(machine_id=ids[-1], decision="abnormal")
    groups = page_rows.fleet_groups(fleet, auc, scores)
    assert groups.total == n
    assert len(groups.shown) == page_rows.MAX_GROUPS
    assert [groups.shown[0].facts["machine_id"], groups.shown[-1].facts["machine_id"]] == [ids[0], ids[-1]]


@pytest.mark.slow
def test_five_hundred_machines_with_three_models_and_domains_stay_below_two_megabytes():
    models = [*samples.MODELS, ("resnet34", "ocsvm")]
    html = render(samples.sample_report(500, clips=0, models=models))
    page = Page(html)
    assert len(page.fleet_rows("↳")) == 500 * 3 * 2
    assert len(html.encode()) < 2_000_000
