"""The images that ImageNet weights were trained on: RGB from 0 to 1, minus this mean, over this deviation."""

from __future__ import annotations

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
