"""skops.io without the types that it trusts of itself; import it where a model is read or written, not before.

To list them skops imports all of scikit-learn and torch and looks through every module there is: seconds, for lists
that ours replaces.
"""

import sys
from types import ModuleType

_nothing = ModuleType("skops.io._trusted_types")
_nothing.__getattr__ = lambda _: []  # type: ignore[method-assign]
sys.modules[_nothing.__name__] = _nothing

from skops.io import dumps, loads  # noqa: E402 - as above

__all__ = ["dumps", "loads"]
