"""The page that leads to every report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def index_page(summaries: Sequence[Mapping[str, Any]]) -> str:
    """Return the page that lists published reports, in the order of their summaries."""
    environment = Environment(loader=PackageLoader("tasks.reports"), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("index.html.j2").render(summaries=summaries)
