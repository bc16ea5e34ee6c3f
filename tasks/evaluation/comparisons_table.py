"""comparisons.csv: every pair of models (backbone x detector) on the same test recordings, a machine and over machines.

Over machines the mean of their differences is judged, with the standard error of a mean of independent figures:
machines have no recording in common. Over seeds it is the mean, too, with the mean of the standard errors: splits of
different seeds share recordings, and whatever the correlation the error of a mean is no larger than that.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from humwatch.storage.tables import MACHINE
from humwatch.tasks.evaluation.auc_table import optional_text, to_frame
from humwatch.tasks.evaluation.metrics import n_files
from humwatch.tasks.evaluation.paired import FloatArray, Placements, delong, normal_interval, placements
from humwatch.tasks.evaluation.summary_table import ALL_TYPES
from humwatch.tasks.settings import EvaluationSettings

COLUMNS: dict[str, str] = {
    "machine_type": "object",
    "machine_id": "object",
    "site": "object",
    "condition": "object",
    "domain": "object",
    "backbone_a": "object",
    "detector_a": "object",
    "backbone_b": "object",
    "detector_b": "object",
    "n_machines": "int64",
    "n_undefined": "int64",
    "n_normal": "int64",
    "n_abnormal": "int64",
    "auc_a": "float64",
    "auc_b": "float64",
    "difference": "float64",
    "low": "float64",
    "high": "float64",
    "p_value": "float64",
    "better": "object",
    "reason": "object",
}
_PAIR = ["backbone_a", "detector_a", "backbone_b", "detector_b"]
_ERROR = "standard_error"  # of a machine's row, until the rows over machines are made
_UNDEFINED: dict[str, object] = dict.fromkeys(("difference", "low", "high", "p_value", "better", _ERROR))

Model = tuple[str, str]
Files = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]


def comparisons_table(
    assignments: pd.DataFrame,
    scores: pd.DataFrame,
    settings: EvaluationSettings,
    models: Sequence[Model],
) -> pd.DataFrame:
    """Compare every pair of models by DeLong's test, for each machine and over machines.

    Args:
        assignments: as for `auc_table`; only labelled test recordings count.
        scores: as for `auc_table`.
        settings: confidence.
        models: (backbone, detector) of each; `a` comes before `b` in their order.

    Returns:
        Columns and dtypes as `COLUMNS`. Machines with test recordings of one label only have no row. A row over
        machines has no machine_id, and machine_type `all` when it is over all types; machines whose difference is
        undefined are left out of it. `better` is `a` or `b` when the interval excludes zero, else `neither`.
    """
    tests = assignments[(assignments["role"] == "test") & assignments["label"].notna()]
    if len(models) < 2 or tests.empty:
        return to_frame([], COLUMNS)
    tests = tests.reset_index(drop=True)
    values = _values(tests, scores, models)
    rows: list[dict[str, object]] = []
    for key, group in tests.groupby(MACHINE, dropna=False):
        machine = _named(MACHINE, key)
        rows += [machine | row for row in _machine_rows(group, values[group.index], models, settings.confidence)]
    return to_frame([*rows, *_over_machines(pd.DataFrame(rows), settings.confidence)], COLUMNS)


def _values(tests: pd.DataFrame, scores: pd.DataFrame, models: Sequence[Model]) -> FloatArray:
    """The scores of the test recordings, float64 (recording, model); NaN where there is none."""
    by = ["recording_id", "seed"]
    scored = {model: rows.set_index(by)["score"] for model, rows in scores.groupby(["backbone", "detector"])}
    tested = pd.MultiIndex.from_frame(tests[by])
    nothing = pd.Series(np.nan, index=tested)
    return np.column_stack([scored.get(model, nothing).reindex(tested).to_numpy(dtype=np.float64) for model in models])


def _machine_rows(
    tests: pd.DataFrame, values: FloatArray, models: Sequence[Model], confidence: float
) -> Iterator[dict[str, object]]:
    """The rows of one machine and condition: all recordings, then each domain there is, each with every pair."""
    abnormal = (tests["label"] == "abnormal").to_numpy()
    files = pd.factorize(tests["path"])[0] if "path" in tests else np.arange(len(tests))
    for domain in ("all", "source", "target"):
        normal = ~abnormal & ((tests["domain"] == domain).to_numpy() | (domain == "all"))
        if not normal.any() or not abnormal.any():
            continue
        seeds = [(tests["seed"] == seed).to_numpy() for seed in tests["seed"].unique()]
        counts = {
            "n_normal": min(int((normal & seed).sum()) for seed in seeds),
            "n_abnormal": min(int((abnormal & seed).sum()) for seed in seeds),
        }
        placed = [_placed(values[normal & seed], values[abnormal & seed], models) for seed in seeds]
        seed_files = [(files[abnormal & seed], files[normal & seed]) for seed in seeds]
        for a, b in combinations(models, 2):
            pairs = [(one[a], one[b]) for one in placed]
            yield {"domain": domain, **counts} | _pair(a, b) | _compared(pairs, seed_files, confidence)


def _placed(normal: FloatArray, abnormal: FloatArray, models: Sequence[Model]) -> dict[Model, Placements | None]:
    """Every model's placements under one seed; None where a score is missing or a label is."""
    defined = len(normal) and len(abnormal)
    complete = [not np.isnan(column).any() for column in np.vstack([normal, abnormal]).T]
    return {
        model: placements(normal[:, at], abnormal[:, at]) if defined and complete[at] else None
        for at, model in enumerate(models)
    }


