"""The small JSON objects of a lake as typed records: what each says, and how it is read and written.

Every record has a `format_version`; files that were written before there was one are of version 1. A field that is
added has a default which is true of the files that lack it, so that old lakes stay readable; fields that are not known
here are ignored. A format that is newer than ours is refused, so that nothing of it is lost in writing it again.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from humwatch.storage.errors import LakeDamaged, LakeTooNew
from humwatch.storage.lake import Lake

R = TypeVar("R", bound="Record")

FORMAT_VERSION = 1


class Record(BaseModel):
    """A frozen JSON object."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    format_version: int = FORMAT_VERSION

    def encode(self) -> bytes:
        """Return it as JSON; the same record gives the same bytes."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=1).encode()


class Mark(Record):
    """That a store of a part is complete, and what it was made from.

    Attributes:
        part, recordings, key: what it is of.
        array: the Zarr metadata of its array, so that one request is enough to read it; None in older marks.
    """

    part: str
    recordings: int
    key: str
    array: dict[str, Any] | None = None


class Pointer(Record):
    """Which version of a machine's model is current, and which one it replaced."""

    version: str
    previous: str | None = None


class Passport(Record):
    """What a model was made of and how far it can be trusted.

    Attributes:
        machine: its label.
        backbone, detector, seed: its variant.
        settings: of fit and embedding, as JSON values by section.
        training: kind of training, as `fit.training`.
        training_recordings: ids, in the order in which the model saw them.
        calibration_scores: each one's score by a model that had not heard it, where there is one.
        calibration_batches, calibration_domains: of the recordings behind those scores, in their order; passports
            from before nights were judged have no batches, those from before thresholds heeded domains none of them.
        false_alarm_rate: stated rate of the threshold.
        threshold: score above which a recording is abnormal; None where the rate is not supported: `threshold_reason`.
        notes: what is less than was asked for, in words.
        versions: of the libraries that made it.
        model_sha256: of the model's file.
    """

    machine: str
    backbone: str
    detector: str
    seed: int
    settings: dict[str, Any]
    training: str
    training_recordings: list[str]
    calibration_scores: list[float]
    calibration_batches: list[str] = []
    calibration_domains: list[str | None] | None = None
    false_alarm_rate: float
    threshold: float | None
    threshold_reason: str | None = None
    notes: list[str] = []
    versions: dict[str, str]
    model_sha256: str = ""

    @property
    def calibration_folds(self) -> int:
        """Folds that were held out in turn to calibrate it."""
        fit = self.settings["fit"]
        return int(fit["calibration_folds"])


class Gate(Record):
    """What the last retraining of a machine came to.

    Attributes:
        machine, backbone, detector, seed: whose model.
        version: of the candidate.
        decided_at: ISO time, UTC.
        accepted, reason: the decision, in words, too.
        recordings: how many the gate saw.
        false_alarms: how many of them the candidate called abnormal.
        low, high: Clopper-Pearson interval of its false-alarm rate.
        stated: the rate its threshold was made for.
    """

    machine: str
    backbone: str
    detector: str
    seed: int
    version: str
    decided_at: str
    accepted: bool
    reason: str
    recordings: int
    false_alarms: int
    low: float
    high: float
    stated: float


class Latest(Record):
    """The newest report: its id, and the path of its page in the lake."""

    report_id: str
    index: str


class PublishedSummary(Record):
    """The summary beside a report: that of its run, and what the list of all reports says of it.

    Attributes:
        report_id: name of the report's folder.
        created_at: ISO time, UTC.
        kind: `night`, `evaluation` or `benchmark`.
        title: heading.
        night: its date; None where the report is about none.
        machines: how many are in each state; empty where no night was judged.
        accepted, rejected: recordings.
        degraded: more were rejected than the settings allow.
    """

    model_config = ConfigDict(extra="allow")

    report_id: str
    created_at: str
    kind: str = "evaluation"
    title: str = ""
    night: str | None = None
    machines: dict[str, int] = {}
    accepted: int = 0
    rejected: int = 0
    degraded: bool = False

    def encode(self) -> bytes:
        """Return it as JSON, without the fields that nobody has set."""
        given = {"format_version": self.format_version, **self.model_dump(mode="json", exclude_unset=True)}
        return json.dumps(given, sort_keys=True, indent=1).encode()


def read_record(lake: Lake, path: str, kind: type[R]) -> R:
    """Read a record.

    Raises:
        SourceNotFound: it is not there.
        LakeDamaged: it is no JSON, or not what such a record must be.
        LakeTooNew: its format is one of a newer Humwatch.
    """
    data = lake.read(path)
    try:
        version = Record.model_validate_json(data).format_version
        if version > FORMAT_VERSION:  # asked first: a newer record may lack what one of ours must have
            raise LakeTooNew(
                f"{lake.uri_of(path)} was written by a newer Humwatch (format {version}): upgrade this one"
            )
        return kind.model_validate_json(data)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise LakeDamaged(f"{lake.uri_of(path)} is damaged: {where and where + ': '}{problem['msg']}") from error
