"""A small convolutional network for small grey images (preset quick)."""

from __future__ import annotations

from torch import nn

from dstcl.networks.convolution import Conv2d
from dstcl.networks.network import Norm

# So few channels that density, init and growth matter on pairs of digits (README, preset quick).
WIDTHS = (4, 8, 8)


def convnet_features(channels: int, norm: Norm = nn.BatchNorm2d) -> tuple[nn.Module, int]:
    """Three 3x3 stride-2 convolutions with batch norm and ReLU, then global average pooling."""
    layers: list[nn.Module] = []
    for width in WIDTHS:
        layers += [
            Conv2d(channels, width, 3, stride=2, padding=1, bias=False),
            norm(width),
            nn.ReLU(),
        ]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), channels
