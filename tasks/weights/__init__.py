"""The weights of backbones.

sources.py     the names that there are
weights.py     where a file of weights is: found, checked, staged, downloaded
state.py       what is in a file, as tensors
squeezenet.py  SqueezeNet's arrays from their package
vision.py      torchvision, imported so that it works beside any torch
imagenet.py    the normalisation of the images that they were trained on
"""
