"""LeNet-5 as in the paper's code (section c1)."""

from __future__ import annotations

from torch import nn

from dstcl.networks.convolution import Conv2d
from dstcl.networks.network import Norm


def lenet5_features(channels: int, norm: Norm = nn.BatchNorm2d) -> tuple[nn.Module, int]:
    """Two 5x5 convolutions, each with ReLU and 2x2 max-pooling, then two linear layers with ReLU.

    No biases, and no norm whatever ``norm`` is. The maps of 28-pixel images end at 4x4; those of
    other images (at least 16 pixels) are averaged to that.
    """
    layers = [
        Conv2d(channels, 6, 5, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
        Conv2d(6, 16, 5, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(16 * 4 * 4, 120, bias=False),
        nn.ReLU(),
        nn.Linear(120, 84, bias=False),
        nn.ReLU(),
    ]
    return nn.Sequential(*layers), 84
