import subprocess
import sys
from pathlib import Path

import tasks
from tasks.features import vision

ROOT = Path(tasks.__file__).parents[1]


def test_operators_that_are_there_are_left_alone():
    # Declaring an operator twice is an error, so an import that succeeds has not declared them again.
    code = """
import torch
for name in ("nms", "qnms"):
    torch.library.define("torchvision::" + name, "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from tasks.features.vision import models
print(len(models.list_models()) > 50)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr


def test_torchvision_is_there_whatever_torch_it_was_built_for():
    assert vision.torchvision.__name__ == "torchvision"
    assert vision.models.resnet18.__name__ == "resnet18"
