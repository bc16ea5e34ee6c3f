"""Submission files of DCASE Challenge Task 2, 2020 to 2025, in the names and layout that its evaluators read.

One CSV file without header for each section: file name, anomaly score; since 2021 another with the decision, 1 for
anomalous. In 2021 a section has a file for each domain. The evaluators pair scores with their ground truth by sorted
file name, so a recording left out would shift all that follow: every test recording must be there.

Machine types and IDs (sections) are those of the development and evaluation sets on the challenge's pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import pandas as pd

from humwatch.storage.errors import BadConfiguration
from humwatch.tasks.words import some

_MACHINE = ["site", "condition", "machine_type", "machine_id"]
_DECISIONS = {"abnormal": 1, "normal": 0}

Machines = Mapping[str, tuple[str, ...]]
"""IDs by machine type."""


@dataclass(frozen=True)
class Challenge:
    """What one year's submission looks like.

    Attributes:
        development: Machines of the development set, whose labels are public.
        evaluation: Machines of the evaluation set: a submission is of these.
        has_decisions: There are `decision_result_*` files.
        by_domain: Source and target domain have files of their own.
        suffix: End of the file names.
    """

    development: Machines
    evaluation: Machines
    has_decisions: bool = True
    by_domain: bool = False
    suffix: str = "_test"


def _ids(prefix: str, numbers: str, *machine_types: str) -> dict[str, tuple[str, ...]]:
    return {name: tuple(f"{prefix}_{number}" for number in numbers.split()) for name in machine_types}


def _first_shot(*evaluation: str) -> Challenge:
    """2023 and later: one section a machine type, machine types of the evaluation set unheard before."""
    development = ("ToyCar", "ToyTrain", "bearing", "fan", "gearbox", "slider", "valve")
    return Challenge(_ids("section", "00", *development), _ids("section", "00", *evaluation))


_TYPES_2021 = ("ToyCar", "ToyTrain", "fan", "gearbox", "pump", "slider", "valve")
_TYPES_2022 = ("ToyCar", "ToyTrain", "bearing", "fan", "gearbox", "slider", "valve")

CHALLENGES: dict[int, Challenge] = {
    2020: Challenge(
        _ids("id", "00 02 04 06", "fan", "pump", "slider", "valve")
        | _ids("id", "01 02 03 04", "ToyCar")
        | _ids("id", "01 02 03", "ToyConveyor"),
        _ids("id", "01 03 05", "fan", "pump", "slider", "valve")
        | _ids("id", "05 06 07", "ToyCar")
        | _ids("id", "04 05 06", "ToyConveyor"),
        has_decisions=False,
        suffix="",
    ),
    2021: Challenge(
        _ids("section", "00 01 02", *_TYPES_2021), _ids("section", "03 04 05", *_TYPES_2021), by_domain=True
    ),
    2022: Challenge(_ids("section", "00 01 02", *_TYPES_2022), _ids("section", "03 04 05", *_TYPES_2022)),
    2023: _first_shot("ToyDrone", "ToyNscale", "ToyTank", "Vacuum", "bandsaw", "grinder", "shaker"),
    2024: _first_shot(
        "3DPrinter", "AirCompressor", "BrushlessMotor", "HairDryer", "HoveringDrone", "RoboticArm", "Scanner",
        "ToothBrush", "ToyCircuit",
    ),
    2025: _first_shot(
        "AutoTrash", "BandSealer", "CoffeeGrinder", "HomeCamera", "Polisher", "ScrewFeeder", "ToyPet", "ToyRCCar"
    ),
}  # fmt: skip


def submission_files(recordings: pd.DataFrame, year: int) -> dict[str, bytes]:
    """Return the files of a submission by name.

    Recordings are named as in the data set, with `.wav`, whatever container theirs came in.

    Args:
        recordings: every test recording: site, condition, machine_type, machine_id, domain, file (base name), score
            (float64; NaN: none) and decision ("abnormal", "normal" or null).
        year: one of `CHALLENGES`.

    Raises:
        BadConfiguration: the recordings are not that year's, or one of them lacks what it must have.
    """
    challenge = _challenge(year)
    if recordings.empty:
        raise BadConfiguration("there are no test recordings: a data set of DCASE has them in folders called test")
    _refuse_strangers(recordings, challenge, year)
    _refuse(recordings, recordings["score"].isna(), "have no score")
    if challenge.has_decisions:
        advice = (
            ": too few normal recordings for fit.false_alarm_rate, or fit.calibration_folds is 1; set a higher rate "
            "or more folds and run again"
        )
        _refuse(recordings, recordings["decision"].isna(), f"have no decision{advice}")
    if challenge.by_domain:
        _refuse(recordings, recordings["domain"].isna(), f"have no domain, by which {year} parts its files")
    files = {}
    for ending, rows in _sections(recordings, challenge):
        names = rows["file"].map(lambda name: f"{PurePosixPath(name).stem}.wav")
        _refuse(rows, names.duplicated(), "have the name of another one of their section")
        named = rows.assign(file=names).sort_values("file")
        files[f"anomaly_score_{ending}.csv"] = _csv(named[["file", "score"]])
        if challenge.has_decisions:
            decided = named.assign(decision=named["decision"].map(_DECISIONS))
            files[f"decision_result_{ending}.csv"] = _csv(decided[["file", "decision"]])
    return files


def missing_sections(recordings: pd.DataFrame, year: int) -> list[str]:
    """Return the sections of a year's evaluation set that are not among the recordings, as `TYPE/ID`."""
    tested = set(zip(recordings["machine_type"], recordings["machine_id"], strict=True))
    sections_of_year = (
        (name, section) for name, sections in _challenge(year).evaluation.items() for section in sections
    )
    return [f"{name}/{section}" for name, section in sections_of_year if (name, section) not in tested]


