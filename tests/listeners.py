"""Real servers that are told: a webhook over HTTP and a mail server; each can be made to fail."""

import asyncio
import json
import threading
from collections.abc import Callable
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from aiosmtpd.controller import Controller
from s3_server import free_ports

SECRET = "s3cr3t-t0ken"


class Webhook:
    """An HTTP server. `status` is its answer, None: it closes without one; `before` comes first."""

    def __init__(self) -> None:
        self.told: list[dict] = []
        self.status: int | None = 200
        self.before: Callable[[], None] = lambda: None
        self.port = 0

    def __enter__(self) -> Self:
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                webhook.told.append(body)
                webhook.before()
                if webhook.status is not None:
                    self.send_response(webhook.status)
                    self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"json://user:{SECRET}@127.0.0.1:{self.port}/{SECRET}?rto=1"


class MailServer:
    """An SMTP server. `answer` is what it says to a mail, after `silent_s`; `before` comes first."""

    def __init__(self) -> None:
        self.mails: list[Message] = []
        self.answer = "250 OK"
        self.before: Callable[[], None] = lambda: None
        self.silent_s = 0.0

    def __enter__(self) -> Self:
        (self.port,) = free_ports(1)
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()
        return self

    def __exit__(self, *_) -> None:
        self._controller.stop()

    async def handle_DATA(self, _server, _session, envelope):
        self.mails.append(message_from_bytes(envelope.content))
        self.before()
        await asyncio.sleep(self.silent_s)
        return self.answer

    @property
    def url(self) -> str:
        return f"mailto://127.0.0.1:{self.port}/?smtp=127.0.0.1&mode=insecure&from=humwatch@plant.example&to=team@plant.example"


def text_of(mail: Message) -> str:
    """The plain text of a mail, or whatever its first part is."""
    part = mail
    while part.is_multipart():
        part = part.get_payload()[0]
    return part.get_payload(decode=True).decode()
