"""The night: take in what arrived, score it with the current models, publish the night's report."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from humwatch.flows.fleet_flow import SettingsBySection, Uri, fleet_flow
from humwatch.flows.night import do_night, night_run
from humwatch.flows.pipeline import running
from humwatch.flows.presets import PresetName
from humwatch.flows.summary import RunSummary
from humwatch.flows.telling import failure_told


@fleet_flow("nightly")
def nightly(
    lake: Uri,
    sources: Sequence[Uri] = (),
    night: date | None = None,
    machines: str | None = None,
    preset: PresetName = "default",
    settings: SettingsBySection | None = None,
    by_clock: bool = False,  # noqa: FBT001, FBT002 - a Prefect parameter, given by name
) -> RunSummary:
    """Ingest what is new, train machines that have history and no model, score, publish the report of the night.

    Of a night that nobody has recordings of nothing is published when it was named. By the clock it is judged: every
    machine is silent, and an event says that the night is overdue. Either is told in `nothing_arrived`.

    Args:
        lake: Root URI of the lake, a path or such as s3://bucket/lake.
        sources: Archives or folders to look into, paths or URIs; what was seen before adds nothing, late arrivals do.
        night: The night to work on and report; unset: all with something left to do, and the newest night and those
            that late recordings belong to are reported.
        machines: Pattern on TYPE/ID (SITE/TYPE/ID) such as fan/*; unset: all machines.
        preset: Base settings.
        settings: Settings by section above the preset, such as {"fit": {"detectors": ["knn"]}}.
        by_clock: A night is due, so judge what is expected by now (ingest.expect_within_nights) if nothing newer is
            there; unset: the newest night that is there counts, however old. A night that is named comes first.

    Raises:
        BadConfiguration, WeightsNotFound: nothing was begun.
        RunFailed: a stage cannot be carried out at all.
    """
    run = night_run(lake, night, machines, preset, settings)
    with failure_told(run, night), running(run, "nightly", sources) as summary:
        do_night(summary, run, night, by_clock=by_clock)
    return summary
