import subprocess
import sys
from pathlib import Path

import pytest

import humwatch
from humwatch.tasks.weights import vision

ROOT = Path(humwatch.__file__).parents[1]


def printed(code):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_operators_that_are_there_are_left_alone():
    # Declaring an operator twice is an error, so an import that succeeds has not declared them again.
    code = """
import torch
for name in ("nms", "qnms"):
    torch.library.define("torchvision::" + name, "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from humwatch.tasks.weights.vision import models
print(len(models.list_models()) > 50)
"""
    assert printed(code) == "True\n"


def test_torchvision_is_there_whatever_torch_it_was_built_for():
    assert vision.torchvision.__name__ == "torchvision"
    assert vision.models.resnet18.__name__ == "resnet18"


def test_the_compiler_is_imported_only_when_it_is_used():
    code = """
import sys
import torch
import humwatch.tasks.weights.vision
print("torch._dynamo" in sys.modules)
print(torch.compile(torch.sin, backend="eager")(torch.zeros(1)).item())
"""
    assert printed(code) == "False\n0.0\n"


def test_a_torchvision_that_asks_the_compiler_for_more_gets_it():
    code = """
from humwatch.tasks.weights.vision import _without_compiler
with _without_compiler():
    from torch._dynamo.utils import counters, is_compile_supported
import torch._dynamo
print(counters is torch._dynamo.utils.counters)
"""
    assert printed(code) == "True\n"


pytestmark = pytest.mark.slow
