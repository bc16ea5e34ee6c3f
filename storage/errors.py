"""Two families of errors: transient ones are worth a retry, terminal ones are not.

All of them survive pickling to and from a worker: they take plain positional arguments only.
"""

from __future__ import annotations


class HumwatchError(Exception):
    """Base of everything Humwatch raises on purpose; `code` is stable and machine-readable."""

    code = "error"


class TransientError(HumwatchError):
    """The same call may succeed later."""

    code = "transient"


class TerminalError(HumwatchError):
    """The same call will fail again until somebody changes something."""

    code = "terminal"


class StorageUnavailable(TransientError, OSError):
    """A store did not answer, throttled us or cut the connection."""

    code = "storage_unavailable"


class StorageFull(TerminalError, OSError):
    """The lake's store has no room left."""

    code = "storage_full"


class SourceNotFound(TerminalError, FileNotFoundError):
    """A source or one of its bytes is not there."""

    code = "source_not_found"


class SourceForbidden(TerminalError, PermissionError):
    """A source or the lake may not be read or written with these credentials."""

    code = "source_forbidden"


class SourceUnreadable(TerminalError, ValueError):
    """A source is there, but is not an archive Humwatch can list."""

    code = "source_unreadable"


class SourceEmpty(TerminalError, ValueError):
    """A source holds no recordings."""

    code = "source_empty"


class ManifestFitsNothing(TerminalError, LookupError):
    """A manifest has rows, and none of them names a recording."""

    code = "manifest_fits_nothing"


class NothingReadable(TerminalError, ValueError):
    """No recording of the sources can be used, and the lake holds no other."""

    code = "nothing_readable"


class ProtocolUnsupported(TerminalError, ImportError):
    """A URI needs an fsspec package that is not installed."""

    code = "protocol_unsupported"


class PackageMissing(TerminalError, ImportError):
    """An archive is packed in a way that takes a package that is not installed."""

    code = "package_missing"


class LakeTooNew(TerminalError, RuntimeError):
    """The lake was written by a newer Humwatch."""

    code = "lake_too_new"


class LakeDamaged(TerminalError, ValueError):
    """An object of the lake is not what it was written as."""

    code = "lake_damaged"


class WorkersLost(TerminalError, RuntimeError):
    """The Dask scheduler is gone, or a unit of work took every worker with it that it was given to."""

    code = "workers_lost"


class Misaligned(TerminalError, ValueError):
    """A write would touch part of a shard."""

    code = "misaligned"


class NotComplete(TerminalError, LookupError):
    """A store has no completion mark."""

    code = "not_complete"


class WeightsNotFound(TerminalError, FileNotFoundError):
    """A backbone's weights are in none of the places looked at."""

    code = "weights_not_found"


class ModelIncompatible(TerminalError, ValueError):
    """A stored model does not fit the code or settings that would use it."""

    code = "model_incompatible"


class BadConfiguration(TerminalError, ValueError):
    """A setting is wrong."""

    code = "bad_configuration"
