"""Messages to real servers: each sent once, what became of it is known, and no address is told to anybody."""

import logging
import time
from email.header import decode_header, make_header

import pytest
from listeners import SECRET, MailServer, Webhook, text_of

from humwatch.tasks.notify.message import Message
from humwatch.tasks.notify.sending import channels_of, send, split_urls

MESSAGE = Message(
    "Plant, 2026-01-20: 1 new alarm", "New alarm: fan id_00 <b> & co\nhttps://plant.example/x", alarming=True
)


@pytest.fixture
def webhook():
    with Webhook() as server:
        yield server


@pytest.fixture
def mail_server():
    with MailServer() as server:
        yield server


def sent_to(url, message=MESSAGE):
    (channel,) = channels_of([url])
    return send(channel, message)


def test_a_webhook_is_told(webhook):
    assert sent_to(webhook.url) == ("sent", "")
    (told,) = webhook.told
    assert (told["title"], told["message"], told["type"]) == (MESSAGE.title, MESSAGE.body, "warning")
    assert sent_to(webhook.url, Message("a", "b", alarming=False)) == ("sent", "")
    assert webhook.told[1]["type"] == "success"


def test_a_mail_arrives(mail_server):
    assert sent_to(mail_server.url) == ("sent", "")
    (mail,) = mail_server.mails
    assert str(make_header(decode_header(mail["Subject"]))) == MESSAGE.title
    assert "fan id_00" in text_of(mail)
    assert "https://plant.example/x" in text_of(mail)
    assert mail["To"] == "team@plant.example"


@pytest.mark.parametrize("status", [302, 401, 404, 500, 503])
def test_a_refusal_did_not_arrive(webhook, status):
    webhook.status = status
    assert sent_to(webhook.url) == ("failed", f"refused with status {status}")


def test_nobody_listens():
    with Webhook() as server:
        url = server.url
    assert sent_to(url) == ("failed", "no connection")
    with MailServer() as server:
        url = server.url
    assert sent_to(url) == ("failed", "no connection")


def test_an_answer_that_is_lost_leaves_it_open_whether_it_arrived(webhook, mail_server):
    webhook.status = None
    assert sent_to(webhook.url) == ("unsure", "handed over, and no answer came")
    webhook.before = lambda: time.sleep(2)  # longer than the second that the address allows
    assert sent_to(webhook.url) == ("unsure", "handed over, and no answer came")
    assert len(webhook.told) == 2


def test_what_the_message_says_is_not_taken_for_what_happened(webhook):
    webhook.status = 500
    said = Message("error=200", "Read timed out. Connection aborted error=404 Sending email to", alarming=True)
    assert sent_to(webhook.url, said) == ("failed", "refused with status 500")


def test_a_mail_that_is_refused_did_not_arrive(mail_server):
    mail_server.answer = "554 no"
    assert sent_to(mail_server.url) == ("failed", "refused by the mail server")


def test_a_mail_server_that_is_lost_after_the_mail_leaves_it_open(mail_server):
    mail_server.answer = "421 closing"
    assert sent_to(mail_server.url)[0] in {"failed", "unsure"}
    (channel,) = channels_of([mail_server.url])
    channel.service.socket_connect_timeout = 0.5
    mail_server.answer, mail_server.silent_s = "250 OK", 2.0
    assert send(channel, MESSAGE) == ("unsure", "handed over, and no answer came")


def test_one_attempt_whatever_the_address_asks_for(webhook):
    webhook.status = 500
    assert sent_to(f"{webhook.url}&retry=3&optional=yes&wait=0.1") == ("failed", "refused with status 500")
    assert len(webhook.told) == 1


@pytest.mark.parametrize(
    "url", [f"nothing://{SECRET}", f"https://hooks.slack.com/{SECRET}", SECRET, f"slack://{SECRET}", "json://"]
)
def test_an_address_that_is_none_is_told_without_it(url, caplog):
    (channel,) = channels_of([url])
    if channel.service is None:
        assert send(channel, MESSAGE)[0] == "failed"
    assert SECRET not in repr(channel) + channel.problem + channel.name + caplog.text


def test_several_recipients_in_one_address_are_refused_since_one_may_get_it_and_another_not(mail_server):
    (channel,) = channels_of([f"{mail_server.url},boss@plant.example"])
    assert channel.problem.startswith("2 recipients")
    assert send(channel, MESSAGE) == ("failed", channel.problem)
    assert not mail_server.mails


def test_no_log_holds_an_address(webhook, caplog):
    caplog.set_level(logging.DEBUG)
    for name in ("apprise", "urllib3"):
        caplog.set_level(logging.DEBUG, logger=name)
    for status in (200, 500, None):
        webhook.status = status
        sent_to(webhook.url)
    assert SECRET not in caplog.text
    assert logging.getLogger("apprise").propagate
    logging.getLogger("urllib3.connectionpool").debug("heard again")
    assert "heard again" in caplog.text


def test_addresses_are_parted_by_lines_blanks_and_commas():
    text = "json://a/x,slack://b\n  mailto://c?to=d@e.example,f@g.example ,\n\n,https://h/i,j"
    assert split_urls(text) == [
        "json://a/x", "slack://b", "mailto://c?to=d@e.example,f@g.example", "https://h/i,j",
    ]  # fmt: skip
    assert split_urls("") == []
    assert [channel.name for channel in channels_of(["json://a", "json://b", "json://a"])] == ["1 (JSON)", "2 (JSON)"]
