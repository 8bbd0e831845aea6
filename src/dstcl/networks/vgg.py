"""VGG16 for small images as in the paper's code (section c1), and narrower variants."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

# Convolutions of each stage: how many, and their width in multiples of the first stage's.
STAGES = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))


def vgg16(channels: int, classes: int, width: int = 64, head_bias: bool = True) -> nn.Module:
    """Five stages of 3x3 convolutions with bias, norm and ReLU, each ending in 2x2 max-pooling;
    then a linear layer with bias, ReLU and norm, in this order; head.

    ``width`` is that of the first stage; the others have 2, 4, 8 and 8 times as much. 64 is the
    paper's network, 16 the slim one with a quarter of all channels. One place is left of 32-pixel
    images; pooling rounds up so that smaller ones fit, and the maps of larger ones are averaged.
    """
    layers: list[nn.Module] = []
    for convolutions, multiple in STAGES:
        for _ in range(convolutions):
            layers += [
                nn.Conv2d(channels, multiple * width, 3, padding=1),
                nn.BatchNorm2d(multiple * width),
                nn.ReLU(),
            ]
            channels = multiple * width
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
    layers += [
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, channels),
        nn.ReLU(),
        # Vectors as maps of one place: recorded runs name the layers so.
        nn.Unflatten(1, (channels, 1, 1)),
        nn.BatchNorm2d(channels),
        nn.Flatten(),
    ]
    head = nn.Linear(channels, classes, bias=head_bias)
    return nn.Sequential(OrderedDict(features=nn.Sequential(*layers), head=head))
