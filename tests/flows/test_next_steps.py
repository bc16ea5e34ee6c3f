"""Small real runs that end with nothing scored: the reason and the next step; nothing published if nothing was read."""

import json
from pathlib import Path

import distributed
import pytest
from recordings import machine, tone, wav
from typer.testing import CliRunner

from humwatch.flows.cli import app as cli

SMALL = (
    *("--backbone", "fake", "--detector", "knn", "--set", "images.image_size_px=32"),
    *("--set", "store.block_recordings=16", "--set", "evaluation.bootstrap_samples=100"),
)


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    ) as here:
        yield ("--set", f"dask.address={here.scheduler_address}")


def humwatch(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def write(folder: Path, files) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def reports(lake: Path) -> list[Path]:
    return sorted((lake / "reports").glob("*"))


def test_a_run_without_labels_says_what_would_be_labels(cluster, tmp_path):
    source = write(
        tmp_path / "plant", {f"press/7/{take:04d}.wav": wav(tone(take, duration_s=2.5)) for take in range(5)}
    )
    ran = humwatch("run", source, "--lake", tmp_path / "lake", *SMALL, *cluster)
    assert ran.exit_code == 0, ran.stderr
    assert "nothing was scored [no_labels] 5 recordings, none labelled" in ran.stderr
    assert ran.stderr.count("no_labels") == 1  # the doubt is not told once more
    again = json.loads(humwatch("run", source, "--lake", tmp_path / "lake", *SMALL, *cluster, "--json").stdout)
    assert again["next_step"]["code"] == "no_labels"
    assert [doubt["code"] for doubt in again["doubts"]] == ["no_labels"]
    page = Path(again["report"]).read_text()
    assert "Nothing was scored." in page
    assert "5 recordings, none labelled" in page


def test_a_night_too_early_for_models_has_the_numbers_of_the_machine_that_is_furthest(cluster, tmp_path):
    takes = {f"press/7/2026-11-{night:02d}/{take}.wav": wav(tone(9 * night + take, duration_s=2.5))
             for night in range(1, 6) for take in range(2)}  # fmt: skip
    takes["press/8/2026-11-05/0.wav"] = wav(tone(99, duration_s=2.5))
    source = write(tmp_path / "plant", takes)
    ran = humwatch("nightly", source, "--lake", tmp_path / "lake", *SMALL, *cluster, "--json")
    summary = json.loads(ran.stdout)
    assert (ran.exit_code, summary["recordings_scored"]) == (0, 0)
    assert "press 7, has 5 of 14 nights and 10 of 20 recordings" in summary["next_step"]["message"]
    assert "doubts" not in summary
    assert "5 of 14 nights" in Path(summary["report"]).read_text()
    advice = summary["next_step"]["advice"].partition("--set ")[2].partition(" (")[0]
    advised = [word for option in advice.split(" --set ") for word in ("--set", option)]
    later = json.loads(
        humwatch("nightly", source, "--lake", tmp_path / "lake", *SMALL, *cluster, *advised, "--json").stdout
    )
    assert later["recordings_scored"] > 0  # what is advised helps
    assert "next_step" not in later


def test_what_is_doubtful_is_on_the_page_of_a_run_that_scores_as_well(cluster, tmp_path):
    takes = machine("uke47/pump_03", 4, 2, duration_s=2.5) | machine("uke48/pump_03", 4, 2, duration_s=2.5)
    source = write(tmp_path / "plant", takes)
    summary = json.loads(humwatch("run", source, "--lake", tmp_path / "lake", *SMALL, *cluster, "--json").stdout)
    assert [doubt["code"] for doubt in summary["doubts"]] == ["machine_named_like_date", "one_id_in_several_types"]
    assert "next_step" not in summary
    page = Path(summary["report"])
    assert "2 things may have been misread in names" in page.read_text()
    assert json.loads((page.parent / "summary.json").read_text())["doubts"] == summary["doubts"]
    plain = humwatch("ingest", source, "--lake", tmp_path / "lake", *SMALL, *cluster)
    assert "doubt [machine_named_like_date] 2 machine types are called like a date" in plain.stderr


@pytest.mark.parametrize("command", ["run", "nightly", "ingest"])
@pytest.mark.parametrize(
    ("files", "code", "words"),
    [
        ({"a.txt": b"x"}, "source_empty", "holds no recordings"),
        ({"press/a.wav": b"x", "manifest.csv": b"path,operator\na.wav\n"}, "bad_configuration", "manifest.csv"),
        ({"11/01/a.wav": b"x"}, "nothing_readable", "all 1 recordings were rejected: 1 unclear_machine"),
    ],
)
def test_what_cannot_be_read_is_refused_before_any_work_and_nothing_is_published(tmp_path, command, files, code, words):
    source = write(tmp_path / "plant", files)
    ran = humwatch(command, source, "--lake", tmp_path / "lake", *SMALL, "--json")
    summary = json.loads(ran.stdout)
    assert ran.exit_code == 1
    (error,) = summary["errors"]
    assert error["code"] == code
    assert words in error["message"]
    assert list(summary["seconds"]) == ["ingest"]
    assert not reports(tmp_path / "lake")
    assert summary["report"] is None


def test_recordings_that_are_all_rejected_once_they_are_read_are_not_published_either(cluster, tmp_path):
    source = write(tmp_path / "plant", {f"press/7/normal/{take}.wav": b"no sound" * 99 for take in range(3)})
    ran = humwatch("run", source, "--lake", tmp_path / "lake", *SMALL, *cluster, "--json")
    summary = json.loads(ran.stdout)
    assert ran.exit_code == 1
    assert [error["code"] for error in summary["errors"]] == ["nothing_readable"]
    assert "all 3 recordings were rejected: 3 not_audio" in summary["errors"][0]["message"]
    assert (summary["listed"], summary["rejected"]) == (3, 3)
    assert not reports(tmp_path / "lake")


def test_what_is_in_the_lake_already_is_reported_although_tonights_source_cannot_be_read(cluster, tmp_path):
    source, lake = write(tmp_path / "plant", machine("fan/id_00", 4, 2, duration_s=2.5)), tmp_path / "lake"
    humwatch("run", source, "--lake", lake, *SMALL, *cluster)
    ran = humwatch("run", tmp_path / "absent", "--lake", lake, *SMALL, *cluster, "--json")
    summary = json.loads(ran.stdout)
    assert (ran.exit_code, summary["errors"][0]["code"]) == (1, "source_not_found")
    assert Path(summary["report"]).exists()
