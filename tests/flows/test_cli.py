"""The command line in this process: exit statuses, what goes to which stream, and one run of everything."""

import json
import re
import runpy
import sys
from pathlib import Path

import distributed
import pandas as pd
import pytest
import torch
from prefect import flow
from prefect.client.orchestration import get_client
from recordings import machine, write_zip
from typer.testing import CliRunner

from humwatch.flows.cli import app as cli
from humwatch.flows.cli.console import live_progress
from humwatch.flows.presets import load
from humwatch.storage.errors import SourceNotFound, StorageUnavailable
from humwatch.storage.lake import Lake
from humwatch.storage.reasons import EXPLANATIONS, Reason
from humwatch.tasks.execution import progress
from humwatch.tasks.execution.stage import run_on_workers, stage
from humwatch.tasks.ingest.task import ingest_sources
from humwatch.tasks.plan.run import Run

SMALL = (
    *("--backbone", "fake", "--detector", "gmm", "--set", "fit.pca_components=none", "--set", "fit.gmm_components=2"),
    *("--set", "images.image_size_px=32"),
    *("--set", "store.block_recordings=4", "--set", "store.chunk_recordings=2"),
    *("--set", "evaluation.bootstrap_samples=100"),
)
WORK_COUNTS = ("recordings_decoded", "windows_embedded", "models_fitted", "recordings_scored")


def humwatch(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    members = {**machine("fan/id_00", 6, 3, duration_s=2.5), **machine("pump/id_00", 3, 0, duration_s=2.5)}
    members["fan/id_00/normal/broken.wav"] = b"this is no sound"
    return write_zip(tmp_path_factory.mktemp("source") / "plant.zip", members)


@pytest.fixture(scope="module")
def cluster():
    """Workers in this process: quick to begin, and measured."""
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    ) as here:
        yield ("--set", f"dask.address={here.scheduler_address}")


@pytest.fixture(scope="module")
def ran(archive, tmp_path_factory):
    """The first run of a lake, with a worker process and an embedded Prefect server of its own."""
    lake = tmp_path_factory.mktemp("lake")
    arguments = ("--workers", 1, "--set", "ingest.max_rejected_fraction=0.5")
    return lake, humwatch("run", archive, "--lake", lake, *SMALL, *arguments)


def report_of(result) -> Path:
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("report: "))
    return Path(line.removeprefix("report: "))


def test_a_run_prints_the_figures_and_where_the_report_is(ran):
    _, result = ran
    assert result.exit_code == 0, result.stderr
    assert "13 recordings listed, 12 accepted, 1 rejected; this run decoded 13, embedded 12 windows" in result.stdout
    assert "fitted 2 models, scored 12" in result.stdout
    assert f"rejected: 1 not_audio ({EXPLANATIONS[Reason.NOT_AUDIO]})" in result.stderr
    fan, pump = (line for line in result.stdout.splitlines() if "id_00" in line)
    auc = pd.read_csv(report_of(result).parent / "auc.csv").set_index("machine_type")["auc"]
    assert f"{auc['fan']:.3f}" in fan
    assert "no test recordings" in pump
    assert {path.name for path in report_of(result).parent.iterdir()} >= {"index.html", "summary.json", "scores.csv"}


def test_a_run_tells_its_progress_on_standard_error_in_plain_lines(ran):
    lines = ran[1].stderr.splitlines()
    # Ten fans are three blocks of four, three pumps two of two and one.
    assert [line for line in lines if line.startswith("spectrograms")] == [f"spectrograms: {n}/5" for n in range(1, 6)]
    assert "fit: 2/2" in lines
    assert "degraded" not in ran[1].stderr
    assert "Traceback" not in ran[1].stderr


