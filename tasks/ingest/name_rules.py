"""What the settings say about names: layouts, the configured expression, clocks and words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from humwatch.storage.errors import BadConfiguration
from humwatch.tasks.ingest.layout import Layout, compile_layouts
from humwatch.tasks.ingest.recording_facts import FACT_NAMES, LABEL_WORDS, USUAL, Conventions, checked_facts
from humwatch.tasks.plan.tonight import clock_of
from humwatch.tasks.settings import IngestSettings


@dataclass(frozen=True)
class NameRules:
    """How names are read beyond the rules that hold everywhere.

    Attributes:
        pattern: searched in the path; its named groups win over those rules.
        layouts: templates of the end of a path, which win over the pattern.
        hex_seconds: whether a name of eight hexadecimal digits is a time.
    """

    pattern: re.Pattern[str] | None = None
    layouts: Sequence[Layout] = ()
    conventions: Conventions = USUAL
    hex_seconds: bool = False

    @classmethod
    def of(cls, settings: IngestSettings) -> NameRules:
        """Return what the settings say.

        Raises:
            BadConfiguration: the pattern or a layout is wrong.
        """
        words = {word.strip().lower(): label for word, label in settings.label_words.items()}
        return cls(
            _compiled(settings.name_pattern),
            compile_layouts(settings.layout),
            Conventions(clock_of(settings), LABEL_WORDS | words),
            settings.hex_seconds,
        )

    @cached_property
    def label_name(self) -> re.Pattern[str]:
        """What the name of a file is that is a label, perhaps with a number (`NG_0001`)."""
        words = "|".join(map(re.escape, self.conventions.label_words))
        return re.compile(rf"(?P<label>{words})(?:[_-]?\d+)?", re.IGNORECASE)

    def by_layout(self, path: str) -> dict[str, Any] | None:
        """Return what the first layout that fits says of a path, and perhaps `index`; None when none fits."""
        read = (layout.read(path, self.conventions) for layout in self.layouts)
        return next((facts for facts in read if facts is not None), None)

    def by_pattern(self, path: str) -> dict[str, Any]:
        """Return what the expression says of a path.

        Raises:
            BadConfiguration: it caught a value its group cannot have.
        """
        groups = {name: text for name, text in self._groups(path).items() if name != "index"}
        return checked_facts(groups, f"ingest.name_pattern on {path}", self.conventions)

    def index_of(self, path: str) -> str | None:
        """Return what the layout, else the expression, calls the take at a path."""
        return (self.by_layout(path) or {}).get("index") or self._groups(path).get("index")

    def _groups(self, path: str) -> dict[str, str | None]:
        match = self.pattern.search(path) if self.pattern else None
        return match.groupdict() if match else {}


DEFAULT_RULES = NameRules()


def _compiled(name_pattern: str | None) -> re.Pattern[str] | None:
    if name_pattern is None:
        return None
    try:
        pattern = re.compile(name_pattern)
    except re.error as error:
        raise BadConfiguration(f"ingest.name_pattern is not a regular expression: {error}") from error
    allowed = {*FACT_NAMES, "index"}
    if unknown := sorted(pattern.groupindex.keys() - allowed):
        raise BadConfiguration(
            f"ingest.name_pattern has unknown groups {', '.join(unknown)}; known are {', '.join(sorted(allowed))}"
        )
    return pattern
