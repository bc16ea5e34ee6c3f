"""Models of a machine's first nights: by them the later nights of its commissioning are judged for the time being.

They are fitted and used as if the commissioning window ended after these nights, under keys of their own, so that
nothing of it is current for the machine, evaluated, or a reference of its real model. A model of few nights that hears
no later one is better here than one of all nights so far: from the night on which a machine breaks, that one would hear
the fault and find it normal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

from humwatch.storage.tables import MACHINE
from humwatch.tasks.plan.catalog import by_machine
from humwatch.tasks.plan.roles import in_windows
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.scope import Scope
from humwatch.tasks.plan.scores import ScoreUnit, expected_scores
from humwatch.tasks.plan.tallies import is_among
from humwatch.tasks.plan.training import FitUnit, expected_models

FIRST_NIGHTS = 5
"""Nights a statistic needs to be compared with; folds are whole nights, so more folds need more."""
LEAST_RECORDINGS = 3 * FIRST_NIGHTS
"""Enough where nights are compared, not recordings."""


def provisional(run: Run) -> Run | None:
    """Return the run whose commissioning windows end after the first nights.

    None where no window is longer than that: no night is left to be judged. With `fit.commissioning_from` alone there
    is none: such a window ends as soon as it holds enough recordings.
    """
    fit = run.settings.fit
    nights = max(FIRST_NIGHTS, fit.calibration_folds)
    first, last = fit.commissioning_from, fit.commissioning_until
    early: dict[str, Any] = {"commissioning_nights": nights, "commissioning_until": None}
    if first is not None and last is not None:
        early["commissioning_until"] = first + timedelta(days=nights - 1)
        longer = last > early["commissioning_until"]
    else:
        longer = first is None and (last is not None or fit.commissioning_nights > nights)
    if fit.training != "assumed_normal" or not longer:
        return None
    fewest = min(fit.min_training_recordings, LEAST_RECORDINGS)
    return run.with_fit(fit.model_copy(update={**early, "min_training_recordings": fewest}))


def provisional_models(run: Run) -> Iterator[FitUnit]:
    """Yield every model of the first nights of a machine in scope that has neither such a one nor a real one."""
    early = provisional(run)
    if early is None:
        return
    nights = run.history_in_scope().nights
    machines = by_machine(Scope(machines=run.scope.machines).recordings(nights[nights["accepted"] > 0]))
    fitted = {variant: run.current_versions(run.model_key(variant), machines) for variant in run.variants}
    if any(len(versions) < len(machines) for versions in fitted.values()):
        yield from (unit for unit in expected_models(early) if unit.machine not in fitted[unit.variant])


def provisional_scores(run: Run) -> Iterator[ScoreUnit]:
    """Yield a score table for every part in scope with recordings of a commissioning window, but for the first nights.

    Those are of machines with a provisional model, which trained on the first nights.
    """
    early = provisional(run)
    if early is None:
        return
    history = run.history_in_scope()
    window = in_windows(history.nights, run.settings.fit)
    inside = history.eligible[is_among(history.eligible, window, [*MACHINE, "batch"])]
    learning = set(run.scope.recordings(inside)["recording_id"])
    for unit in expected_scores(early) if learning else ():
        later = unit.recordings["recording_id"].isin(learning) & (unit.recordings["role"] != "train")
        recordings = unit.recordings[later]
        versions = {machine: unit.versions[machine] for machine in by_machine(recordings) if machine in unit.versions}
        if versions:
            yield replace(unit, recordings=recordings, versions=versions)
