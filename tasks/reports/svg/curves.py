"""Curves of an evaluation as SVG: ROC, precision over recall, observed over stated false-alarm rate.

As in `figures`, the SVG carries class names only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from humwatch.tasks.reports.svg.figures import FloatArray


@dataclass(frozen=True)
class RocLine:
    """One model's curve: its style number, its name, and the test scores by label (higher = more abnormal)."""

    style: int
    name: str
    normal: FloatArray
    abnormal: FloatArray


@dataclass(frozen=True)
class PValueLine:
    """One model's p-values of normal test recordings: its style number and its name."""

    style: int
    name: str
    p_values: FloatArray


def roc_svg(key: str, machine: str, lines: Sequence[RocLine], max_fpr: float) -> Markup:
    """ROC curves of one machine: a unit square, the chance diagonal, and the strip the partial AUC looks at.

    Args:
        key: Prefix of the element ids, unique on the page.
        machine: Name for the title.
        lines: Curves; each needs at least one normal and one abnormal score.
        max_fpr: Right edge of the shaded strip.
    """
    names = ", ".join(line.name for line in lines)
    return _square(
        key,
        title=f"ROC curves of {machine}",
        desc=f"True-positive over false-positive rate of {names}; the dotted diagonal is chance.",
        axes=("false-positive rate", "true-positive rate"),
        chance="M22 104L122 4",
        paths=[(line.style, line.name, _roc_path(line)) for line in lines],
        shaded=max_fpr,
    )


def pr_svg(key: str, machine: str, lines: Sequence[RocLine]) -> Markup:
    """Precision-recall curves of one machine, with the precision of guessing as the dotted line.

    Precision holds from one threshold to the next, so the area below a curve is its average precision.

    Args:
        key: Prefix of the element ids, unique on the page.
        machine: Name for the title.
        lines: Models; each needs at least one normal and one abnormal score, in the same numbers.
    """
    first = lines[0]
    guessing = first.abnormal.size / (first.abnormal.size + first.normal.size)
    names = ", ".join(line.name for line in lines)
    return _square(
        key,
        title=f"Precision-recall curves of {machine}",
        desc=f"Precision over recall of {names}; the dotted line is guessing, {guessing:.2f}.",
        axes=("recall", "precision"),
        chance=f"M22 {104 - 100 * guessing:.1f}H122",
        paths=[(line.style, line.name, _pr_path(line)) for line in lines],
    )


def calibration_svg(key: str, lines: Sequence[PValueLine]) -> Markup:
    """How many normal test recordings have a p-value at or below a rate, over that rate.

    On or below the diagonal the promise holds: no more false alarms than stated, whatever the rate.

    Args:
        key: Prefix of the element ids, unique on the page.
        lines: Models; each needs at least one p-value.
    """
    names = ", ".join(line.name for line in lines)
    return _square(
        key,
        title="Observed over stated false-alarm rate",
        desc=f"Share of normal test recordings called abnormal, over the stated rate, of {names}; "
        "the dotted diagonal is as stated.",
        axes=("stated rate", "observed rate"),
        chance="M22 104L122 4",
        paths=[(line.style, line.name, _cumulative_path(line.p_values)) for line in lines],
    )


def _square(
    key: str,
    *,
    title: str,
    desc: str,
    axes: tuple[str, str],
    chance: str,
    paths: Sequence[tuple[int, str, str]],
    shaded: float | None = None,
) -> Markup:
    """Curves in a unit square (x 22 to 122, y 104 to 4): style, name and path of each; shaded up to a share of x."""
    strip = (
        ""
        if shaded is None
        else Markup('<rect class="strip" x="22" y="4" width="{:.1f}" height="100"/>').format(100 * shaded)
    )
    drawn = Markup().join(
        Markup('<path class="roc m{}" d="{}"><title>{}</title></path>').format(style, path, name)
        for style, name, path in paths
    )
    return Markup(
        '<svg class="chart" viewBox="0 0 128 124" role="img" aria-labelledby="{key}t {key}d">'
        '<title id="{key}t">{title}</title><desc id="{key}d">{desc}</desc>{strip}'
        '<path class="frame" d="M22 4V104H122M72 104v2M122 104v2M22 54h-2M22 4h-2"/>'
        '<path class="chance" d="{chance}"/>{drawn}'
        '<g class="tick"><text x="22" y="112">0</text><text x="122" y="112" text-anchor="end">1</text>'
        '<text x="72" y="121" text-anchor="middle">{across}</text>'
        '<text x="18" y="104" text-anchor="end">0</text><text x="18" y="10" text-anchor="end">1</text>'
        '<text transform="translate(9 54)rotate(-90)" text-anchor="middle">{up}</text></g></svg>'
    ).format(key=key, title=title, desc=desc, strip=strip, chance=chance, drawn=drawn, across=axes[0], up=axes[1])


def _roc_path(line: RocLine) -> str:
    from sklearn.metrics import roc_curve  # noqa: PLC0415 - too slow for a look

    labels = np.r_[np.zeros(line.normal.size), np.ones(line.abnormal.size)]
    fpr, tpr, _ = roc_curve(labels, np.r_[line.normal, line.abnormal])
    points = dict.fromkeys(f"{22 + 100 * x:.1f} {104 - 100 * y:.1f}" for x, y in zip(fpr, tpr, strict=True))
    return "M" + "L".join(points)


def _pr_path(line: RocLine) -> str:
    from sklearn.metrics import precision_recall_curve  # noqa: PLC0415 - as above

    labels = np.r_[np.zeros(line.normal.size), np.ones(line.abnormal.size)]
    precision, recall, _ = precision_recall_curve(labels, np.r_[line.normal, line.abnormal])
    rising = np.diff(recall[::-1], prepend=-1.0) > 0  # one point a recall: the highest threshold that reaches it
    return _steps(recall[::-1][rising][1:], precision[::-1][rising][1:], start=precision[::-1][rising][1])


def _cumulative_path(p_values: FloatArray) -> str:
    rates, counts = np.unique(p_values, return_counts=True)
    before = np.r_[0.0, np.cumsum(counts) / p_values.size]
    return _steps(np.r_[rates, 1.0], before, start=0.0)


def _steps(x: FloatArray, y: FloatArray, start: float) -> str:
    """A path from x = 0 that is at the height y[i] on its way to x[i]."""
    points = [f"M22 {104 - 100 * start:.1f}"]
    for right, height in zip(x, y, strict=True):
        points.append(f"V{104 - 100 * height:.1f}H{22 + 100 * right:.1f}")
    return "".join(dict.fromkeys(points))
