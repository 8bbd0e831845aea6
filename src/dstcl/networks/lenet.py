"""LeNet-5 as in the paper's code (section c1)."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def lenet5(channels: int, classes: int, head_bias: bool = False) -> nn.Module:
    """Two 5x5 convolutions, each with ReLU and 2x2 max-pooling, two linear layers with ReLU, head.

    No biases and no norms. The maps of 28-pixel images end at 4x4; those of other images (at least
    16 pixels) are averaged to that.
    """
    features = nn.Sequential(
        nn.Conv2d(channels, 6, 5, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(16 * 4 * 4, 120, bias=False),
        nn.ReLU(),
        nn.Linear(120, 84, bias=False),
        nn.ReLU(),
    )
    head = nn.Linear(84, classes, bias=head_bias)
    return nn.Sequential(OrderedDict(features=features, head=head))
