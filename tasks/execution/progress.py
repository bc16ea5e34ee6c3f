"""Progress of a stage, told to all who listen (a terminal, a log, Prefect); nobody has to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, int, int], None]

_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("progress_listeners", default=())


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send progress to `listener(stage, done, total)` too while the context lasts."""
    token = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(token)


@contextmanager
def only_listening(listener: Listener) -> Iterator[None]:
    """Send progress to `listener` and nobody else while the context lasts."""
    token = _listeners.set((listener,))
    try:
        yield
    finally:
        _listeners.reset(token)


def tell(stage: str, done: int, total: int) -> None:
    """Say that `done` of `total` units of a stage are finished."""
    for listener in _listeners.get():
        listener(stage, done, total)
