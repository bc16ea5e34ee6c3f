"""What goes into a night's pages: states, scores, notes, and pictures and sound of the machines that need attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from storage.lake import Lake
from storage.models import Machine
from tasks.alarms.nights import read_nights, variants_of
from tasks.catalog import Catalog, by_machine
from tasks.explanation.explain import explain_recordings
from tasks.reports.assemble import sound_of, spectrogram_of
from tasks.reports.fleet import MachineView, fleet_of
from tasks.reports.page import ReportInput
from tasks.reports.site import CHART_NIGHTS, Site, TopRecording
from tasks.reports.tables import Row, records
from tasks.work import Work

# Whose recordings are worth a look and a listen; of the others their figures are enough.
_HEARD_OUT = ("alarm", "attention", "unhealthy_sensor")
_EXPLAINED = 1  # recordings of each machine: a map costs hundreds of images through the backbone


def night_site(lake: Lake, catalog: Catalog, work: Work, report: ReportInput, files: Sequence[str]) -> Site:
    """Return the input of a night's pages, which show the first variant of the settings.

    Args:
        lake: Where the nights, spectrograms and models are.
        catalog: Of the night's recordings.
        work: Its scope is one night.
        report: What the night's evaluation is made of; the pages of machines share most of it.
        files: Names of the files beside the pages.
    """
    shown, nights = variants_of(work)[0], read_nights(lake, work, CHART_NIGHTS)
    model = (shown.backbone, shown.detector, shown.seed)
    scores = most_abnormal(report.scores, model)
    notes = report.notes[report.notes["backbone"].isin(("", shown.backbone))]
    return Site(
        title=report.title,
        report_id=report.report_id,
        created_at=report.created_at,
        lake=report.lake,
        fleet=fleet_of(nights, str(nights["night"].max()), model),
        counts=report.counts,
        degraded=report.degraded,
        max_rejected_fraction=report.max_rejected_fraction,
        false_alarm_rate=work.settings.alarms.false_alarm_rate,
        attention_rate=work.settings.alarms.attention_rate,
        scores=scores,
        notes={machine: list(rows["note"].unique()) for machine, rows in by_machine(notes).items()},
        rejected=report.rejected,
        files=[name for name in files if not name.endswith(".parquet")],
        settings=report.settings,
        versions=report.versions,
        spectrogram=work.settings.spectrogram,
        listen=listener(lake, catalog, scores, work),
    )


def most_abnormal(scores: pd.DataFrame, model: tuple[str, str, int]) -> dict[Machine, list[Row]]:
    """Rows of the scores table under one model by machine, the highest score first."""
    of_model = (scores[["backbone", "detector", "seed"]] == list(model)).all(axis=1)
    judged = scores[of_model & scores["score"].notna()].drop(columns="window_scores")
    ordered = judged.sort_values(["score", "recording_id"], ascending=[False, True], kind="stable")
    return {machine: records(rows) for machine, rows in by_machine(ordered).items()}


def listener(
    lake: Lake, catalog: Catalog, scores: Mapping[Machine, Sequence[Row]], work: Work
) -> Callable[[MachineView], Sequence[TopRecording]]:
    """Return what gives a machine's most abnormal recordings to see and hear, none of one that is as usual.

    Args:
        lake: Where the spectrograms and models are.
        catalog: Of the night's recordings.
        scores: The night's rows of the scores table by machine, the most abnormal first.
        work: Its settings made them.
    """
    most = min(work.settings.report.top_recordings, work.settings.report.max_clips)
    places = catalog.recordings.set_index("recording_id", drop=False)

    def listen(view: MachineView) -> list[TopRecording]:
        rows = scores.get(view.machine, ())[:most] if view.state in _HEARD_OUT else ()
        chosen = pd.DataFrame(rows[:_EXPLAINED])
        explained = {each.recording_id: each.relevance for each in explain_recordings(lake, catalog, chosen, work)}
        found = []
        for row, place in zip(rows, places.loc[[row["recording_id"] for row in rows]].to_dict("records"), strict=True):
            logmel, relevance = spectrogram_of(lake, catalog, place, work), explained.get(row["recording_id"])
            found.append(TopRecording(row, logmel, relevance, *sound_of(place, work)))
        return found

    return listen
