"""The pages of a night: the fleet, one page a machine, and one file to mail. Nothing here reads the lake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from markupsafe import Markup

from humwatch.storage.models import Machine
from humwatch.tasks.alarms.levels import Rates
from humwatch.tasks.frames import rows_of
from humwatch.tasks.reports.html import render_page
from humwatch.tasks.reports.night.fleet_view import STATES, Fleet, MachineView, of_alarm
from humwatch.tasks.reports.page_rows import Capped, Row, spoken_file
from humwatch.tasks.reports.svg.charts import Level, Mark, history_svg, sparkline_svg
from humwatch.tasks.reports.svg.spectrogram import drivers_svg, spectrogram_svg
from humwatch.tasks.settings import SpectrogramSettings

_SPARK_NIGHTS = 30
CHART_NIGHTS = 180
_LISTED_NIGHTS = 30
_MAILED = 100
_MAX_NOTES = 300
_TOP_RECORDINGS = 10
_ACTIONS = {"ack": "Acknowledged", "mute": "Muted", "note": "Note", "repaired": "Repaired"}


@dataclass(frozen=True)
class TopRecording:
    """One of a machine's most abnormal recordings of the night, to see and hear.

    Attributes:
        row: Its row of the scores table; a missing value is None.
        logmel: float32 (mel, frame), dB, without padding.
        relevance: float32 (mel, frame), how much each cell drove the score; None where that was not computed.
        audio: The sound, None where its source cannot be read any longer.
        mime: Kind of `audio`.
    """

    row: Row
    logmel: npt.NDArray[np.float32]
    relevance: npt.NDArray[np.float32] | None
    audio: bytes | None
    mime: str


@dataclass(frozen=True)
class Site:
    """What a night's pages are made of.

    Attributes:
        title: Heading.
        report_id: Name of the report's folder in the lake.
        created_at: UTC.
        lake: Root URI.
        fleet: The machines.
        counts: listed, accepted, rejected recordings.
        degraded: More than `max_rejected_fraction` was rejected.
        max_rejected_fraction: `ingest.max_rejected_fraction`, 0 to 1.
        rates: Stated, of the fleet.
        scores: Tonight's rows of the scores table under the shown model, most abnormal first, by machine.
        notes: What the models say of themselves, by machine.
        rejected: Rows of rejected.csv.
        files: Names of the tables beside the page.
        settings: Settings by section.
        versions: Versions by package.
        spectrogram: Settings of the spectrograms.
        doubts: What may have been misread: code, message, advice.
        next_step: Why nothing was scored, in the same words; None where something was.
        nothing_arrived: That no recording of the night arrived, in the same words; None where one did.
        listen: Called for a machine when its page is made: what to see and hear on it.
        actions: What people did about its alarms, by machine: rows of `Actions.until`.
    """

    title: str
    report_id: str
    created_at: datetime
    lake: str
    fleet: Fleet
    counts: Mapping[str, int]
    degraded: bool
    max_rejected_fraction: float
    rates: Rates
    scores: Mapping[Machine, Sequence[Row]]
    notes: Mapping[Machine, Sequence[str]]
    rejected: pd.DataFrame
    files: Sequence[str]
    settings: Mapping[str, Mapping[str, object]]
    versions: Mapping[str, str]
    spectrogram: SpectrogramSettings
    doubts: Sequence[Mapping[str, str]] = ()
    next_step: Mapping[str, str] | None = None
    nothing_arrived: Mapping[str, Any] | None = None
    listen: Callable[[MachineView], Sequence[TopRecording]] = field(default=lambda _: ())
    actions: Mapping[Machine, Sequence[Row]] = field(default_factory=dict)


def pages(site: Site) -> Iterator[tuple[str, bytes]]:
    """Yield every page as (path in the report, bytes), the fleet's first; a machine's only when it is asked for."""
    yield "index.html", fleet_page(site).encode()
    yield "mail.html", mail_page(site).encode()
    for view in site.fleet.machines:
        yield view.page, machine_page(site, view).encode()


def fleet_page(site: Site) -> str:
    """The fleet on one night: which machines need attention, since when, how sure that is."""
    machines = site.fleet.machines
    notes = [(view, note) for view in machines for note in site.notes.get(view.machine, ())]
    return render_page(
        "fleet.html.j2",
        ("base.css", "site.css"),
        ("tables.js", "fleet.js"),
        site=site,
        states=STATES,
        sparks=[
            sparkline_svg([of_alarm(row) for row in view.nights[-_SPARK_NIGHTS:]], view.state) for view in machines
        ],
        spark_nights=_SPARK_NIGHTS,
        notes=Capped(notes[:_MAX_NOTES], len(notes)),
        reasons=rows_of(site.rejected.groupby(["reason", "explanation"]).size().reset_index(name="n")),
    )


def mail_page(site: Site) -> str:
    """The fleet in one small file without script, drawing or link: what is not normal, and counts of the rest."""
    unusual = [view for view in site.fleet.machines if view.state != "normal"]
    types = Counter(view.machine.machine_type for view in site.fleet.machines)
    not_normal = Counter(view.machine.machine_type for view in unusual)
    return render_page(
        "mail.html.j2",
        ("mail.css",),
        site=site,
        states=STATES,
        unusual=unusual[:_MAILED],
        n_unusual=len(unusual),
        types={name: (n, not_normal[name]) for name, n in sorted(types.items())},
    )


def machine_page(site: Site, view: MachineView) -> str:
    """One machine: its nights, its model, its sensor, and what it sounds and looks like tonight."""
    top = site.listen(view)
    scores = site.scores.get(view.machine, ())
    return render_page(
        "machine.html.j2",
        ("base.css", "site.css"),
        site=site,
        view=view,
        tonight=view.tonight,
        states=STATES,
        charts=_charts(view, next((row["threshold"] for row in scores), None)),
        versions=_versions(view.nights),
        listed=view.nights[: -_LISTED_NIGHTS - 1 : -1],
        last_heard=next((row["night"] for row in reversed(view.nights) if row["n_recordings"]), None),
        scores=scores[:_TOP_RECORDINGS],
        n_scores=len(scores),
        notes=site.notes.get(view.machine, ()),
        actions=site.actions.get(view.machine, ()),
        action_names=_ACTIONS,
        top=[_pictured(number, recording, site.spectrogram) for number, recording in enumerate(top)],
    )


def _charts(view: MachineView, threshold: float | None) -> dict[str, Markup]:
    """The figures over a machine's nights; one of which no night has a value is left out."""
    rows = view.nights[-CHART_NIGHTS:]
    nights = [row["night"] for row in rows]
    tonight = view.tonight
    models = [
        Mark(version["first"], f"model {str(version['model_version'])[:6]}", "model") for version in _versions(rows)
    ]
    change = [Mark(tonight["onset"], "onset", "onset")] if tonight["onset"] else []
    alarm = [Mark(tonight["alarm_since"], "alarm", "onset")] if tonight["alarm_since"] else []

    def draw(name: str, title: str, **more: object) -> Markup | None:
        values = [row[name] for row in rows]
        if all(value is None for value in values):
            return None
        return history_svg(name, f"{title} of {view.machine.label}", nights, values, **more)  # type: ignore[arg-type]

    levels = [
        Level("alarm", [row["level_alarm"] for row in rows], "alarm"),
        Level("attention", [row["level_attention"] for row in rows], "attention", below=True),
    ]
    of_current = [threshold if row["model_version"] == tonight["model_version"] else None for row in rows]
    limit = [Level("threshold", of_current, "limit")]
    drawn = {
        "evidence": draw("evidence", "Evidence of a change", levels=levels, marks=[*change, *alarm, *models],
                         shaded_from=tonight["onset"], floor=0.0),
        "statistic": draw("statistic", "Distance from normal nights", shaded_from=tonight["onset"]),
        "score": draw("score_mean", "Mean score", levels=limit, marks=models, shaded_from=tonight["onset"]),
        "drift": draw("drift", "Drift of the features", marks=models, floor=0.0),
        "level": draw("rms_dbfs_median", "Level"),
        "clipped": draw("clipped_fraction", "Clipped share", floor=0.0),
        "rejected": draw("n_rejected", "Rejected recordings", bars=True, floor=0.0),
    }  # fmt: skip
    return {name: chart for name, chart in drawn.items() if chart is not None}


def _versions(nights: Sequence[Row]) -> list[Row]:
    """Model versions in the order in which they scored, each with its first and last night."""
    spans: list[Row] = []
    for row in nights:
        version = row["model_version"]
        if version is None:
            continue
        if not spans or spans[-1]["model_version"] != version:
            spans.append({"model_version": version, "first": row["night"]})
        spans[-1]["last"] = row["night"]
    return spans


def _pictured(number: int, recording: TopRecording, settings: SpectrogramSettings) -> Row:
    name, logmel, relevance = spoken_file(recording.row), recording.logmel, recording.relevance
    return {
        **recording.row,
        "audio": recording.audio,
        "mime": recording.mime,
        "spectrogram": spectrogram_svg(f"spec{number}", name, logmel, settings),
        "drivers": None if relevance is None else drivers_svg(f"drove{number}", name, logmel, relevance, settings),
    }
