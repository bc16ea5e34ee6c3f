"""What a nightly run tells of nights: one that is overdue, and recordings that are of none."""

from __future__ import annotations

from dataclasses import asdict

from humwatch.flows.run_failed import without_credentials
from humwatch.storage.lake import Lake
from humwatch.storage.naming import digest
from humwatch.tasks.alarms.task import emit_once
from humwatch.tasks.ingest.wording import Doubt
from humwatch.tasks.plan.absent_night import NothingArrived
from humwatch.tasks.plan.open_nights import set_apart
from humwatch.tasks.plan.run import Run
from humwatch.tasks.words import counted, some

OVERDUE = "humwatch.night.overdue"


def tell_overdue(lake: Lake, found: NothingArrived, tonight: str) -> None:
    """Emit the event that a night is overdue, unless it was emitted tonight.

    `humwatch.night.overdue` is about the resource `humwatch.lake.<hash of the lake's URI>`; its payload is the lake,
    tonight by the clock, and what `NothingArrived` says. While nothing arrives, each night has one.
    """
    uri = without_credentials(lake.uri)
    resource = {"prefect.resource.id": f"humwatch.lake.{digest(uri)}", "prefect.resource.name": uri}
    emit_once(
        lake, f"overdue/{found.night}.json", OVERDUE, resource, {"lake": uri, "tonight": tonight, **asdict(found)}
    )


def doubt_of_what_is_apart(run: Run) -> list[Doubt]:
    """Return a doubt where recordings of the machines in scope are of no night, or of one to come."""
    apart = set_apart(run)
    if not apart:
        return []
    listed = [f"{batch} ({n:,})" for batch, n in apart.items()]
    return [
        Doubt(
            "set_apart",
            f"{counted(sum(apart.values()), 'recording')} of no night, or of one to come by this machine's clock, "
            f"are left out of nights: {some(listed)}",
            "correct the date in the names, set the recorder's clock, or give a manifest with a column recorded_at",
        )
    ]
