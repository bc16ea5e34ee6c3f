"""Drawings of a machine's nights, written by hand as SVG: thousands a report, with text that keeps its size.

The plot is an inner drawing stretched to the width there is, with strokes that do not scale; text is outside it. The
SVG carries class names only; colours and the dark scheme are the style sheet's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

Values = Sequence[float | None]

_LEFT, _RIGHT = 60.0, 990.0  # of 1000: room for the labels of the scale, and for the last dot
_PLOT_PX, _STRIP_PX, _FOOT_PX = 96, 15, 16
_TOP_PX = 6  # half a label of the scale
_LETTER = 18.0  # of 1000, on the narrowest screen
_SPARK_CAP = 1.15


@dataclass(frozen=True)
class Level:
    """A level that may move from night to night, such as the one of an alarm; `below` puts its name under the line."""

    name: str
    values: Values
    style: str
    below: bool = False


@dataclass(frozen=True)
class Mark:
    """Something that happened on a night."""

    night: str
    text: str
    style: str


def sparkline_svg(shares: Values, state: str) -> Markup:
    """A machine's last nights in the height of a line of text, as shares of the level of an alarm (the dashed line)."""
    step = 100 / max(1, len(shares) - 1)
    points = [None if share is None else f"{step * at:.3g} {_spark_y(share):.3g}" for at, share in enumerate(shares)]
    dot = Markup('<path class=dot d="M{}h0"/>').format(points[-1]) if points and points[-1] else ""
    heard = [share for share in shares if share is not None]
    told = f"{len(heard)} nights, {sum(share >= 1 for share in heard)} at alarm level" if heard else "no nights"
    return Markup(
        '<svg class="spark {}" viewBox="0 0 104 22" role=img aria-label="{}"><path class=lim d="M0 {:.3g}H100"/>'
        '<path d="{}"/>{}</svg>'
    ).format(state, told, _spark_y(1.0), _path(points), dot)


def _spark_y(share: float) -> float:
    return 20 - 18 * min(max(share, 0.0), _SPARK_CAP) / _SPARK_CAP


def history_svg(
    key: str,
    title: str,
    nights: Sequence[str],
    values: Values,
    *,
    levels: Sequence[Level] = (),
    marks: Sequence[Mark] = (),
    shaded_from: str | None = None,
    bars: bool = False,
    floor: float | None = None,
) -> Markup:
    """One figure over a machine's nights.

    Args:
        key: Prefix of the element ids, unique on the page.
        title: What the figure is, for those who do not see it.
        nights: Names of the nights, oldest first, at least one; evenly spaced.
        values: One a night; None leaves a gap.
        levels: Dashed lines with their names.
        marks: Named vertical lines; those on nights that are not there are left out.
        shaded_from: The background is shaded from this night on.
        bars: Bars for counts instead of a line.
        floor: The scale begins at or below this.
    """
    low, high = _span([*values, *(value for level in levels for value in level.values)], floor)
    at = {night: _LEFT + (_RIGHT - _LEFT) * (i / (len(nights) - 1) if len(nights) > 1 else 0.5)
          for i, night in enumerate(nights)}  # fmt: skip
    xs = list(at.values())
    known = [mark for mark in marks if mark.night in at]
    top = _STRIP_PX * min(2, len({mark.style for mark in known})) + _TOP_PX

    def y(value: float) -> float:
        return 100 - 100 * (value - low) / (high - low)

    def points_of(heights: Values) -> list[str | None]:
        return [None if value is None else f"{x:.0f} {y(value):.1f}" for x, value in zip(xs, heights, strict=True)]

    points = points_of(values)
    ticks = _ticks(low, high, whole=bars)
    rules = "".join(f"M0 {y(value):.1f}H1000" for value in ticks)
    inner = [Markup('<path class="rule" d="{}"/>').format(rules)]
    if shaded_from in at:
        x = at[str(shaded_from)]
        inner.insert(0, Markup('<path class="shade" d="M{:.0f} 0H1000V100H{:.0f}z"/>').format(x, x))
    if bars:
        inner.append(
            Markup('<path class="bars" d="{}"/>').format(_bars(xs, [None if v is None else y(v) for v in values]))
        )
    else:
        dots = "".join(f"M{point}h0" for point in points if point)
        inner.append(Markup('<path class="line" d="{}"/><path class="dots" d="{}"/>').format(_path(points), dots))
    text = [
        Markup('<text class="tick" x="0" y="{:.0f}">{:g}</text>').format(top + _PLOT_PX * y(value) / 100 - 2, value)
        for value in ticks
    ]
    for level in levels:
        steps = [
            None if value is None else f"{x:.0f} {y(value):.1f}" for x, value in zip(xs, level.values, strict=True)
        ]
        inner.append(Markup('<path class="level {}" d="{}"/>').format(level.style, _path(steps, to_edge=True)))
        last = next((value for value in reversed(level.values) if value is not None), None)
        if last is not None:
            down = top + _PLOT_PX * y(last) / 100 + (12 if level.below else -4)
            text.append(Markup('<text class="tick {}" x="99.5%" y="{:.0f}" text-anchor="end">{} {}</text>').format(
                level.style, down, level.name, f"{last:.3g}"))  # fmt: skip
    text += _told(known, at, top)
    inner += [
        Markup('<path class="mark {}" d="M{x:.0f} 0V100"/>').format(mark.style, x=at[mark.night]) for mark in known
    ]
    foot = top + _PLOT_PX + 13
    text += [
        Markup('<text class="tick" x="{:.1f}%" y="{}" text-anchor="{}">{}</text>').format(
            xs[index] / 10, foot, anchor, nights[index]
        )
        for index, anchor in _dates(len(nights))
    ]
    return Markup(
        '<svg class="history" width="100%" height="{height}" role="img" aria-labelledby="{key}t">'
        '<title id="{key}t">{title}</title>'
        '<svg y="{top}" width="100%" height="{plot}" viewBox="0 0 1000 100" preserveAspectRatio="none">{inner}</svg>'
        "{text}</svg>"
    ).format(
        height=top + _PLOT_PX + _FOOT_PX,
        key=key,
        title=title,
        top=top,
        plot=_PLOT_PX,
        inner=Markup().join(inner),
        text=Markup().join(text),
    )


