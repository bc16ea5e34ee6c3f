"""The one message of a night: a heading that counts, the worst first, a link to the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from humwatch.storage.notices import Begun
from humwatch.tasks.notify.news import KINDS, News

_MOST_LINES = 15  # channels cut long messages, and the page has them all
_MOST_CHARACTERS = 300  # of a line


@dataclass(frozen=True)
class Message:
    """Plain text; `alarming` unless it has nothing but good news."""

    title: str
    body: str
    alarming: bool


def message_of(name: str, night: str, news: Sequence[News], link: str, unsure: Begun | None) -> Message:
    """Return the message of a night.

    Args:
        name: Of the plant: the heading of its reports.
        night: Its date.
        news: What to tell, the worst first; at least one thing.
        link: Where the page is; empty where there is none.
        unsure: An earlier message of which nobody knows whether it arrived.
    """
    counts = Counter(each.kind for each in news)
    counted = [f"{counts[kind]} {words[counts[kind] > 1]}" for kind, words in KINDS.items() if counts[kind]]
    lines = [_line(each) for each in news[:_MOST_LINES]]
    if len(news) > _MOST_LINES:
        lines.append(f"and {len(news) - _MOST_LINES} more")
    if unsure is not None:
        lines.append(f"An earlier message may not have arrived: {unsure.title}")
    if link:
        lines.append(link)
    alarming = any(each.kind != "cleared" for each in news)
    return Message(f"{name}, {night}: {', '.join(counted)}", "\n".join(lines), alarming)


def _line(news: News) -> str:
    line = f"{KINDS[news.kind][0]}: {news.words}"
    line = line[:1].upper() + line[1:]
    return line if len(line) <= _MOST_CHARACTERS else f"{line[: _MOST_CHARACTERS - 3]}..."
