"""Two machines of one name: `plantA/line2/pump_03` and `plantB/line2/pump_03` must not share a model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from humwatch.storage.reasons import Reason
from humwatch.tasks.ingest.recording_facts import Facts
from humwatch.tasks.plan.scope import is_date


def refuse_mixed(facts: Sequence[Facts]) -> list[Facts]:
    """Return the facts of a listing; recordings of machines that lie in several places are MIXED_MACHINES.

    Which of them are one machine only people know. That the name of a folder above becomes the site is not assumed: it
    would rename a machine on the day that a second plant is listed beside its own. Where its nights lie in one place,
    only what has no date and lies elsewhere (`undated/`, `2026-02-30/`) is refused, so that nights go on.
    """
    places: dict[tuple[str | None, str, str], set[str]] = defaultdict(set)
    of_nights: dict[tuple[str | None, str, str], set[str]] = defaultdict(set)
    for known in facts:
        if known.problem is None and known.above is not None:
            places[_name(known)].add(known.above)
            if is_date(known.batch):
                of_nights[_name(known)].add(known.above)

    def is_mixed(known: Facts) -> bool:
        if known.problem is not None or known.above is None or len(places[_name(known)]) == 1:
            return False
        return len(of_nights[_name(known)]) != 1 or known.above not in of_nights[_name(known)]

    return [replace(known, problem=Reason.MIXED_MACHINES) if is_mixed(known) else known for known in facts]


def _name(facts: Facts) -> tuple[str | None, str, str]:
    return facts.site, facts.machine_type, facts.machine_id
