"""Names made from the settings that shaped a value, so that a stale result cannot be found under a new setting."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, unquote

# No name of a file or an archive member holds a NUL.
_EMPTY = "%00"


def digest(value: object, length: int = 12) -> str:
    """Return the first `length` hex digits of the SHA-256 of `value` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def settings_key(words: Iterable[object], settings: Mapping[str, object]) -> str:
    """Return a readable key, `words` joined by `-`, ending in a hash of exactly `settings`."""
    slug = "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", str(word)).strip("_") for word in words)
    return f"{slug[:80]}-{digest(settings, 6)}"


def path_component(text: str) -> str:
    """Return `text` as one path component, never empty, never `.` or `..`; `component_text` turns it back."""
    quoted = quote(text, safe=" ~+@") or _EMPTY
    return quoted.replace(".", "%2E") if set(quoted) == {"."} else quoted


def component_text(component: str) -> str:
    """Return the text that `path_component` made `component` of."""
    return "" if component == _EMPTY else unquote(component)
