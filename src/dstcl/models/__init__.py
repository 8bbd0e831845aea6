"""Networks by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from dstcl.models.convnet import convnet_features
from dstcl.models.network import Network
from dstcl.models.resnet import resnet18_features

FEATURES: dict[str, Callable[[int], tuple[nn.Module, int]]] = {
    "convnet": convnet_features,
    "resnet18": resnet18_features,
    "resnet18-slim": partial(resnet18_features, width=16),
}


def build_network(name: str, channels: int, classes: int, seed: int) -> Network:
    """A freshly initialised network; the same seed gives the same weights.

    Raises:
        ValueError: an unknown name.
    """
    if name not in FEATURES:
        raise ValueError(f"unknown network {name!r}; known: {', '.join(FEATURES)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        features, width = FEATURES[name](channels)
        return Network(features, width, classes)


__all__ = ["FEATURES", "Network", "build_network"]
