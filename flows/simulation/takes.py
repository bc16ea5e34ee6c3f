"""Which recordings go into which archive under which name (nightly, labelled), and the truth's rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from humwatch.flows.simulation.faults import FAULTS_OF, Fault
from humwatch.flows.simulation.fleet_plan import (
    FleetPlan,
    PlannedFault,
    Status,
    fault_of,
    machine_of,
    planned_faults,
    severity,
    statuses,
)
from humwatch.storage.errors import BadConfiguration

RECORDING_COLUMNS = (
    "archive",
    "member",
    "machine_type",
    "machine_id",
    "batch",
    "recorded_at",
    "status",
    "label",
    "fault",
    "severity",
    "low_hz",
    "high_hz",
    "snr_db",
)
FILE_FACTS = ("machine_type", "machine_id", "batch", "recorded_at", "index")
"""What a layout may say of a recording: the batch as a date, recorded_at as a time in UTC, the index within a night."""
MACHINE_COLUMNS = (
    "machine_type",
    "machine_id",
    "fault",
    "onset",
    "onset_night",
    "severity_last_night",
    "low_hz",
    "high_hz",
    "rate_hz",
    "speed_hz",
    "cycle_hz",
    "level_dbfs",
)


@dataclass(frozen=True)
class Take:
    """One planned recording: its seed's key, where it goes, what becomes of it, what is wrong with the machine."""

    machine_index: int
    night_index: int
    recording_index: int
    archive: str
    member: str
    batch: str
    recorded_at: datetime | None
    status: Status
    fault: Fault | None
    severity: float


def night_archive(plan: FleetPlan, night_index: int, machine_type: str) -> str:
    """`DATE/TYPE.zip`."""
    return f"{plan.recorded_at(night_index, 0):%Y-%m-%d}/{machine_type}.zip"


def night_takes(plan: FleetPlan, night_index: int, machine_type: str, layout: str | None = None) -> Iterator[Take]:
    """The recordings planned for one archive, by machine and time; those that go missing are among them.

    With a `layout` they are files of their own, without an archive, called as `file_path` says.
    """
    archive = night_archive(plan, night_index, machine_type) if layout is None else ""
    for machine in range(plan.types.index(machine_type), plan.machines, len(plan.types)):
        folder = f"{machine_type}/{plan.machine_id(machine)}"
        size = severity(plan, machine, night_index)
        fault = planned_faults(plan)[machine].fault if size > 0 else None
        for index, status in enumerate(statuses(plan, machine, night_index)):
            at = plan.recorded_at(night_index, index)
            if layout is None:
                member = f"{folder}/{at:%Y%m%dT%H%M%SZ}.wav"
            else:
                member = file_path(layout, machine_type, plan.machine_id(machine), at, index)
            yield Take(machine, night_index, index, archive, member, f"{at:%Y-%m-%d}", at, status, fault, size)


def file_path(layout: str, machine_type: str, machine_id: str, recorded_at: datetime, index: int) -> str:
    """The path of a recording below the destination, in a layout like `{machine_id}/{recorded_at:%Y/%m/%d/%H%M%S}.wav`.

    Raises:
        BadConfiguration: The layout has other fields than FILE_FACTS, or paths that leave the destination, or are
            hidden, or are not those of WAV files.
    """
    facts = (machine_type, machine_id, recorded_at.date(), recorded_at, index)
    try:
        path = layout.format(**dict(zip(FILE_FACTS, facts, strict=True)))
    except (LookupError, ValueError, AttributeError) as error:
        known = ", ".join(f"{{{name}}}" for name in FILE_FACTS)
        raise BadConfiguration(f"layout {layout!r} cannot be written: its fields are {known} ({error})") from error
    if any(part.startswith(".") or not part for part in path.split("/")) or not path.lower().endswith(".wav"):
        raise BadConfiguration(f"layout {layout!r} gives {path!r}: a path below the destination must end in .wav")
    return path


def labelled_archive(plan: FleetPlan, machine_type: str) -> str:
    """`[-]N_dB_TYPE.zip`, the names of MIMII's archives."""
    return f"{plan.condition}_{machine_type}.zip"


def labelled_takes(plan: FleetPlan, machine_type: str, normals: int, abnormals: int) -> Iterator[Take]:
    """The recordings of one labelled archive; the faults of the type come in turn, all at `fault_size`."""
    archive, kinds = labelled_archive(plan, machine_type), FAULTS_OF[machine_type]
    for machine in range(plan.types.index(machine_type), plan.machines, len(plan.types)):
        folder = f"{machine_type}/{plan.machine_id(machine)}"
        for index in range(normals):
            member = f"{folder}/normal/{index:08d}.wav"
            yield Take(machine, index, 0, archive, member, plan.condition, None, Status.SENT, None, 0.0)
        for index in range(abnormals):
            member = f"{folder}/abnormal/{index:08d}.wav"
            fault = fault_of(plan, machine, kinds[index % len(kinds)])
            yield Take(machine, index, 1, archive, member, plan.condition, None, Status.SENT, fault, plan.fault_size)


def recording_row(plan: FleetPlan, take: Take) -> tuple[object, ...]:
    """A row of the truth about recordings, in RECORDING_COLUMNS."""
    at, fault = take.recorded_at, take.fault
    return (
        take.archive,
        take.member,
        plan.machine_type(take.machine_index),
        plan.machine_id(take.machine_index),
        take.batch,
        f"{at:%Y-%m-%dT%H:%M:%SZ}" if at else None,
        take.status.value,
        "abnormal" if fault else "normal",
        fault.kind.value if fault else None,
        round(take.severity, 6),
        round(fault.low_hz, 1) if fault else None,
        round(fault.high_hz, 1) if fault else None,
        plan.snr_db,
    )


def machine_row(plan: FleetPlan, machine_index: int, planned: PlannedFault | None) -> tuple[object, ...]:
    """A row of the truth about machines, in MACHINE_COLUMNS."""
    machine = machine_of(plan, machine_index)
    fault: tuple[object, ...] = (None,) * 7
    if planned:
        fault = (
            planned.fault.kind.value,
            plan.first_night + timedelta(days=planned.onset_night),
            planned.onset_night,
            plan.fault_size,
            round(planned.fault.low_hz, 1),
            round(planned.fault.high_hz, 1),
            round(planned.fault.rate_hz, 3),
        )
    physics = (round(machine.speed_hz, 3), round(machine.cycle_hz, 3), round(machine.level_dbfs, 2))
    return (machine.machine_type, plan.machine_id(machine_index), *fault, *physics)
