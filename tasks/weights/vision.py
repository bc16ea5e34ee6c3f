"""torchvision; everything here imports it through this module.

The torchvision wheel of PyPI is linked against CUDA. Beside a CPU-only torch its C++ operators do not load, and
`import torchvision` then fails with "operator torchvision::nms does not exist": it registers shape functions for two
detection operators that nobody declared. Declared (never called here), they let the import through. A torchvision
whose operators do load is imported as it is.

Another detection operator asks torch's compiler whether it is supported. Importing the compiler to answer takes longer
than importing torchvision, on every worker, so something smaller answers.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch

_DETECTION_OPERATORS = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_COMPILER = "torch._dynamo.utils"


class _StandIn(ModuleType):
    """Answers for the compiler; asked for anything else, it makes room for the real one."""

    @staticmethod
    def is_compile_supported(_device_type: str) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _remove(self)
        return getattr(importlib.import_module(_COMPILER), name)


def _remove(stand_in: _StandIn) -> None:
    if sys.modules.get(_COMPILER) is stand_in:
        del sys.modules[_COMPILER]


@contextmanager
def _without_compiler() -> Iterator[None]:
    stand_in = _StandIn(_COMPILER)
    sys.modules.setdefault(_COMPILER, stand_in)
    try:
        yield
    finally:
        _remove(stand_in)


with _without_compiler():
    try:
        import torchvision
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        for _name in _DETECTION_OPERATORS:
            torch.library.define(f"torchvision::{_name}", _SCHEMA)
        import torchvision
    from torchvision import models
    from torchvision.models import feature_extraction

__all__ = ["feature_extraction", "models", "torchvision"]
