"""Opening URIs, and what becomes of the exceptions of every backend."""

import errno
import importlib.util
import pickle

import aiohttp
import botocore.exceptions
import botocore.parsers
import pytest
from aiohttp import RequestInfo
from fsspec.exceptions import FSTimeoutError
from multidict import CIMultiDict, CIMultiDictProxy
from s3fs.errors import ERROR_CODE_TO_EXCEPTION
from yarl import URL

from humwatch.storage.errors import (
    ProtocolUnsupported,
    SourceForbidden,
    SourceNotFound,
    SourceUnreadable,
    StorageUnavailable,
    TransientError,
)
from humwatch.storage.filesystem import open_fs, source_errors, translated_errors

URI = "s3://bucket/night.zip"


def status(code):
    url = URL("https://host/night.zip")
    return aiohttp.ClientResponseError(RequestInfo(url, "GET", CIMultiDictProxy(CIMultiDict()), url), (), status=code)


def caused(cause, error=None):
    error = error or FileNotFoundError(URI)
    error.__cause__ = cause
    return error


def answered(code):
    return botocore.exceptions.ClientError({"Error": {"Code": code, "Message": "x"}}, "PutObject")


KNOWN = [
    (FileNotFoundError("x"), SourceNotFound),
    (NotADirectoryError("x"), SourceNotFound),
    (PermissionError("x"), SourceForbidden),
    (IsADirectoryError("x"), SourceUnreadable),
    (TimeoutError(), StorageUnavailable),
    (FSTimeoutError(), StorageUnavailable),
    (ConnectionResetError(errno.ECONNRESET, "x"), StorageUnavailable),
    (BrokenPipeError(), StorageUnavailable),
    (OSError(errno.EHOSTUNREACH, "x"), StorageUnavailable),
    (OSError(errno.ESTALE, "x"), StorageUnavailable),
    (botocore.exceptions.NoCredentialsError(), SourceForbidden),
    (botocore.exceptions.ProfileNotFound(profile="x"), SourceForbidden),
    (botocore.exceptions.EndpointConnectionError(endpoint_url="x"), StorageUnavailable),
    (botocore.exceptions.SSLError(endpoint_url="x", error="CERTIFICATE_VERIFY_FAILED"), SourceForbidden),
    (botocore.exceptions.SSLError(endpoint_url="x", error="cut off"), StorageUnavailable),
    (botocore.exceptions.ReadTimeoutError(endpoint_url="x"), StorageUnavailable),
    (botocore.exceptions.ConnectTimeoutError(endpoint_url="x"), StorageUnavailable),
    (botocore.exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2), StorageUnavailable),
    (botocore.exceptions.ResponseStreamingError(error="x"), StorageUnavailable),
    (botocore.parsers.ResponseParserError("x"), StorageUnavailable),
    (botocore.exceptions.ParamValidationError(report="x"), SourceUnreadable),
    (aiohttp.ServerDisconnectedError(), StorageUnavailable),
    (aiohttp.ClientPayloadError(), StorageUnavailable),
    (aiohttp.InvalidURL("x"), SourceUnreadable),
    (status(401), SourceForbidden),
    (status(403), SourceForbidden),
    (status(404), SourceNotFound),
    (status(410), SourceNotFound),
    (status(416), SourceUnreadable),
    (status(429), StorageUnavailable),
    (status(503), StorageUnavailable),
    # fsspec's HTTP filesystem calls every failure "not found"
    (caused(status(503)), StorageUnavailable),
    (caused(status(403)), SourceForbidden),
    (caused(status(404)), SourceNotFound),
    (caused(TimeoutError()), StorageUnavailable),
    # what s3fs makes of S3's error codes
    (ERROR_CODE_TO_EXCEPTION["NoSuchKey"]("x"), SourceNotFound),
    (ERROR_CODE_TO_EXCEPTION["NoSuchBucket"]("x"), SourceNotFound),
    (ERROR_CODE_TO_EXCEPTION["AccessDenied"]("x"), SourceForbidden),
    (ERROR_CODE_TO_EXCEPTION["SignatureDoesNotMatch"]("x"), SourceForbidden),
    (ERROR_CODE_TO_EXCEPTION["SlowDown"]("x"), StorageUnavailable),
    (ERROR_CODE_TO_EXCEPTION["503"]("x"), StorageUnavailable),
    (ERROR_CODE_TO_EXCEPTION["InternalError"]("x"), StorageUnavailable),
    (ERROR_CODE_TO_EXCEPTION["RequestTimeout"]("x"), StorageUnavailable),
    (caused(answered("InvalidToken"), ERROR_CODE_TO_EXCEPTION["InvalidToken"]("x")), SourceForbidden),
    (caused(answered("ConditionalRequestConflict"), OSError(errno.EIO, "x")), StorageUnavailable),
]


@pytest.mark.parametrize(("error", "expected"), KNOWN, ids=lambda value: repr(value)[:60])
def test_errors_are_translated_and_name_the_uri(error, expected):
    with pytest.raises(expected, match=URI) as caught, translated_errors(URI):
        raise error
    assert type(caught.value) is expected
    assert isinstance(caught.value, TransientError) is (expected is StorageUnavailable)
    caught.value.__cause__ = caught.value.__context__ = None  # as workers send it (tasks/execution/stage.py)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), str(copy)) == (expected, str(caught.value))


def test_a_missing_bucket_is_told_from_a_missing_object():
    with pytest.raises(SourceNotFound, match="no such bucket"), translated_errors(URI):
        raise caused(answered("NoSuchBucket"))
    with pytest.raises(SourceNotFound, match=r"not found$"), translated_errors(URI):
        raise caused(answered("NoSuchKey"))


@pytest.mark.parametrize(
    "error",
    [
        FileExistsError("x"),
        OSError(errno.EINVAL, "pre-condition failed"),
        ValueError("x"),
        KeyError("x"),
    ],
)
def test_what_says_nothing_certain_passes_unchanged(error):
    with pytest.raises(type(error)) as caught, translated_errors(URI):
        raise error
    assert caught.value is error


def test_our_own_errors_pass_unchanged():
    error = SourceUnreadable("x: split")
    with pytest.raises(SourceUnreadable) as caught, source_errors(URI), translated_errors(URI):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("error", [OSError(errno.EINVAL, "x"), ValueError("x")])
def test_a_source_that_cannot_be_read_for_any_other_reason(error):
    with pytest.raises(SourceUnreadable, match=URI), source_errors(URI):
        raise error


@pytest.mark.skipif(importlib.util.find_spec("gcsfs") is not None, reason="gcsfs is installed")
def test_a_protocol_whose_package_is_not_installed():
    with pytest.raises(ProtocolUnsupported, match=r"gs://bucket/night\.zip.*gcsfs") as caught:
        open_fs("gs://bucket/night.zip")
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args


def test_a_protocol_nobody_knows():
    with pytest.raises(ProtocolUnsupported, match="gopher"):
        open_fs("gopher://host/night.zip")


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/data/night.zip", "/data/night.zip"),
        ("file:///data/nights/", "/data/nights"),
        ("/data/12::30#1?.zip", "/data/12::30#1?.zip"),
        ("s3://bucket/12::30.zip", "bucket/12::30.zip"),
        ("s3://bucket/nights/", "bucket/nights"),
        ("memory://nights/a.zip", "/nights/a.zip"),
        ("https://host/a.zip?download=1", "https://host/a.zip?download=1"),
    ],
)
def test_paths_of_uris(uri, path):
    fs, found = open_fs(uri)
    assert found == path
    assert fs.dircache.use_listings_cache is False
