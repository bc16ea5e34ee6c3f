"""Channels: Apprise URLs, which are secrets, and how one message is sent to one of them.

What Apprise and the libraries below it log names addresses and tokens, so none of it is let through.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from humwatch.tasks.notify.message import Message

if TYPE_CHECKING:
    from apprise import NotifyBase

State = Literal["sent", "failed", "unsure"]

# A comma parts two addresses only where another one begins: `?to=a,b` is one.
_BETWEEN = re.compile(r"\s+|\s*,\s*(?=[A-Za-z0-9_-]+://)")
_CHATTY = ("apprise", "urllib3", "requests", "requests_oauthlib", "charset_normalizer")
_REFUSED = re.compile(r"error=(\d{3})")
_ANSWER_LOST = re.compile(
    r"read timed out|connection aborted|remote ?disconnected|connection broken|incompleteread", re.IGNORECASE
)
_CAUSE = "Socket Exception: "
_MAIL_GIVEN = "Sending email to"
_MAIL_REFUSED = re.compile(rf"{_CAUSE}[({{]")  # an answer of the server: (550, b'...'), {'to': (550, ...)}


@dataclass(frozen=True)
class Channel:
    """One address.

    Attributes:
        name: Its place in the list and the service it is of, such as `2 (Slack)`.
        url: The secret.
        service: What sends to it; None where `problem` says why there is none.
        problem: Why nothing can be sent to it; empty where something can.
    """

    name: str
    url: str = field(repr=False)
    service: NotifyBase | None = field(repr=False)
    problem: str = ""


def split_urls(text: str) -> list[str]:
    """Return the URLs of a text, parted by line breaks, blanks or commas."""
    return [url.strip(",") for url in _BETWEEN.split(text) if url.strip(",")]


def channels_of(urls: Sequence[str]) -> list[Channel]:
    """Return a channel for each address, in their order; one that is named twice is one."""
    return [_channel(number, url) for number, url in enumerate(dict.fromkeys(urls), start=1)]


def send(channel: Channel, message: Message) -> tuple[State, str]:
    """Send a message once; return what became of it, and why in words that hold no secret.

    `failed`: it did not arrive. `unsure`: it was handed over, and no answer came.
    """
    from apprise import Apprise, NotifyFormat, NotifyType  # noqa: PLC0415 - few commands need it

    if channel.service is None:
        return "failed", channel.problem
    apprise = Apprise()
    apprise.add(channel.service)
    kind = NotifyType.WARNING if message.alarming else NotifyType.SUCCESS
    with _heard() as said:
        try:
            sent = apprise.notify(message.body, message.title, notify_type=kind, body_format=NotifyFormat.TEXT)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything, and its text may hold the address
            return "unsure", f"it ended in {type(error).__name__}"
    return ("sent", "") if sent else _why("\n".join(said))


def _why(said: str) -> tuple[State, str]:
    if refused := _REFUSED.search(said):
        return "failed", f"refused with status {refused[1]}"
    if _MAIL_GIVEN in said and _MAIL_REFUSED.search(said):
        return "failed", "refused by the mail server"
    if _MAIL_GIVEN in said or _ANSWER_LOST.search(said):
        return "unsure", "handed over, and no answer came"
    return "failed", "no connection"


def _channel(number: int, url: str) -> Channel:
    from apprise import Apprise, AppriseAsset  # noqa: PLC0415 - few commands need it
    from apprise.common import OverflowMode  # noqa: PLC0415

    asset = AppriseAsset(app_id="Humwatch", app_desc="Humwatch", app_url="", async_mode=False, image_url_mask="")
    with _heard():
        service = Apprise.instantiate(url, asset=asset)
    if service is None:
        return Channel(str(number), url, None, "no address that Apprise understands")
    name = f"{number} ({service.service_name})"
    # One message, one attempt, and a failure is one: so it is known what was sent.
    service.retry, service.optional, service.overflow_mode = 0, False, OverflowMode.TRUNCATE
    if len(service) > 1:
        problem = (
            f"{len(service)} recipients in one address: give each an address of its own, so that each is told once"
        )
        return Channel(name, url, None, problem)
    return Channel(name, url, service)


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Keep to ourselves what is logged about addresses while the context lasts, and yield it."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            # not what it logs of addresses and messages, in which anything may stand
            if record.name == _CHATTY[0] and (record.levelno >= logging.WARNING or text.startswith(_CAUSE)):
                said.append(text)

    loggers = [logging.getLogger(name) for name in _CHATTY]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    listener = Listener(logging.DEBUG)
    for logger in loggers:
        logger.handlers, logger.propagate = [listener], False
        logger.setLevel(logging.DEBUG)
    try:
        yield said
    finally:
        for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
