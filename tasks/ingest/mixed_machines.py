"""Two machines of one name: `plantA/line2/pump_03` and `plantB/line2/pump_03` must not share a model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from humwatch.storage.reasons import Reason
from humwatch.tasks.ingest.recording_facts import Facts


def refuse_mixed(facts: Sequence[Facts]) -> list[Facts]:
    """Return the facts of a listing; recordings of machines that lie in several places are MIXED_MACHINES.

    Which of them are one machine only people know. That the name of a folder above becomes the site is not assumed: it
    would rename a machine on the day that a second plant is listed beside its own.
    """
    places: dict[tuple[str | None, str, str], set[str]] = defaultdict(set)
    for known in facts:
        if known.problem is None and known.above is not None:
            places[_name(known)].add(known.above)
    return [
        replace(known, problem=Reason.MIXED_MACHINES)
        if known.problem is None and known.above is not None and len(places[_name(known)]) > 1
        else known
        for known in facts
    ]


def _name(facts: Facts) -> tuple[str | None, str, str]:
    return facts.site, facts.machine_type, facts.machine_id
