"""Networks by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from dstcl.models.convnet import convnet_features
from dstcl.models.network import Network, Norm
from dstcl.models.resnet import resnet18_features


def batch_statistics(channels: int) -> nn.Module:
    """Batch norm as in the paper's code (c1): statistics of the batch at hand, also in testing, no
    affine parameters."""
    return nn.BatchNorm2d(channels, affine=False, track_running_stats=False)


FEATURES: dict[str, Callable[[int, Norm], tuple[nn.Module, int]]] = {
    "convnet": convnet_features,
    "resnet18": resnet18_features,
    "resnet18-slim": partial(resnet18_features, width=16),
}


def build_network(
    name: str,
    channels: int,
    classes: int,
    seed: int,
    *,
    norm: Norm = nn.BatchNorm2d,
    head_bias: bool = True,
) -> Network:
    """A freshly initialised network; the same seed gives the same weights.

    Raises:
        ValueError: an unknown name.
    """
    if name not in FEATURES:
        raise ValueError(f"unknown network {name!r}; known: {', '.join(FEATURES)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        features, width = FEATURES[name](channels, norm)
        return Network(features, width, classes, head_bias)


__all__ = ["FEATURES", "Network", "Norm", "batch_statistics", "build_network"]