def _challenge(year: int) -> Challenge:
    if year not in CHALLENGES:
        raise BadConfiguration(f"no layout is known for {year}; there are {', '.join(map(str, CHALLENGES))}")
    return CHALLENGES[year]


def _sections(recordings: pd.DataFrame, challenge: Challenge) -> Iterator[tuple[str, pd.DataFrame]]:
    by = ["machine_type", "machine_id", *(["domain"] if challenge.by_domain else [])]
    for key, rows in recordings.groupby(by):
        yield "_".join(map(str, key)) + challenge.suffix, rows


def _refuse_strangers(recordings: pd.DataFrame, challenge: Challenge, year: int) -> None:
    known = {
        (name, section)
        for machines in (challenge.development, challenge.evaluation)
        for name, sections in machines.items()
        for section in sections
    }
    strangers = []
    for site, condition, machine_type, machine_id in recordings[_MACHINE].drop_duplicates().itertuples(index=False):
        if (machine_type, machine_id) not in known or not (pd.isna(site) and pd.isna(condition)):
            strangers.append("/".join(part for part in (site, machine_type, machine_id, condition) if pd.notna(part)))
    if strangers:
        example = next(iter(challenge.evaluation.items()))
        raise BadConfiguration(
            f"not in DCASE {year} Task 2: {some(strangers, 5)}; its machines are like {example[0]}/{example[1][0]}. "
            "Choose the year that fits, or those that do with --machines"
        )


def _refuse(recordings: pd.DataFrame, wrong: pd.Series[bool], what: str) -> None:
    if wrong.any():
        names = [
            f"{row.machine_type}/{row.machine_id} {row.file}{_because(row)}" for row in recordings[wrong].itertuples()
        ]
        raise BadConfiguration(f"{len(names)} of {len(recordings)} test recordings {what}: {some(names, 5)}")


def _because(row: object) -> str:
    reason = getattr(row, "reason", None)
    return f" ({reason})" if isinstance(reason, str) else ""


def _csv(rows: pd.DataFrame) -> bytes:
    # Shortest digits that read back as the same float64, so that the evaluators rank what we ranked.
    return rows.to_csv(index=False, header=False, lineterminator="\n").encode()
