"""skops.io without the types that it trusts of itself; import it where a model is read or written, not before.

To list all estimators of scikit-learn skops imports all of it, and torch: seconds, for a list that ours replaces.
"""

from unittest.mock import patch

with patch("sklearn.utils.all_estimators", list):
    from skops.io import dumps, loads

__all__ = ["dumps", "loads"]
