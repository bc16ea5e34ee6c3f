"""A run that could not go on, and what is told of it."""

from __future__ import annotations

from urllib.parse import urlsplit

from humwatch.flows.summary import Problem, RunSummary
from humwatch.storage.errors import HumwatchError, TerminalError


class RunFailed(TerminalError):
    """A run that could not go on; `summary` says what it did until then and why it stopped."""

    code = "run_failed"

    def __init__(self, summary: RunSummary) -> None:
        super().__init__(summary)
        self.summary = summary

    def __str__(self) -> str:
        return "; ".join(problem.message for problem in self.summary.errors)


def problems_of(error: object) -> list[Problem]:
    """Return what went wrong; of errors that are not ours only the kind, since nobody knows what their text holds."""
    if isinstance(error, RunFailed) and error.summary.errors:
        return error.summary.errors
    if isinstance(error, HumwatchError):
        return [Problem.of("", "", error)]
    return [Problem("", "", "internal_error", type(error).__name__)]


def without_credentials(uri: str) -> str:
    """Return a URI without user, password, query and fragment, where secrets may hide; paths stay as they are."""
    if "://" not in uri:
        return uri
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