def _told(marks: Sequence[Mark], at: dict[str, float], top: int) -> list[Markup]:
    """Names of the marks above the plot, a strip for each style; one that has no room on either side is left out."""
    strips = {style: row for row, style in enumerate(dict.fromkeys(mark.style for mark in marks))}
    taken = dict.fromkeys(strips, 0.0)
    text = []
    for mark in sorted(marks, key=lambda mark: at[mark.night]):
        x, width = at[mark.night], _LETTER * len(mark.text)
        if x - width >= taken[mark.style]:
            anchor, taken[mark.style] = "end", x
        elif x >= taken[mark.style] and x + width <= 1000:
            anchor, taken[mark.style] = "start", x + width
        else:
            continue
        text.append(
            Markup('<text class="tick {}" x="{:.1f}%" y="{}" text-anchor="{}">{}</text>').format(
                mark.style, x / 10, top - 4 - _STRIP_PX * strips[mark.style], anchor, mark.text
            )
        )
    return text


def _dates(n: int) -> list[tuple[int, str]]:
    return [(0, "middle")] if n == 1 else [(0, "start"), *([(n // 2, "middle")] if n > 4 else []), (n - 1, "end")]


def _span(values: Values, floor: float | None) -> tuple[float, float]:
    """A scale that holds every value and has a height."""
    finite = [value for value in (*values, floor) if value is not None]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    if low == high:
        return low - (0.0 if floor == low else 0.5), high + 0.5
    room = 0.06 * (high - low)
    return low if floor == low else low - room, high + room


def _ticks(low: float, high: float, *, whole: bool) -> list[float]:
    """A few round values on the scale; counts are whole."""
    rough = (high - low) / 3
    unit = 10.0 ** math.floor(math.log10(rough))
    step = unit * next(factor for factor in (1, 2, 5, 10) if factor * unit >= 0.75 * rough)
    step = max(step, 1.0) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(step * n, 12) for n in range(first, last + 1)]


def _path(points: Sequence[str | None], *, to_edge: bool = False) -> str:
    """A line through the points with gaps at None; a lone point is a short stroke.

    `to_edge` goes on from the last night to the right edge.
    """
    parts: list[str] = []
    for before, point in zip([None, *points], points, strict=False):
        if point is not None:
            parts.append(f"{'L' if before is not None else 'M'}{point}")
    if to_edge and points[-1] is not None:
        parts.append(f"L1000 {points[-1].split()[-1]}")
    return "".join(parts)


def _bars(xs: Sequence[float], tops: Values) -> str:
    half = min(12.0, 0.35 * (_RIGHT - _LEFT) / max(1, len(xs)))
    return "".join(
        f"M{x - half:.0f} 100V{top:.1f}H{x + half:.0f}V100z" for x, top in zip(xs, tops, strict=True) if top is not None
    )
