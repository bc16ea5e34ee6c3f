"""A small lake made by calling the stages in this process, and the command line called in this process, too."""

import json
from dataclasses import dataclass
from pathlib import Path

from recordings import machine, write_zip
from typer.testing import CliRunner

from humwatch.flows.cli.app import app
from humwatch.flows.presets import load
from humwatch.storage.records import PublishedSummary
from humwatch.storage.reports import publish
from humwatch.tasks.detectors.task import fit_models
from humwatch.tasks.evaluation.store import evaluate, read_evaluation, read_scores, score_paths
from humwatch.tasks.features.task import compute_features
from humwatch.tasks.ingest.task import ingest_sources
from humwatch.tasks.plan.run import Run
from humwatch.tasks.reports.assemble import files_of
from humwatch.tasks.scoring.task import score_recordings
from humwatch.tasks.spectrograms.task import compute_spectrograms

ASSIGNMENTS = (
    *("images.image_size_px=64", 'features.backbones=["fake"]', 'fit.detectors=["gmm"]', "fit.gmm_components=2"),
    "fit.pca_components=none",
)
FLAGS = tuple(part for assignment in ASSIGNMENTS for part in ("--set", assignment))


def work_on(lake: Path, *assignments: str) -> Run:
    return Run(str(lake), load(assignments=[*ASSIGNMENTS, *assignments]))


def plant(folder: Path, **members: bytes) -> Path:
    """An archive of a fan with faults and a pump without; 2.2 s are one window."""
    made = {
        **machine("fan/id_00", 6, 3, duration_s=2.2),
        **machine("pump/id_01", 4, 0, duration_s=2.2, frequency_hz=300.0),
        **members,
    }
    return write_zip(folder / "plant.zip", made)


@dataclass(frozen=True)
class Counts:
    new: int
    decoded: int
    embedded: int
    fitted: int
    scored: int


def run_stages(work: Run, *sources: Path) -> Counts:
    """The chain up to the scores."""
    work.refresh()  # a test may have changed the lake since
    ingested = ingest_sources.fn(work, [str(source) for source in sources])
    assert ingested.errors == ()
    decoded = compute_spectrograms.fn(work)
    assert decoded.errors == ()
    return Counts(
        ingested.new,
        decoded.recordings_decoded,
        compute_features.fn(work).windows_embedded,
        fit_models.fn(work).models_fitted,
        score_recordings.fn(work).recordings_scored,
    )


def publish_scores(work: Run, report_id: str, created_at: str) -> str:
    """Publish a report with a real one's tables and a page of one line; return its evaluation's id."""
    lake = work.lake
    evaluation_id = evaluate(work)
    tables = {"auc": read_evaluation(lake, evaluation_id).auc, "scores": read_scores(lake, score_paths(work))}
    summary = PublishedSummary(report_id=report_id, created_at=created_at)
    files = {**files_of(tables), "index.html": b"<p>report</p>"}
    publish(lake, report_id, files.items(), summary, lambda summaries: f"{len(summaries)} reports")
    return evaluation_id


@dataclass(frozen=True)
class Answer:
    status: int
    stdout: str
    stderr: str

    @property
    def json(self):
        return json.loads(self.stdout)


def humwatch(*arguments) -> Answer:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Answer(result.exit_code, result.stdout, result.stderr)


def contents(lake: Path) -> dict[str, bytes]:
    return {str(path.relative_to(lake)): path.read_bytes() for path in lake.rglob("*") if path.is_file()}
