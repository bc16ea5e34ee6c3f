"""Opening any URI through fsspec, and turning the exceptions of its backends into the two families of ours."""

from __future__ import annotations

import errno
import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import aiohttp
import botocore.exceptions as boto
import botocore.session
import fsspec.config
from botocore.parsers import ResponseParserError
from fsspec import AbstractFileSystem, get_filesystem_class
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import get_protocol

from humwatch.storage.errors import (
    HumwatchError,
    ProtocolUnsupported,
    SourceForbidden,
    SourceNotFound,
    SourceUnreadable,
    StorageFull,
    StorageUnavailable,
)

PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp", "s3": "s3fs", "s3a": "s3fs"}
"""What to install for the protocols in use; for the others fsspec itself knows."""

_S3_PROTOCOLS = ("s3", "s3a")
# botocore makes five attempts, with growing pauses, at requests that are throttled, time out, are cut off before their
# answer is there or meet a server error; s3fs makes three at the body of an answer.
_S3_CONFIG = {
    "retries": {"mode": "standard", "total_max_attempts": 5},
    "connect_timeout": 10,
    "read_timeout": 20,
}
_S3_BODY_ATTEMPTS = 3
# s3fs asks for the size of an object before it reads it, unless it may not read its pieces side by side.
_S3_PIECES_AT_ONCE = 1
_S3_OWN_CREDENTIALS = frozenset({"anon", "key", "token", "profile"})  # of FSSPEC_S3_...
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"

_TRANSIENT_ERRNOS = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,  # s3fs: 503 Slow Down, 409 conflicting operation
        errno.EIO,  # s3fs: an error code it does not know
        errno.EREMOTEIO,  # s3fs: 500 Internal Error
        errno.ESTALE,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
    }
)
_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CREDENTIALS_MISSING = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.ProfileNotFound,
    boto.TokenRetrievalError,
    boto.UnauthorizedSSOTokenError,
)
_TIMEOUTS_AND_RESETS = (
    TimeoutError,  # also what fsspec and asyncio raise
    ConnectionError,
    aiohttp.ClientConnectionError,
    aiohttp.ClientPayloadError,
    boto.HTTPClientError,
    boto.ConnectionError,
    boto.IncompleteReadError,
    boto.FlexibleChecksumError,
    ResponseParserError,  # an answer cut in the middle of its XML
)
# S3 refuses these with 400, which s3fs takes for a wrong argument.
_REFUSED_CREDENTIALS = frozenset({"AuthorizationHeaderMalformed", "InvalidToken", "TokenRefreshRequired"})


def open_fs(uri: str) -> tuple[AbstractFileSystem, str]:
    """Return the filesystem of a URI or plain path, and the path in it (absolute, without trailing slash).

    Listings are never cached: an archive uploaded a second ago is seen. Endpoints, regions and credentials come from
    the environment and its profiles (AWS_*, FSSPEC_*) and from nowhere else; where there are no credentials at all, S3
    is asked as anybody may ask, which public buckets answer. Requests to S3 are repeated while that may help. Chained
    URLs (`simplecache::s3://`) are not split.

    Raises:
        ProtocolUnsupported: the protocol is unknown, or its package is not installed.
    """
    protocol = get_protocol(uri) if "://" in uri else "file"
    try:
        cls = get_filesystem_class(protocol)
    except ImportError as error:
        package = PACKAGES.get(protocol)
        advice = f"install the package {package}" if package else str(error)
        raise ProtocolUnsupported(f"{uri}: {protocol}:// is not supported by what is installed: {advice}") from error
    except ValueError as error:
        raise ProtocolUnsupported(f"{uri}: no fsspec package is known for {protocol}://") from error
    options: dict[str, Any] = {"use_listings_cache": False}
    if protocol in _S3_PROTOCOLS:
        options |= {"config_kwargs": _S3_CONFIG, "max_concurrency": _S3_PIECES_AT_ONCE}
        if _is_anonymous():
            options["anon"] = True
    fs = cls(**{**options, **cls._get_kwargs_from_urls(uri)})
    if protocol in _S3_PROTOCOLS:
        fs.retries = _S3_BODY_ATTEMPTS
    return fs, cls._strip_protocol(uri)


def is_local(fs: AbstractFileSystem) -> bool:
    """Whether it is a disk of this machine, or mounted on it."""
    return isinstance(fs, LocalFileSystem)


def is_object(fs: AbstractFileSystem, path: str) -> bool:
    """Whether there is an object (not a prefix); on S3 one request, where s3fs asks twice for what is not there.

    Raises:
        FileNotFoundError: there is nothing.
        OSError: the store cannot be asked; fsspec's `isfile` would say no.
    """
    if _is_s3(fs):
        fs.metadata(path)
        return True
    return bool(fs.info(path)["type"] == "file")


def objects_below(fs: AbstractFileSystem, root: str, folder: str) -> dict[str, dict[str, Any]]:
    """Return what fsspec knows of every object below `root`/`folder`, by path; on S3 one request for a thousand.

    Raises:
        FileNotFoundError: there is none (or nothing is returned, as the store likes).
        OSError: the store cannot be asked.
    """
    if _is_s3(fs) and folder:
        # Below a folder that is named as such, s3fs asks twice more when it finds none.
        found: dict[str, dict[str, Any]] = fs.find(root, prefix=f"{folder}/", detail=True)
    else:
        found = fs.find(f"{root}/{folder}", detail=True)
    return found


