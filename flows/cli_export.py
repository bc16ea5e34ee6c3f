"""Commands that hand what the lake knows to other people's programs."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated

import pandas as pd
import typer

from flows.cli_common import (
    Answer,
    AsJson,
    Assignments,
    Backbones,
    ConfigFile,
    Detectors,
    LakeUri,
    Preset,
    absolute,
    answer,
    flags_of,
)
from flows.console import print_table
from flows.settings import load
from flows.status import open_existing
from flows.summary import DONE
from storage.errors import BadConfiguration, NotComplete
from storage.lake import Lake
from tasks.evaluation.kept import read_scores, score_paths
from tasks.evaluation.submission import missing_sections, submission_files
from tasks.scope import Scope
from tasks.work import Work

app = typer.Typer()
export_app = typer.Typer(no_args_is_help=True, help="Scores for other programs.")
app.add_typer(export_app, name="export")


@export_app.command("dcase")
def dcase_command(
    destination: Annotated[str, typer.Argument(help="Folder for the files, new or empty; a path or URI.")],
    year: Annotated[int, typer.Option(help="Challenge whose layout it is, 2020 to 2025.")],
    lake: LakeUri,
    machines: Annotated[str | None, typer.Option(help="Pattern on TYPE/ID, such as 'ToyCar/*'.")] = None,
    preset: Preset = "default",
    config: ConfigFile = None,
    assignments: Assignments = None,
    backbone: Backbones = None,
    detector: Detectors = None,
    as_json: AsJson = False,
) -> None:
    """Write the scores of one model as submission files of DCASE Challenge Task 2, for its official evaluators.

    With --json: year, backbone, detector, seed, destination, files, recordings, missing (sections of the year's
    evaluation set that the lake has no test recordings of), errors.
    """
    where = absolute(destination)

    def ask() -> Answer:
        settings = load(preset, config, flags_of(backbone, detector, None, None), assignments or ())
        work = Work(absolute(lake), settings, Scope(machines=machines))
        chosen = _only_variant(work)
        recordings = _test_recordings(open_existing(work.lake_uri), work)
        files = submission_files(recordings, year)
        _write(where, files)
        missing = missing_sections(recordings, year)
        if not as_json:
            print_table(f"{len(files)} files of {len(recordings)} recordings in {where}")
            if missing:
                print_table(f"not in this lake, of the evaluation set of {year}: {', '.join(missing)}")
        counts = {"files": sorted(files), "recordings": len(recordings), "missing": missing}
        return {"year": year, **chosen, "destination": where, **counts}, DONE

    answer("export dcase", absolute(lake), ask, as_json=as_json)


def _only_variant(work: Work) -> dict[str, str | int]:
    """Return the one model that the settings name; a submission is of one."""
    features, fit = work.settings.features, work.settings.fit
    choices: dict[str, tuple[str | int, ...]] = {
        "--backbone": features.backbones, "--detector": fit.detectors, "--set fit.seeds": fit.seeds
    }  # fmt: skip
    if several := {flag: values for flag, values in choices.items() if len(values) > 1}:
        told = "; ".join(f"{flag}: {', '.join(map(str, values))}" for flag, values in several.items())
        raise BadConfiguration(f"a submission is of one model, and the settings name several: choose by {told}")
    return {"backbone": features.backbones[0], "detector": fit.detectors[0], "seed": fit.seeds[0]}


def _test_recordings(lake: Lake, work: Work) -> pd.DataFrame:
    """Return every test recording in scope with its score, rejected ones without."""
    recordings = work.catalog(lake).within(work.scope).recordings
    tests = recordings[recordings["split"] == "test"]
    if tests.empty:
        return tests
    paths = score_paths(lake, work)
    if not paths:
        raise NotComplete("the lake has no scores under these settings: run `humwatch run` with the same ones first")
    scores = read_scores(lake, paths)
    scores = scores[~scores["in_training"]]
    files = tests["path"].map(lambda path: PurePosixPath(path).name)
    known = tests[["recording_id", "site", "condition", "machine_type", "machine_id", "domain", "reason"]]
    return known.assign(file=files).merge(
        scores[["recording_id", "score", "decision"]], on="recording_id", how="left", validate="1:1"
    )


def _write(destination: str, files: dict[str, bytes]) -> None:
    folder = Lake(destination)
    if there := folder.list(""):
        raise BadConfiguration(f"{destination} is not empty ({there[0]}): an evaluator would read what else is there")
    for name, data in files.items():
        folder.write(name, data)
