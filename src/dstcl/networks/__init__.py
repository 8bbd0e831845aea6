"""Networks by name."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from dstcl.networks.arithmetic import PLAIN, Arithmetic
from dstcl.networks.convnet import convnet_features
from dstcl.networks.lenet import lenet5_features
from dstcl.networks.mobilenet import mobilenetv2_features
from dstcl.networks.network import Architecture, Network, Norm
from dstcl.networks.resnet import resnet18_features
from dstcl.networks.vgg import vgg16_features


def batch_statistics(channels: int) -> nn.Module:
    """Batch norm as in the paper's code (c1): statistics of the batch at hand, also in testing, no
    affine parameters."""
    return nn.BatchNorm2d(channels, affine=False, track_running_stats=False)


FEATURES: dict[str, Architecture] = {
    "convnet": Architecture(convnet_features, head_bias=False),
    "lenet5": Architecture(lenet5_features, head_bias=False),
    "resnet18-slim": Architecture(partial(resnet18_features, width=16), head_bias=False),
    "resnet18": Architecture(resnet18_features, head_bias=False),
    "resnet18-3x3": Architecture(
        partial(resnet18_features, stem_size=3, stem_stride=1), head_bias=False
    ),
    "mobilenetv2-slim": Architecture(partial(mobilenetv2_features, width=8), head_bias=True),
    "mobilenetv2": Architecture(mobilenetv2_features, head_bias=True),
    "vgg16-slim": Architecture(partial(vgg16_features, width=16), head_bias=True),
    "vgg16": Architecture(vgg16_features, head_bias=True),
}


def build_network(
    name: str,
    channels: int,
    classes: int,
    seed: int,
    *,
    norm: Norm = nn.BatchNorm2d,
    head_bias: bool | None = None,
    arithmetic: Arithmetic = PLAIN,
) -> Network:
    """A freshly initialised network; the same seed gives the same weights.

    Args:
        name: a key of `FEATURES`.
        channels: of the images.
        classes: outputs of the head.
        seed: of the initial weights.
        norm: makes every normalisation.
        head_bias: whether the head has a bias; None: as its architecture says.
        arithmetic: how it computes.

    Raises:
        ValueError: an unknown name.
    """
    if name not in FEATURES:
        raise ValueError(f"unknown network {name!r}; known: {', '.join(FEATURES)}")
    architecture = FEATURES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        features, width = architecture.features(channels, norm)
        bias = architecture.head_bias if head_bias is None else head_bias
        return Network(features, width, classes, bias, arithmetic)


__all__ = [
    "FEATURES",
    "Architecture",
    "Arithmetic",
    "Network",
    "Norm",
    "batch_statistics",
    "build_network",
]