def remove_objects(fs: AbstractFileSystem, paths: Sequence[str]) -> None:
    """Remove objects that may be absent; on S3 one request for a thousand."""
    if _is_s3(fs):
        fs.rm(list(paths))
        return
    for path in paths:
        with suppress(FileNotFoundError):
            fs.rm_file(path)


def _is_s3(fs: AbstractFileSystem) -> bool:
    return "s3" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,))


def _is_anonymous() -> bool:
    set_for_fsspec = {name for protocol in _S3_PROTOCOLS for name in fsspec.config.conf.get(protocol, {})}
    return not _S3_OWN_CREDENTIALS & set_for_fsspec and not has_s3_credentials()


@functools.cache  # where nobody knows of any, the address that would be asked last may take seconds not to answer
def has_s3_credentials() -> bool:
    """Whether this process finds AWS credentials, where boto looks for them; whether they are good is not tried."""
    try:
        return botocore.session.Session().get_credentials() is not None
    except boto.BotoCoreError:
        return True  # what is wrong with them is said when they are used


@contextmanager
def translated_errors(uri: str) -> Iterator[None]:
    """Turn what fsspec, s3fs and aiohttp raise into Humwatch's errors, which name `uri`.

    Errors that say nothing certain about the store (`FileExistsError`, `EINVAL`) pass unchanged.

    Raises:
        SourceNotFound, SourceForbidden, SourceUnreadable, StorageFull, StorageUnavailable: instead of the backend's.
    """
    try:
        yield
    except HumwatchError:
        raise
    except (OSError, boto.BotoCoreError, ResponseParserError, aiohttp.ClientError) as error:
        translated = _translate(uri, error)
        if translated is None:
            raise
        raise translated from error


@contextmanager
def source_errors(uri: str) -> Iterator[None]:
    """`translated_errors` for reading: whatever else goes wrong in the store means that the source cannot be read.

    Raises:
        SourceNotFound, SourceForbidden, SourceUnreadable, StorageUnavailable: instead of the backend's own.
    """
    try:
        with translated_errors(uri):
            yield
    except HumwatchError:
        raise
    except (OSError, ValueError) as error:  # ValueError: fsspec, of a server without byte ranges or a strange path
        raise SourceUnreadable(f"{uri}: cannot be read ({type(error).__name__}: {error})") from error


def s3_code(error: BaseException) -> str | None:
    """Return the error code in S3's answer (`NoSuchBucket`) behind an exception of s3fs; None for all others."""
    answer = error.__cause__
    return answer.response["Error"].get("Code") if isinstance(answer, boto.ClientError) else None


def _translate(uri: str, error: BaseException) -> HumwatchError | None:
    if isinstance(error, FileNotFoundError) and isinstance(
        error.__cause__, (aiohttp.ClientError, TimeoutError, ConnectionError)
    ):
        # fsspec's HTTP filesystem calls every failed request "not found" and keeps the truth as the cause.
        error = error.__cause__
    said = f"{uri}: {{}} ({type(error).__name__}: {error})"
    if isinstance(error, aiohttp.ClientResponseError):
        return _translate_status(said, error.status)
    if isinstance(error, (boto.SSLError, aiohttp.ClientConnectorCertificateError)) and _UNTRUSTED in str(error):
        variable = "AWS_CA_BUNDLE" if isinstance(error, boto.SSLError) else "SSL_CERT_FILE"
        return SourceForbidden(said.format(f"nobody known here vouches for the server's certificate: see {variable}"))
    if isinstance(error, _TIMEOUTS_AND_RESETS):
        return StorageUnavailable(said.format("the store did not answer or cut the connection"))
    if isinstance(error, (PermissionError, *_CREDENTIALS_MISSING)):
        unsigned = get_protocol(uri) in _S3_PROTOCOLS and _is_anonymous()
        return SourceForbidden(said.format("access denied, without credentials" if unsigned else "access denied"))
    code = s3_code(error)
    if code in _REFUSED_CREDENTIALS:
        return SourceForbidden(said.format("access denied"))
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return SourceNotFound(f"{uri}: not found{' (there is no such bucket)' if code == 'NoSuchBucket' else ''}")
    if isinstance(error, (IsADirectoryError, aiohttp.InvalidURL, boto.ParamValidationError)):
        return SourceUnreadable(said.format("not a readable address"))
    if isinstance(error, OSError) and error.errno in _FULL_ERRNOS:
        return StorageFull(said.format("the disk is full: make room and run again, what is done is kept"))
    if isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNOS:
        return StorageUnavailable(said.format("the store is not available"))
    return None


def _translate_status(said: str, status: int) -> HumwatchError:
    if status in {401, 403, 407}:
        return SourceForbidden(said.format("access denied"))
    if status in {404, 410}:
        return SourceNotFound(said.format("not found"))
    if status in {408, 425, 429} or status >= 500:
        return StorageUnavailable(said.format("the server is not available"))
    return SourceUnreadable(said.format("the server refused"))