def test_a_run_leaves_its_figures_as_artifacts_of_prefect(ran):
    with get_client(sync_client=True) as client:
        found = client.read_artifacts()
    # Runs of other tests may share the server.
    own = next(one.flow_run_id for one in found if one.key == "report" and str(report_of(ran[1])) in one.data)
    artifacts = {artifact.key: artifact for artifact in found if artifact.flow_run_id == own}
    assert {"auc", "calibration", "summary", "report"} <= set(artifacts)
    table = json.loads(artifacts["auc"].data)
    assert [row["machine_type"] for row in table] == ["fan", "pump"]
    assert "listed: 13" in artifacts["summary"].data


def test_a_second_run_does_nothing_and_says_so_in_one_json_object(ran, archive, cluster):
    lake, first = ran
    before = {path: Lake(str(lake)).read(path) for path in Lake(str(lake)).list("")}
    arguments = ("--set", "ingest.max_rejected_fraction=0.5", "--json")
    result = humwatch("run", archive, "--lake", lake, *SMALL, *cluster, *arguments)
    summary = json.loads(result.stdout)
    assert (result.exit_code, summary["errors"]) == (0, [])
    assert [summary[name] for name in WORK_COUNTS] == [0, 0, 0, 0]
    assert (summary["listed"], summary["accepted"], summary["rejected"]) == (13, 12, 1)
    assert summary["reasons"] == {"not_audio": 1}
    assert summary["report"] == str(report_of(first))
    assert {path: Lake(str(lake)).read(path) for path in Lake(str(lake)).list("")} == before


def test_too_many_rejected_is_status_3_with_a_report_that_says_so(ran, archive, cluster):
    result = humwatch("run", archive, "--lake", ran[0], *SMALL, *cluster)
    assert result.exit_code == 3
    assert "degraded: more recordings were rejected than ingest.max_rejected_fraction allows" in result.stderr
    assert json.loads((report_of(result).parent / "summary.json").read_text())["degraded"] is True


def test_a_source_that_cannot_be_read_is_status_1_after_the_others_are_done(ran, archive, cluster, tmp_path):
    absent = tmp_path / "absent.zip"
    further = write_zip(tmp_path / "further.zip", machine("valve/id_00", 4, 0, duration_s=2.5))
    result = humwatch("run", absent, further, "--lake", tmp_path / "lake", *SMALL, *cluster, "--json")
    summary = json.loads(result.stdout)
    assert result.exit_code == 1
    assert [(error["source"], error["stage"], error["code"]) for error in summary["errors"]] == [
        (str(absent), "ingest", "source_not_found")
    ]
    assert (summary["listed"], summary["recordings_scored"]) == (4, 4)
    assert Path(summary["report"]).exists()


def test_stages_alone_do_their_own_work(archive, cluster, tmp_path):
    for command, count in (("ingest", None), ("spectrograms", 13), ("features", 12), ("fit", 2), ("score", 12)):
        sources = [archive] if command == "ingest" else []
        result = humwatch(command, *sources, "--lake", tmp_path, *SMALL, *cluster, "--json")
        summary = json.loads(result.stdout)
        assert list(summary["seconds"]) == [command]
        done = {name: summary[name] for name in WORK_COUNTS if summary[name]}
        assert list(done.values()) == ([] if count is None else [count])


