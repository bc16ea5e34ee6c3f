"""The notify stage: tell each channel what it does not know, noting it before and after, and never fail the night."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from humwatch.storage.errors import HumwatchError
from humwatch.storage.naming import digest
from humwatch.storage.notices import Begun, Ended, begin_notice, channel_id, end_notice, read_notices
from humwatch.tasks.execution.stage import stage
from humwatch.tasks.notify.message import Message, message_of
from humwatch.tasks.notify.news import WINDOW_NIGHTS, News, knows, standing, untold
from humwatch.tasks.notify.sending import Channel, channels_of, send, split_urls
from humwatch.tasks.plan.night_tables import night_of, read_night, read_nights
from humwatch.tasks.plan.run import Run
from humwatch.tasks.reports.night.fleet_view import Fleet, fleet_of
from humwatch.tasks.settings import NotifySettings

EVENT = "humwatch.notice.failed"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delivery:
    """What became of a message.

    Attributes:
        channel: Place and service of the channel, or name of the secret block that cannot be read.
        state: `unsure`: a run ended while it was sent, or no answer came; it is not sent again.
        message: Its heading where it was sent, else what happened.
    """

    channel: str
    state: Literal["sent", "failed", "unsure"]
    message: str


@stage("notify")
def tell_channels(run: Run, night: str, of_run: Sequence[News], link: str, *, judged: bool) -> list[Delivery]:
    """Tell each channel what it does not know; nothing new, no message. What goes wrong is returned, never raised.

    Args:
        run: Its scope is the night, where `judged`.
        night: Date that the message is about.
        of_run: What happened to the run itself.
        link: Where the page is; empty where there is none.
        judged: Whether to look at the night's machines; False where the run failed before they were judged.
    """
    if run.settings.notify.secret_blocks:
        run.lake.about_to_write()  # Prefect alone knows these channels, so a look cannot tell whether all were told
    channels, deliveries = _configured(run.settings.notify)
    if channels:
        fleet = _fleet(run) if judged else None
        news = [*of_run, *(standing(fleet) if fleet else [])]
        for channel in channels:
            delivery = _tell(run, channel, night, news, fleet, link)
            deliveries += [delivery] if delivery else []
    for delivery in deliveries:
        if delivery.state != "sent":
            _log.warning("channel %s: %s", delivery.channel, delivery.message)
            _emit(run, night, delivery)
    return deliveries


def addresses(settings: NotifySettings) -> tuple[list[str], dict[str, str]]:
    """Return the addresses of the channels, which are secrets, and of each block that cannot be read why, in words."""
    urls, problems = split_urls(os.environ.get(settings.variable, "")), {}
    for name in settings.secret_blocks:
        from prefect.blocks.system import Secret  # noqa: PLC0415 - most have none, and need no Prefect to know

        try:
            value = Secret.load(name).get()  # type: ignore[union-attr] # no coroutine: nothing is async here
        except Exception as error:  # noqa: BLE001 - whatever it is, its text may hold what nobody may read
            problems[name] = f"the Prefect secret block cannot be read ({type(error).__name__})"
            continue
        urls += [url for text in (value if isinstance(value, list) else [value]) for url in split_urls(str(text))]
    return urls, problems


def _configured(settings: NotifySettings) -> tuple[list[Channel], list[Delivery]]:
    urls, problems = addresses(settings)
    return channels_of(urls), [Delivery(name, "failed", problem) for name, problem in problems.items()]


def _fleet(run: Run) -> Fleet | None:
    """Return the fleet as the pages of the night show it; None where it was not judged."""
    night, shown = night_of(run.scope), run.variants[0]
    if night is None or run.scope.machines is not None or read_night(run) is None:
        return None
    return fleet_of(read_nights(run, WINDOW_NIGHTS), night, (shown.backbone, shown.detector, shown.seed))


def _tell(
    run: Run, channel: Channel, night: str, news: Sequence[News], fleet: Fleet | None, link: str
) -> Delivery | None:
    """Tell one channel; None where there is nothing to say."""
    name = run.settings.report.title
    try:
        lake, place = run.lake, channel_id(run.lake, channel.url)
        notices = read_notices(lake, place)
        fresh = untold(news, fleet, notices.told)
        if not fresh:
            unsure = notices.unsure
            return Delivery(channel.name, "unsure", _may_not_have_arrived(unsure.title)) if unsure else None
        message = message_of(name, night, fresh, link, notices.unsure)
        number = notices.newest + 1
        begun = Begun(night=night, title=message.title, begun_at=_now(), told=knows(news, fleet, notices.told, night))
        if not begin_notice(lake, place, number, begun):
            return Delivery(channel.name, "failed", "another run is telling it; what is left is told by the next")
    except HumwatchError as error:
        run.lake.about_to_write()
        return _tell_unnoted(channel, name, night, news, error)
    delivery, ended = _send(channel, message)
    try:
        end_notice(lake, place, number, ended)
    except HumwatchError as error:
        return Delivery(channel.name, "unsure", f"{delivery.message}: {delivery.state}, and not noted ({error})")
    return delivery


def _tell_unnoted(
    channel: Channel, name: str, night: str, news: Sequence[News], error: HumwatchError
) -> Delivery | None:
    """Tell of a run that failed, though the lake cannot note it; keep everything else for the next run."""
    failures = [each for each in news if each.kind == "failed"]
    if not failures:
        return Delivery(channel.name, "failed", f"not told, as the lake could not note it: {error}")
    return _send(channel, message_of(name, night, failures, "", None))[0]


def _send(channel: Channel, message: Message) -> tuple[Delivery, Ended]:
    state, why = send(channel, message)
    said = message.title if state == "sent" else f"{message.title}: {why}"
    return Delivery(channel.name, state, said), Ended(state=state, why=why, ended_at=_now())


def _may_not_have_arrived(title: str) -> str:
    return f"an earlier message may not have arrived, and is not sent again: {title}"


def _emit(run: Run, night: str, delivery: Delivery) -> None:
    run.lake.about_to_write()
    from prefect.events import emit_event  # noqa: PLC0415 - as above

    resource = {"prefect.resource.id": f"humwatch.lake.{digest(run.lake_uri)}"}
    emit_event(EVENT, resource=resource, payload={"night": night, **vars(delivery)})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
