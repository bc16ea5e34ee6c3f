"""Public buckets without credentials, buckets whose readers pay, and certificates of an authority of one's own."""

import os
import subprocess
import sys

import fsspec.config
import pytest
from s3_server import BUCKET, PUBLIC, S3Proxy, s3_environment, s3_server
from sources_helpers import tar_bytes, zip_bytes

from humwatch.storage.errors import SourceForbidden
from humwatch.storage.lake import Lake
from humwatch.storage.sources import list_members, read_members, source_state

FILES = {"fan/id_00/0.wav": b"one" * 100, "fan/id_00/1.wav": b"two" * 300}
URI = f"s3://{BUCKET}/{PUBLIC}/night"


@pytest.fixture(scope="module")
def server():
    with s3_server() as running:
        for name, data in {
            "x.zip": zip_bytes(FILES),
            "x.tar": tar_bytes(FILES),
            "x.tgz": tar_bytes(FILES, "w:gz"),
            "a.wav": b"plain",
        }.items():
            running.replace(f"{URI}/{name}", data)
        running.replace(f"s3://{BUCKET}/private/x.zip", zip_bytes(FILES))
        yield running


def listed(uri):
    return list_members(uri, ("wav",), 1 << 20).members


def read(uri):
    return sorted((member.path, data) for member, data in read_members(listed(uri), 1 << 20))


EXPECTED = sorted(
    [(f"night/{name}/{member}", data) for name in ("x.zip", "x.tar", "x.tgz") for member, data in FILES.items()]
    + [("night/a.wav", b"plain")]
)


def test_a_public_bucket_is_read_without_credentials(server):
    with s3_environment(server.env_of_anybody):
        assert read(URI) == EXPECTED
        assert read(f"{URI}/x.zip") == [(f"x.zip/{name}", data) for name, data in FILES.items()]
        assert source_state(URI)


def test_what_is_not_public_is_denied_to_those_without_credentials(server):
    with s3_environment(server.env_of_anybody):
        for source in (f"s3://{BUCKET}/private", f"s3://{BUCKET}/private/x.zip"):
            with pytest.raises(SourceForbidden, match=r"private.*without credentials"):
                listed(source)
        with pytest.raises(SourceForbidden, match="without credentials"):
            Lake.open(f"{URI}/lake")


def test_wrong_credentials_are_not_taken_for_none(server):
    with s3_environment({**server.env, "AWS_SECRET_ACCESS_KEY": "wrong"}), pytest.raises(SourceForbidden) as caught:
        listed(URI)
    assert "without credentials" not in str(caught.value)
    unknown = {**server.env_of_anybody, "AWS_PROFILE": "nobody"}
    with s3_environment(unknown), pytest.raises(SourceForbidden, match="nobody"):
        listed(URI)


@pytest.fixture
def fsspec_setting(monkeypatch):
    """Settings of fsspec as it reads them from an environment when it is imported."""

    def set_environment(environment):
        conf = {}
        fsspec.config.set_conf_env(conf, environment)
        for protocol, settings in conf.items():
            monkeypatch.setitem(fsspec.config.conf, protocol, settings)

    return set_environment


def test_credentials_of_fsspecs_own_settings_are_used(server, fsspec_setting):
    fsspec_setting({"FSSPEC_S3_KEY": server.key, "FSSPEC_S3_SECRET": server.secret})
    with s3_environment(server.env_of_anybody):
        assert len(listed(f"s3://{BUCKET}/private")) == len(FILES)


def test_anonymous_by_a_setting_though_there_are_credentials(server, fsspec_setting):
    fsspec_setting({"FSSPEC_S3_ANON": "true"})
    with s3_environment({**server.env, "AWS_SECRET_ACCESS_KEY": "of another store"}):
        assert read(URI) == EXPECTED


def test_a_reader_who_pays_says_so_in_every_request(server, fsspec_setting):
    with S3Proxy(server).running() as proxy, s3_environment(proxy.env):
        assert read(URI) == EXPECTED
        assert not any("x-amz-request-payer" in head.lower() for head in proxy.heads)
    fsspec_setting({"FSSPEC_S3_REQUESTER_PAYS": "true"})
    with S3Proxy(server).running() as proxy, s3_environment(proxy.env):
        assert read(URI) == EXPECTED
        assert source_state(f"{URI}/x.zip")
        assert len(proxy.heads) > len(EXPECTED)
        assert [head for head in proxy.heads if "x-amz-request-payer: requester" not in head.lower()] == []


def test_a_certificate_of_ones_own_authority(server, tmp_path):
    if not server.certificate.exists():
        pytest.skip("openssl is not installed")
    with s3_environment(server.env_of_https), pytest.raises(SourceForbidden, match=r"certificate.*AWS_CA_BUNDLE"):
        listed(URI)
    with s3_environment({**server.env_of_https, "AWS_CA_BUNDLE": str(server.certificate)}):
        assert read(URI) == EXPECTED
    config = tmp_path / "config"
    config.write_text(f"[default]\nca_bundle = {server.certificate}\n")
    with s3_environment({**server.env_of_https, "AWS_CONFIG_FILE": str(config)}):
        assert read(URI) == EXPECTED


def test_a_certificate_of_ones_own_authority_over_http(server):
    if not server.certificate.exists():
        pytest.skip("openssl is not installed")
    url = f"{server.env_of_https['AWS_ENDPOINT_URL']}/{BUCKET}/{PUBLIC}/night/x.zip"
    with pytest.raises(SourceForbidden, match=r"certificate.*SSL_CERT_FILE"):
        listed(url)
    script = f"from test_s3_public import *; assert len(read({url!r})) == len(FILES)"
    env = {**os.environ, "SSL_CERT_FILE": str(server.certificate), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script], env=env, check=True)