def test_absent_weights_are_status_2_and_say_how_to_get_them(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    try:
        arguments = ("--backbone", "resnet34", "--set", f"features.weights_dir={tmp_path / 'staged'}")
        result = humwatch("features", "--lake", tmp_path / "lake", *arguments, *cluster)
    finally:
        torch.hub.set_dir(before)
    assert result.exit_code == 2
    assert "error [weights_not_found] no weights for resnet34" in result.stderr
    assert "humwatch weights fetch resnet34" in result.stderr
    assert str(tmp_path / "staged") in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize("command", ["evaluate", "fit"])
def test_a_lake_of_a_newer_version_is_status_1_with_its_code(cluster, tmp_path, command):
    (tmp_path / "lake.json").write_text('{"format_version": 99}')
    result = humwatch(command, "--lake", tmp_path, *SMALL, *cluster, "--json")
    (error,) = json.loads(result.stdout)["errors"]
    assert (result.exit_code, error["code"]) == (1, "lake_too_new")
    assert "99" in error["message"]
    assert "Traceback" not in result.stderr
    plain = humwatch(command, "--lake", tmp_path, *SMALL, *cluster)
    assert plain.exit_code == 1
    assert "error [lake_too_new]" in plain.stderr


def test_a_scheduler_that_does_not_answer_is_named(tmp_path):
    result = humwatch(
        "ingest", tmp_path, "--lake", tmp_path / "lake", "--set", "dask.address=tcp://127.0.0.1:9", "--json"
    )
    (error,) = json.loads(result.stdout)["errors"]
    assert (result.exit_code, error["code"]) == (1, "storage_unavailable")
    assert "tcp://127.0.0.1:9" in error["message"]
    assert "Traceback" not in result.stderr


def test_what_nobody_thought_of_is_still_one_json_object_and_a_traceback_for_us(cluster, tmp_path):
    (tmp_path / "lake.json").write_text("no json")
    result = humwatch("fit", "--lake", tmp_path, *SMALL, *cluster, "--json")
    (error,) = json.loads(result.stdout)["errors"]
    assert (result.exit_code, error["code"]) == (1, "internal_error")
    assert "Traceback" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "x.zip"), "--lake"),
        (("run", "--lake", "x"), "sources"),
        (("run", "x.zip", "--lake", "x", "--preset", "loud"), "'loud' is not one of"),
        (("run", "x.zip", "--lake", "x", "--workers", "many"), "--workers"),
        (("run", "x.zip", "--lake", "x", "--loud"), "--loud"),
        (("sing",), "sing"),
    ],
)
def test_bad_usage_is_status_2_and_says_what_is_wrong(arguments, message):
    result = humwatch(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--backbone", "resnet35"), "resnet34"),
        (("--detector", "gmn"), "fit.detectors"),
        (("--set", "sound.n_mels=3"), "sound"),
        (("--set", "n_mels=3"), "is not section.key=value"),
        (("--config", "/absent/humwatch.toml"), "cannot be read"),
        (("--device", "tpu"), "features.device"),
        (("--workers", "-1"), "dask.workers"),
        (("--set", "dask.address=nonsense"), "dask.address 'nonsense' is no address"),
    ],
)
def test_bad_configuration_is_status_2_and_begins_nothing(tmp_path, arguments, message):
    command = ("run", tmp_path / "x.zip", "--lake", tmp_path / "lake", *arguments)
    as_json, plain = humwatch(*command, "--json"), humwatch(*command)
    assert as_json.exit_code == plain.exit_code == 2
    (error,) = json.loads(as_json.stdout)["errors"]
    assert (error["code"], error["stage"]) == ("bad_configuration", "settings")
    assert message in error["message"]
    assert "error [bad_configuration]" in plain.stderr
    assert plain.stdout == ""
    assert not (tmp_path / "lake").exists()


def test_weights_that_are_here_are_listed_with_their_place(tmp_path):
    (tmp_path / "resnet18-0123abcd.pth").write_bytes(b"")
    staged = ("--set", f"features.weights_dir={tmp_path}")
    rows = {row["backbone"]: row for row in json.loads(humwatch("weights", "list", *staged, "--json").stdout)}
    assert (rows["resnet18"]["available"], rows["resnet18"]["where"]) == (True, str(tmp_path))
    assert rows["squeezenet1_1"]["available"]
    assert rows["efficientnet_lite0"]["licence"] == "Apache-2.0"
    assert not {"fake", "logmel"} & set(rows)
    plain = humwatch("weights", "list", *staged)
    assert plain.exit_code == 0
    (line,) = (line for line in plain.stdout.splitlines() if "resnet18-0123abcd.pth" in line)
    assert "yes" in line


