"""Writing a fleet: a zip archive a night and machine type, or files in a layout; the truth in a folder beside it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from humwatch.flows.simulation.files import wav_bytes, write_csv, write_file, write_zip
from humwatch.flows.simulation.fleet_plan import FleetPlan, PlannedFault, Status, Stream, generator, planned_faults
from humwatch.flows.simulation.recordings import render_take
from humwatch.flows.simulation.takes import (
    MACHINE_COLUMNS,
    RECORDING_COLUMNS,
    Take,
    labelled_archive,
    labelled_takes,
    machine_row,
    night_archive,
    night_takes,
    recording_row,
)
from humwatch.storage.errors import BadConfiguration

TakesOfArchive = Callable[[], Iterable[Take]]


@dataclass(frozen=True)
class SimulatedFleet:
    """What was written.

    Attributes:
        archives: The archives, by night and type; none of a fleet written in a layout.
        recordings_csv: The truth, one row a planned recording (RECORDING_COLUMNS).
        machines_csv: The truth, one row a machine (MACHINE_COLUMNS).
        planned: Recordings planned; = sent + missing + truncated + silent.
        sent: Recordings that arrived whole.
        missing: Recordings that never arrived.
        truncated: Recordings cut short.
        silent: Recordings of zeros.
        abnormal: Recordings planned with a fault in them.
        faulty_machines: Machines with a fault.
    """

    archives: tuple[Path, ...]
    recordings_csv: Path
    machines_csv: Path
    planned: int
    sent: int
    missing: int
    truncated: int
    silent: int
    abnormal: int
    faulty_machines: int


def simulate(
    plan: FleetPlan,
    destination: str | Path,
    workers: int | None = None,
    on_archive: Callable[[Path], None] | None = None,
    layout: str | None = None,
) -> SimulatedFleet:
    """Write `DESTINATION/DATE/TYPE.zip` holding `TYPE/ID/TIME.wav` (PCM 16, mono).

    The truth goes to `DESTINATION-truth/`; nothing in the archives says which machine has a fault. Members are stored:
    deflating noise takes as long as making it and saves a tenth. An archive appears whole or not at all; a night on
    which a whole type is missing has none.

    Args:
        plan: The fleet. The same plan writes the same bytes, whatever the workers.
        destination: A local folder.
        workers: Processes; unset: one a core. They are spawned, so a calling script needs its `__main__` guard.
        on_archive: Called in this process after each archive or file, in order.
        layout: Write each recording as a file of its own instead, with the same bytes, called as this template says:
            `line_7/{machine_type}_{machine_id}/{recorded_at:%Y/%m/%d/%H%M%S}.wav` (FILE_FACTS).

    Raises:
        BadConfiguration: The destination is no local folder, or holds archives or recordings that the plan would not
            write; the layout cannot be written, or gives two recordings one path.
    """
    root = _local_folder(destination)
    if layout is not None:
        return _simulate_files(plan, root, layout, workers, on_archive)
    units: dict[str, TakesOfArchive] = {
        night_archive(plan, night, kind): partial(night_takes, plan, night, kind)
        for night in range(plan.nights)
        for kind in plan.types[: plan.machines]
    }
    _refuse_strangers(root, set(units))
    archives = _run(partial(_write_archive, plan, root), units, workers, on_archive)
    return _with_truth(plan, archives, _truth_paths(root, ""), units, planned_faults(plan))


def _simulate_files(
    plan: FleetPlan, root: Path, layout: str, workers: int | None, on_file: Callable[[Path], None] | None
) -> SimulatedFleet:
    units: dict[str, TakesOfArchive] = {
        night_archive(plan, night, kind): partial(night_takes, plan, night, kind, layout)
        for night in range(plan.nights)
        for kind in plan.types[: plan.machines]
    }
    counts = Counter(take.member for takes in units.values() for take in takes())
    (path, count), *_ = counts.most_common(1)
    if count > 1:
        raise BadConfiguration(f"layout {layout!r} calls {count} recordings {path}")
    _refuse_strangers(root, counts.keys())
    _run(partial(_write_files, plan, root), units, workers, on_file)
    return _with_truth(plan, [], _truth_paths(root, ""), units, planned_faults(plan))


def _refuse_strangers(root: Path, planned: Collection[str]) -> None:
    there = {path.relative_to(root).as_posix() for suffix in ("zip", "wav") for path in root.rglob(f"*.{suffix}")}
    strangers = there.difference(planned)
    if strangers:
        raise BadConfiguration(f"{root} holds archives or recordings of another fleet, such as {min(strangers)}")


def simulate_labelled(
    plan: FleetPlan,
    destination: str | Path,
    normals_per_machine: int,
    abnormals_per_machine: int,
    *,
    workers: int | None = None,
    on_archive: Callable[[Path], None] | None = None,
) -> SimulatedFleet:
    """Write labelled archives in MIMII's layout: `[-]N_dB_TYPE.zip` with `TYPE/ID/{normal,abnormal}/00000000.wav`.

    The plan's machines without its nights and losses: every machine has every fault of its type in turn, at
    `fault_size`. The same plan at another SNR gives the same takes in more or less noise, beside these.

    Raises:
        BadConfiguration: The SNR is not a whole number of dB, or the destination is no local folder.
    """
    if plan.snr_db != round(plan.snr_db):
        raise BadConfiguration("snr_db must be a whole number for archives named after it")
    units: dict[str, TakesOfArchive] = {
        labelled_archive(plan, kind): partial(labelled_takes, plan, kind, normals_per_machine, abnormals_per_machine)
        for kind in plan.types[: plan.machines]
    }
    root = _local_folder(destination)
    archives = _run(partial(_write_archive, plan, root), units, workers, on_archive)
    return _with_truth(plan, archives, _truth_paths(root, f"{plan.condition}_"), units, {})


def _local_folder(destination: str | Path) -> Path:
    if "://" in str(destination):
        raise BadConfiguration(f"{destination} is no local folder: simulate into one and copy it")
    return Path(destination).resolve()


def _truth_paths(root: Path, prefix: str) -> tuple[Path, Path]:
    folder = root.parent / f"{root.name}-truth"
    return folder / f"{prefix}recordings.csv", folder / f"{prefix}machines.csv"


def _run(
    write: Callable[[str, TakesOfArchive], list[Path]],
    units: Mapping[str, TakesOfArchive],
    workers: int | None,
    on_archive: Callable[[Path], None] | None,
) -> list[Path]:
    """Write every unit and return the files; one worker is this process."""
    processes = min(workers or os.cpu_count() or 1, len(units))
    written = []
    with ExitStack() as stack:
        results: Iterable[list[Path]] = map(write, units.keys(), units.values())
        if processes > 1:
            pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
            stack.callback(pool.shutdown, cancel_futures=True)  # an error or Ctrl-C does not wait for the rest
            results = pool.map(write, units.keys(), units.values())
        for path in chain.from_iterable(results):
            written.append(path)
            if on_archive is not None:
                on_archive(path)
    return written


def _with_truth(
    plan: FleetPlan,
    archives: Sequence[Path],
    truth: tuple[Path, Path],
    units: Mapping[str, TakesOfArchive],
    faults: Mapping[int, PlannedFault],
) -> SimulatedFleet:
    counts: Counter[str] = Counter()
    faulty = set()

    def recording_rows() -> Iterator[tuple[object, ...]]:
        for takes in units.values():
            for take in takes():
                counts.update(("planned", take.status.value))
                if take.fault is not None:
                    counts.update(("abnormal",))
                    faulty.add(take.machine_index)
                yield recording_row(plan, take)

    recordings_csv, machines_csv = truth
    write_csv(recordings_csv, RECORDING_COLUMNS, recording_rows())
    machine_rows = (machine_row(plan, index, faults.get(index)) for index in range(plan.machines))
    write_csv(machines_csv, MACHINE_COLUMNS, machine_rows)
    return SimulatedFleet(
        archives=tuple(archives),
        recordings_csv=recordings_csv,
        machines_csv=machines_csv,
        planned=counts["planned"],
        sent=counts[Status.SENT],
        missing=counts[Status.MISSING],
        truncated=counts[Status.TRUNCATED],
        silent=counts[Status.SILENT],
        abnormal=counts["abnormal"],
        faulty_machines=len(faulty),
    )


def _write_archive(plan: FleetPlan, root: Path, name: str, takes: TakesOfArchive) -> list[Path]:
    path = root / name
    sent = [take for take in takes() if take.status is not Status.MISSING]
    if not sent:
        path.unlink(missing_ok=True)
        return []
    write_zip(path, ((take.member, _file_bytes(plan, take)) for take in sent))
    return [path]


def _write_files(plan: FleetPlan, root: Path, _: str, takes: TakesOfArchive) -> list[Path]:
    written = []
    for take in takes():
        path = root / take.member
        if take.status is Status.MISSING:
            path.unlink(missing_ok=True)
        else:
            write_file(path, _file_bytes(plan, take))
            written.append(path)
    return written


def _file_bytes(plan: FleetPlan, take: Take) -> bytes:
    if take.status is Status.SILENT:
        return wav_bytes(np.zeros(plan.n_samples, np.float32), plan.sample_rate_hz)
    key = (take.machine_index, take.night_index, take.recording_index)
    data = wav_bytes(render_take(plan, key, take.fault, take.severity).mix(), plan.sample_rate_hz)
    if take.status is Status.TRUNCATED:  # anywhere from inside the header to nine tenths
        return data[: 1 + int(generator(plan, Stream.NIGHT, *key).random() * 0.9 * len(data))]
    return data