def _compared(
    seeds: Sequence[tuple[Placements | None, Placements | None]], files: Sequence[Files], confidence: float
) -> dict[str, object]:
    """The figures of one pair on one machine; `files` of the abnormal and of the normal recordings of each seed."""
    both = [(a, b) for a, b in seeds if a is not None and b is not None]
    facts = {
        "n_machines": 0,
        "n_undefined": 1,
        "auc_a": _mean([None if a is None else a.auc for a, _ in seeds]),
        "auc_b": _mean([None if b is None else b.auc for _, b in seeds]),
    }
    if len(both) < len(seeds):
        return facts | _UNDEFINED | {"reason": "scores missing"}
    tested = [result for (a, b), of_seed in zip(both, files, strict=True) if (result := delong(a, b, of_seed))]
    if len(tested) < len(both):
        small = min(n_files(names) for of_seed in files for names in of_seed) < 2
        return (
            facts | _UNDEFINED | {"reason": "one recording of a label" if small else "the difference has no variance"}
        )
    difference, error = (float(value) for value in np.mean(tested, axis=0))
    judged = _judged(difference, error, confidence)
    return facts | {"n_machines": 1, "n_undefined": 0, "reason": None, _ERROR: error} | judged


def _over_machines(machines: pd.DataFrame, confidence: float) -> Iterator[dict[str, object]]:
    """Rows per machine type, then over all types."""
    if machines.empty:
        return
    for rows in (machines, machines.assign(machine_type=ALL_TYPES)):
        for key, group in rows.groupby(["machine_type", "condition", "domain", *_PAIR], dropna=False, sort=False):
            yield _combined(_named(["machine_type", "condition", "domain", *_PAIR], key), group, confidence)


def _combined(names: Mapping[str, object], group: pd.DataFrame, confidence: float) -> dict[str, object]:
    defined = group[group["reason"].isna()]
    facts = {
        **names,
        "machine_id": None,
        "site": None,
        "n_machines": len(defined),
        "n_undefined": len(group) - len(defined),
        "n_normal": int(defined["n_normal"].sum()),
        "n_abnormal": int(defined["n_abnormal"].sum()),
    }
    if defined.empty:
        return facts | _UNDEFINED | {"auc_a": None, "auc_b": None, "reason": "undefined for every machine"}
    auc_a, auc_b, difference = (float(defined[name].mean()) for name in ("auc_a", "auc_b", "difference"))
    error = float(np.sqrt((defined[_ERROR].astype(float) ** 2).sum())) / len(defined)
    return facts | {"auc_a": auc_a, "auc_b": auc_b, "reason": None} | _judged(difference, error, confidence)


def _judged(difference: float, error: float, confidence: float) -> dict[str, object]:
    low, high, p_value = normal_interval(difference, error, confidence)
    better = "a" if low > 0 else "b" if high < 0 else "neither"
    return {"difference": difference, "low": low, "high": high, "p_value": p_value, "better": better}


def _pair(a: Model, b: Model) -> dict[str, object]:
    return dict(zip(_PAIR, (*a, *b), strict=True))


def _named(names: Sequence[str], key: Iterable[Hashable]) -> dict[str, object]:
    return dict(zip(names, map(optional_text, key), strict=True))


def _mean(values: Sequence[float | None]) -> float | None:
    return None if None in values else float(np.mean([value for value in values if value is not None]))
