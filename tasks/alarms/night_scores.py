"""One number of a machine's night: the mean normal score of its recordings.

A recording's conformal p-value, its rank among the model's out-of-fold calibration scores, counts as the standard
normal quantile of 1 - p. So no recording weighs more than its rank allows, however heavy the tail of the scores, and
nothing is lost where they are normal (against a shift normal scores are never less efficient than the mean: Chernoff &
Savage, "Asymptotic normality and efficiency of certain nonparametric test statistics", Annals of Mathematical
Statistics 29, 1958).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from humwatch.storage.records import Passport
from humwatch.tasks.alarms.null import normal_scores
from humwatch.tasks.alarms.reference_nights import Floats
from humwatch.tasks.detectors.calibration import p_values


@dataclass(frozen=True)
class Calibration:
    """A model's nights of normal sound, as scored by models that had not heard them.

    Attributes:
        nights: their dates.
        scores: float64 (night,): their night scores.
        recordings: how many a night has, on average.
    """

    nights: tuple[str, ...]
    scores: Floats
    recordings: float

    def scores_from(self, night: str | None) -> Floats:
        """Return the scores of `night` and those after it; of all nights for None."""
        return self.scores[[night is None or each >= night for each in self.nights]]


def night_score(recording_p_values: Floats, n_calibration: int) -> float:
    """Return the night score of recordings with these conformal p-values; NaN without one."""
    if len(recording_p_values) == 0:
        return float("nan")
    return float(normal_scores(recording_p_values, n_calibration).mean())


def calibration_of(passport: Passport, left_out: Collection[str] = ()) -> Calibration:
    """Return the reference nights that a model's passport holds, without those left out.

    There are none where folds were not whole nights: recordings of a night that its model has heard say too little of a
    night it has not.
    """
    scores = np.array(passport.calibration_scores, dtype=np.float64)
    nights = pd.Series(passport.calibration_batches, dtype=object)
    if nights.nunique() < passport.calibration_folds:
        return Calibration((), np.empty(0), float("nan"))
    # each among the others: without itself its rank is one less
    among_others = p_values(scores, scores) * (len(scores) + 1) - 1
    normal = pd.Series(normal_scores(among_others / len(scores), len(scores) - 1))
    table = normal.groupby(nights).agg(["mean", "size"])
    table = table[~table.index.isin(list(left_out))]
    return Calibration(tuple(table.index), table["mean"].to_numpy(np.float64), float(table["size"].mean()))
