"""Whether runs are seen on a Prefect server."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Where Prefect's settings may stand in the working directory, and what shows that they do.
_SETTINGS_FILES = {"prefect.toml": b"", "pyproject.toml": b"[tool.prefect", ".env": b"PREFECT_"}


def has_server() -> bool:
    """Whether Prefect is told of a server.

    To import Prefect takes a second, so it is asked only where it is imported already, or where its settings may come
    from more than variables.
    """
    if "prefect.settings" not in sys.modules:
        if os.environ.get("PREFECT_API_URL"):
            return True
        home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
        profiles = Path(os.environ.get("PREFECT_PROFILES_PATH", home / "profiles.toml")).expanduser()
        if not profiles.exists() and not any(_holds(Path(name), sign) for name, sign in _SETTINGS_FILES.items()):
            return False
    from prefect.settings import PREFECT_API_URL  # noqa: PLC0415 - as above

    return bool(PREFECT_API_URL.value())


def _holds(path: Path, sign: bytes) -> bool:
    return path.is_file() and sign in path.read_bytes()