@pytest.mark.parametrize("name", ["resnet50-11111111.pth", None])
def test_weights_that_cannot_be_listed_are_status_2(tmp_path, name):
    if name is None:
        result = humwatch("weights", "list", "--set", "features.wieghts_dir=x")
        message = "features.wieghts_dir"
    else:
        for file in (name, "resnet50-22222222.pth"):
            (tmp_path / file).write_bytes(b"")
        result = humwatch("weights", "list", "--set", f"features.weights_dir={tmp_path}")
        message = "keep one of them"
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_weights_are_staged_where_a_run_finds_them(tmp_path):
    result = humwatch("weights", "fetch", "efficientnet_lite0", "--to", tmp_path)
    assert result.exit_code == 0
    (line,) = result.stdout.splitlines()
    assert Path(line).read_bytes()
    assert Path(line).parent == tmp_path
    wrong = humwatch("weights", "fetch", "fake", "--to", tmp_path)
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "'fake' has no weights to fetch" in wrong.stderr


def test_a_demo_away_from_its_samples_says_where_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "SAMPLES", tmp_path)
    result = humwatch("demo", "--lake", tmp_path / "lake")
    assert result.exit_code == 2
    assert "run `make demo` in a clone" in " ".join(result.stderr.split())


def test_the_module_is_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["humwatch", "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("humwatch", run_name="__main__")
    assert end.value.code == 0
    shown = capsys.readouterr().out
    for command in (
        "run",
        "ingest",
        "spectrograms",
        "features",
        "fit",
        "score",
        "evaluate",
        "report",
        "demo",
        "weights",
    ):
        assert command in shown


def test_a_terminal_gets_a_bar_for_each_stage(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with live_progress(quiet=False):
        for done in (1, 2, 3):
            progress.tell("spectrograms", done, 3)
        progress.tell("fit", 1, 7)
    captured = capsys.readouterr()
    assert captured.out == ""
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", " ", captured.err).split()
    assert {"spectrograms", "3/3", "fit", "1/7"} <= set(shown)


def test_json_wants_no_progress(capsys):
    with live_progress(quiet=True):
        progress.tell("fit", 1, 7)
    assert capsys.readouterr() == ("", "")


def test_a_stage_is_tried_again_when_that_may_help_and_only_then(ran):
    """Four tries at a store that does not answer, one at a source that is not there."""
    tries = {"unavailable": 0, "recovers": 0, "absent": 0}
    given = Run("lake", load())

    def fail(name, error, times=99):
        def body(_run):
            tries[name] += 1
            if tries[name] <= times:
                raise error
            return "done"

        return stage(name)(body).task.with_options(retry_delay_seconds=0)

    @flow
    def stages():
        assert fail("recovers", StorageUnavailable("busy"), times=2)(given) == "done"
        for name, error in (("unavailable", StorageUnavailable("busy")), ("absent", SourceNotFound("gone"))):
            with pytest.raises(type(error)):
                fail(name, error)(given)

    stages()
    assert tries == {"recovers": 3, "unavailable": 4, "absent": 1}


def test_a_source_that_answers_no_try_is_named_at_the_last_one(ran, archive, tmp_path):
    """The other sources do not wait for it for ever."""
    work = Run(str(tmp_path / "lake"), load())

    @flow
    def ingest():
        absent = "http://127.0.0.1:9/absent.zip"
        return ingest_sources.task.with_options(retry_delay_seconds=0)(work, [absent, str(archive)])

    summary = ingest()
    ((source, error),) = summary.errors
    assert (source, error.code) == ("http://127.0.0.1:9/absent.zip", "storage_unavailable")
    assert summary.new == 13


def _square(number):
    if number < 0:
        raise SourceNotFound(f"no root of {number}")
    return number * number


def test_units_of_a_stage_are_all_worked_off_whatever_the_number_in_flight():
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
        ) as here,
        distributed.Client(here),
    ):
        for in_flight in (1, 3, 50):
            assert sorted(run_on_workers("x", _square, range(20), 20, in_flight)) == [n * n for n in range(20)]
        assert list(run_on_workers("x", _square, [], 0, 2)) == []
        with pytest.raises(SourceNotFound, match="no root of -1"):
            list(run_on_workers("x", _square, [1, -1, 2], 3, 1))
    assert list(run_on_workers("x", _square, [3, 1], 2, 1)) == [9, 1]
