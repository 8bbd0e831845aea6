"""A small convolutional network for small grey images (preset quick)."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

# So few channels that density, init and growth matter on pairs of digits (README, preset quick).
WIDTHS = (4, 8, 8)


def convnet(channels: int, classes: int, head_bias: bool = False) -> nn.Module:
    """Three 3x3 stride-2 convolutions with batch norm and ReLU, global average pooling, head."""
    layers: list[nn.Module] = []
    for width in WIDTHS:
        layers += [
            nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        channels = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    head = nn.Linear(channels, classes, bias=head_bias)
    return nn.Sequential(OrderedDict(features=nn.Sequential(*layers), head=head))
