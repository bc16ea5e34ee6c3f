"""skops.io without the types that it trusts of itself; import it where a model is read or written, not before.

To list them skops imports all of scikit-learn and torch and looks through every module there is: seconds, for lists
that ours replaces.
"""

import sys
from types import ModuleType


class _TrustedTypes(ModuleType):
    """Every list in it is empty."""

    def __getattr__(self, name: str) -> list[str]:
        if name.startswith("__"):
            raise AttributeError(name)
        return []


_NAME = "skops.io._trusted_types"
sys.modules[_NAME] = _TrustedTypes(_NAME)

from skops.io import dumps, loads  # noqa: E402 - as above

__all__ = ["dumps", "loads"]
