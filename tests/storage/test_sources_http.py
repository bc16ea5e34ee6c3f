"""Sources over HTTP, from a server that behaves and from servers that do not."""

import socket
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sources_helpers import EXTENSIONS, tar_bytes, zip_bytes

from humwatch.storage.errors import SourceForbidden, SourceNotFound, SourceUnreadable, StorageUnavailable
from humwatch.storage.sources import list_members, read_members, source_state

FILES = {f"fan/id_00/normal/{number}.wav": bytes([number]) * 100_000 for number in range(9)}
SERVED = {
    "fan.zip": zip_bytes(FILES),
    "fan.tar": tar_bytes(FILES),
    "fan.tgz": tar_bytes(FILES, "w:gz"),
    "a%20b.wav": b"12345",
    "index.html": b"<a href='fan.zip'>",
}


class Handler(BaseHTTPRequestHandler):
    """`/ranges/x` serves byte ranges, `/whole/x` does not know them, `/503/x` fails."""

    def do_GET(self):
        _, behaviour, name = self.path.partition("?")[0].split("/")
        if behaviour.isdigit() or name not in SERVED:
            self.send_error(int(behaviour) if behaviour.isdigit() else 404)
            return
        data = SERVED[name]
        wanted = self.headers.get("Range", "").removeprefix("bytes=")
        ranged = behaviour == "ranges" and wanted
        self.send_response(206 if ranged else 200)
        self.server.requests.append(wanted)
        if ranged:
            first, last = wanted.split("-")
            data = data[int(first) : int(last) + 1]
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(SERVED[name])}")
        self.send_header("Accept-Ranges", "bytes" if behaviour == "ranges" else "none")
        self.send_header("ETag", '"v1"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def do_HEAD(self):
        self.do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.requests = []
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def url(server):
    return f"http://127.0.0.1:{server.server_port}"


def listed(source):
    return list_members(source, EXTENSIONS, 1 << 20)


@pytest.mark.parametrize("name", ["fan.zip", "fan.tar", "fan.tgz"])
def test_an_archive(url, name):
    listing = listed(f"{url}/ranges/{name}?download=1")
    assert [member.path for member in listing.members] == [f"{name}/{file}" for file in FILES]
    assert {member.member: data for member, data in read_members(listing.members, 1 << 20)} == FILES


def test_ranges_only(server, url):
    members = listed(f"{url}/ranges/fan.zip").members
    server.requests.clear()
    assert len(list(read_members(members, 1 << 20))) == len(FILES)
    assert server.requests == [f"0-{members[-1].byte_end - 1}"]


@pytest.mark.parametrize("behaviour", ["ranges", "whole"])
def test_one_recording(url, behaviour):
    (member,) = listed(f"{url}/{behaviour}/a%20b.wav").members
    assert (member.path, member.content_tag) == ("a b.wav", "etag-v1")
    assert [data for _, data in read_members([member], 1 << 20)] == [b"12345"]


def test_a_compressed_tar_needs_no_ranges(url):
    members = listed(f"{url}/whole/fan.tgz").members
    assert {member.member: data for member, data in read_members(members, 1 << 20)} == FILES


@pytest.mark.parametrize("name", ["fan.zip", "fan.tar"])
def test_a_server_without_ranges(url, name):
    with pytest.raises(SourceUnreadable, match=name):
        listed(f"{url}/whole/{name}")


def test_a_server_that_lost_its_ranges(url):
    members = listed(f"{url}/ranges/fan.zip").members
    moved = [replace(member, source_uri=f"{url}/whole/fan.zip") for member in members[:2]]
    with pytest.raises(SourceUnreadable, match="no byte ranges"):
        list(read_members(moved, 1 << 20))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, SourceForbidden),
        (403, SourceForbidden),
        (404, SourceNotFound),
        (429, StorageUnavailable),
        (500, StorageUnavailable),
        (503, StorageUnavailable),
    ],
)
def test_answers_that_are_errors(url, status, expected):
    with pytest.raises(expected, match=f"{status}/fan.zip"):
        listed(f"{url}/{status}/fan.zip")


def test_nobody_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(StorageUnavailable, match=r"fan\.zip"):
        listed(f"http://127.0.0.1:{port}/fan.zip")


def test_a_folder_is_no_source_over_http(url):
    with pytest.raises(SourceUnreadable, match="neither an archive"):
        listed(f"{url}/ranges/index.html")


def test_state(url):
    assert source_state(f"{url}/ranges/fan.zip") == "etag-v1"
