"""torchvision; everything here imports it through this module.

The torchvision wheel of PyPI is linked against CUDA. Beside a CPU-only torch its C++ operators do not load, and
`import torchvision` then fails with "operator torchvision::nms does not exist": it registers shape functions for two
detection operators that nobody declared. Declared (never called here), they let the import through. A torchvision
whose operators do load is imported as it is.
"""

from __future__ import annotations

import torch

_DETECTION_OPERATORS = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

try:
    import torchvision
except RuntimeError as error:
    if "operator torchvision::" not in str(error):
        raise
    for _name in _DETECTION_OPERATORS:
        torch.library.define(f"torchvision::{_name}", _SCHEMA)
    import torchvision
from torchvision import models  # noqa: E402 - the declarations come first
from torchvision.models import feature_extraction  # noqa: E402 - the same

__all__ = ["feature_extraction", "models", "torchvision"]
