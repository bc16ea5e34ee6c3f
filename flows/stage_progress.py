"""Progress of long stages as artifacts on the Prefect run; a bounded number of calls, whatever the number of blocks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from humwatch.tasks.execution.progress import listening
from humwatch.tasks.execution.stage import artifacts_if_possible

EVERY_S = 15.0


@dataclass
class _Stage:
    told_at: float
    artifact: UUID | None = None


class StageProgress:
    """A listener that keeps one progress artifact for each stage that lasts longer than `every_s`.

    It is created or updated at most once in `every_s` seconds, and at the end. Progress is a courtesy: a Prefect server
    that does not answer costs the stage nothing but a look.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._stages: dict[str, _Stage] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note that `done` of `total` units are finished."""
        now = time.monotonic()
        told = self._stages.setdefault(stage, _Stage(now))
        over = done >= total and told.artifact is not None
        if now - told.told_at < self._every_s and not over:
            return
        told.told_at = now
        percent, text = 100 * done / max(total, 1), f"{stage}: {done} of {total}"
        with artifacts_if_possible(text):
            if told.artifact is None:
                told.artifact = cast(
                    UUID, create_progress_artifact(percent, description=text)
                )  # a flow's is no coroutine
            else:
                update_progress_artifact(told.artifact, percent, description=text)


@contextmanager
def progress_artifacts() -> Iterator[None]:
    """Keep progress artifacts on the current flow run while the context lasts."""
    with listening(StageProgress(EVERY_S)):
        yield
