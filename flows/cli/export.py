"""Commands that hand what the lake knows to other people's programs."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated

import typer

from humwatch.flows.cli.answers import Answer, answer
from humwatch.flows.cli.console import print_table
from humwatch.flows.cli.options import LakeUri, ReadingOptions, absolute, shared_options
from humwatch.flows.exit_status import DONE
from humwatch.storage.errors import BadConfiguration, NotComplete

if TYPE_CHECKING:
    import pandas as pd

    from humwatch.tasks.plan.run import Run

app = typer.Typer()
export_app = typer.Typer(no_args_is_help=True, help="Scores for other programs.")
app.add_typer(export_app, name="export")


@export_app.command("dcase")
@shared_options
def dcase_command(
    destination: Annotated[str, typer.Argument(help="Folder for the files, new or empty; a path or URI.")],
    year: Annotated[int, typer.Option(help="Challenge whose layout it is, 2020 to 2025.")],
    lake: LakeUri,
    options: ReadingOptions,
    machines: Annotated[str | None, typer.Option(help="Pattern on TYPE/ID, such as 'ToyCar/*'.")] = None,
) -> None:
    """Write the scores of one model as submission files of DCASE Challenge Task 2, for its official evaluators.

    With --json: year, backbone, detector, seed, destination, files, recordings, missing (sections of the year's
    evaluation set that the lake has no test recordings of), errors.
    """
    where = absolute(destination)

    def ask() -> Answer:
        from humwatch.flows.operations.status import open_existing
        from humwatch.tasks.evaluation.submission import missing_sections, submission_files
        from humwatch.tasks.plan.run import Run
        from humwatch.tasks.plan.scope import Scope

        run = Run(absolute(lake), options.settings(), Scope(machines=machines))
        chosen = _only_variant(run)
        open_existing(run.lake_uri)
        recordings = _test_recordings(run)
        files = submission_files(recordings, year)
        _write(where, files)
        missing = missing_sections(recordings, year)
        if not options.as_json:
            print_table(f"{len(files)} files of {len(recordings)} recordings in {where}")
            if missing:
                print_table(f"not in this lake, of the evaluation set of {year}: {', '.join(missing)}")
        counts = {"files": sorted(files), "recordings": len(recordings), "missing": missing}
        return {"year": year, **chosen, "destination": where, **counts}, DONE

    answer("export dcase", absolute(lake), ask, as_json=options.as_json)


def _only_variant(run: Run) -> dict[str, str | int]:
    """Return the one model that the settings name; a submission is of one."""
    features, fit = run.settings.features, run.settings.fit
    choices: dict[str, tuple[str | int, ...]] = {
        "--backbone": features.backbones, "--detector": fit.detectors, "--set fit.seeds": fit.seeds
    }  # fmt: skip
    if several := {flag: values for flag, values in choices.items() if len(values) > 1}:
        told = "; ".join(f"{flag}: {', '.join(map(str, values))}" for flag, values in several.items())
        raise BadConfiguration(f"a submission is of one model, and the settings name several: choose by {told}")
    return {"backbone": features.backbones[0], "detector": fit.detectors[0], "seed": fit.seeds[0]}


def _test_recordings(run: Run) -> pd.DataFrame:
    """Return every test recording in scope with its score, rejected ones without."""
    from humwatch.tasks.evaluation.store import read_scores
    from humwatch.tasks.plan.scores import score_paths

    recordings = run.catalog().restricted_to(run.scope).recordings
    tests = recordings[recordings["split"] == "test"]
    if tests.empty:
        return tests
    paths = score_paths(run)
    if not paths:
        raise NotComplete("the lake has no scores under these settings: run `humwatch run` with the same ones first")
    scores = read_scores(run.lake, paths)
    scores = scores[~scores["in_training"]]
    files = tests["path"].map(lambda path: PurePosixPath(path).name)
    known = tests[["recording_id", "site", "condition", "machine_type", "machine_id", "domain", "reason"]]
    return known.assign(file=files).merge(
        scores[["recording_id", "score", "decision"]], on="recording_id", how="left", validate="1:1"
    )


def _write(destination: str, files: dict[str, bytes]) -> None:
    from humwatch.storage.lake import Lake

    folder = Lake(destination)
    if present := folder.list(""):
        raise BadConfiguration(f"{destination} is not empty ({present[0]}): an evaluator would read what else is there")
    for name, data in files.items():
        folder.write(name, data)
