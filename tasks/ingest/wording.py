"""What doubts are made of, and the advice they share."""

from __future__ import annotations

from dataclasses import dataclass

SAY_THE_LAYOUT = (
    "say which part of a path is what: --set ingest.layout='{machine_type}/{machine_id}/{}.wav', or give a manifest"
)

SAY_THE_LABEL = (
    "say which part is the label: --set ingest.layout='{machine_id}_{label}/{}.wav' or the like; further words for "
    "labels: --set 'ingest.label_words={broken = \"abnormal\"}'"
)


@dataclass(frozen=True)
class Doubt:
    """Something that may have been misread.

    Attributes:
        code: stable and machine-readable.
        message: a sentence with numbers and an example.
        advice: what to type or do if it was.
    """

    code: str
    message: str
    advice: str
