"""VGG16 for small images as in the paper's code (section c1), and narrower variants."""

from __future__ import annotations

from torch import nn

from dstcl.networks.convolution import Conv2d
from dstcl.networks.network import Norm

# Convolutions of each stage: how many, and their width in multiples of the first stage's.
STAGES = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))


def vgg16_features(
    channels: int, norm: Norm = nn.BatchNorm2d, width: int = 64
) -> tuple[nn.Module, int]:
    """Five stages of 3x3 convolutions with bias, norm and ReLU, each ending in 2x2 max-pooling;
    then a linear layer with bias, ReLU and norm, in this order.

    ``width`` is that of the first stage; the others have 2, 4, 8 and 8 times as much. 64 is the
    paper's network, 16 the slim one with a quarter of all channels. One place is left of 32-pixel
    images; pooling rounds up so that smaller ones fit, and the maps of larger ones are averaged.
    """
    layers: list[nn.Module] = []
    for convolutions, multiple in STAGES:
        for _ in range(convolutions):
            layers += [
                Conv2d(channels, multiple * width, 3, padding=1),
                norm(multiple * width),
                nn.ReLU(),
            ]
            channels = multiple * width
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
    layers += [
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, channels),
        nn.ReLU(),
        # As maps of one place, features are normalised by the same rule as everything else.
        nn.Unflatten(1, (channels, 1, 1)),
        norm(channels),
        nn.Flatten(),
    ]
    return nn.Sequential(*layers), channels
