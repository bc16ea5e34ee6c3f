"""What goes into a night's pages: states, scores, notes, and pictures and sound of the machines that need attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from humwatch.storage.models import Machine
from humwatch.tasks.alarms.rates import fleet_rates
from humwatch.tasks.explanation.explain import explain_recordings
from humwatch.tasks.frames import rows_of
from humwatch.tasks.plan.actions import Actions
from humwatch.tasks.plan.catalog import Catalog, by_machine
from humwatch.tasks.plan.night_tables import read_nights
from humwatch.tasks.plan.run import Run
from humwatch.tasks.reports.assemble import sound_of, spectrogram_of
from humwatch.tasks.reports.evaluation.page import ReportInput
from humwatch.tasks.reports.night.fleet_view import MachineView, fleet_of
from humwatch.tasks.reports.night.site import CHART_NIGHTS, Site, TopRecording
from humwatch.tasks.reports.page_rows import Row

# Whose recordings are worth a look and a listen; of the others their figures are enough.
_STATES_WITH_AUDIO = ("alarm", "attention", "unhealthy_sensor")
_EXPLAINED = 1  # recordings of each machine: a map costs hundreds of images through the backbone


def night_site(catalog: Catalog, run: Run, report: ReportInput, files: Sequence[str]) -> Site:
    """Return the input of a night's pages, which show the first variant of the settings.

    Args:
        catalog: Of the night's recordings.
        run: Its scope is one night.
        report: What the night's evaluation is made of; the pages of machines share most of it.
        files: Names of the files beside the pages.
    """
    shown, nights = run.variants[0], read_nights(run, CHART_NIGHTS)
    night, model = str(nights["night"].max()), (shown.backbone, shown.detector, shown.seed)
    scores = most_abnormal(report.scores, model)
    notes = report.notes[report.notes["backbone"].isin(("", shown.backbone))]
    fleet = fleet_of(nights, night, model)
    return Site(
        title=report.title,
        report_id=report.report_id,
        created_at=report.created_at,
        lake=report.lake,
        fleet=fleet,
        counts=report.counts,
        degraded=report.degraded,
        max_rejected_fraction=report.max_rejected_fraction,
        rates=fleet_rates(run.settings.alarms, len(fleet.machines)),
        scores=scores,
        notes={machine: list(rows["note"].unique()) for machine, rows in by_machine(notes).items()},
        rejected=report.rejected,
        files=[name for name in files if not name.endswith(".parquet")],
        settings=report.settings,
        versions=report.versions,
        spectrogram=run.settings.spectrogram,
        doubts=report.doubts,
        next_step=report.next_step,
        nothing_arrived=report.nothing_arrived,
        listen=top_recordings_of(catalog, scores, run),
        actions=Actions.read(run.lake).until(night),
    )


def most_abnormal(scores: pd.DataFrame, model: tuple[str, str, int]) -> dict[Machine, list[Row]]:
    """Rows of the scores table under one model by machine, the highest score first."""
    of_model = (scores[["backbone", "detector", "seed"]] == list(model)).all(axis=1)
    judged = scores[of_model & scores["score"].notna()].drop(columns="window_scores")
    ordered = judged.sort_values(["score", "recording_id"], ascending=[False, True], kind="stable")
    return {machine: rows_of(rows) for machine, rows in by_machine(ordered).items()}


def top_recordings_of(
    catalog: Catalog, scores: Mapping[Machine, Sequence[Row]], run: Run
) -> Callable[[MachineView], Sequence[TopRecording]]:
    """Return what gives a machine's most abnormal recordings to see and hear, none of one that is as usual.

    Args:
        catalog: Of the night's recordings.
        scores: The night's rows of the scores table by machine, the most abnormal first.
        run: Its settings made them.
    """
    most = min(run.settings.report.top_recordings, run.settings.report.max_clips)
    places = catalog.recordings.set_index("recording_id", drop=False)

    def listen(view: MachineView) -> list[TopRecording]:
        rows = scores.get(view.machine, ())[:most] if view.state in _STATES_WITH_AUDIO else ()
        if not rows:
            return []
        chosen = pd.DataFrame(rows[:_EXPLAINED])
        explained = {each.recording_id: each.relevance for each in explain_recordings(chosen, run)}
        recordings = []
        for row, place in zip(rows, rows_of(places.loc[[row["recording_id"] for row in rows]]), strict=True):
            logmel, relevance = spectrogram_of(catalog, place, run), explained.get(row["recording_id"])
            recordings.append(TopRecording(row, logmel, relevance, *sound_of(place, run)))
        return recordings

    return listen
