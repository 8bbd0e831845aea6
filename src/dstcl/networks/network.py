"""What every network of the study is: maskable features, then one linear head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from dstcl.networks.arithmetic import PLAIN, Arithmetic
from dstcl.networks.convolution import Conv2d

Norm = Callable[[int], nn.Module]
"""Makes the normalisation of a layer with so many channels; takes maps (N, channels, H, W)."""


@dataclass(frozen=True)
class Architecture:
    """How a network is made.

    Attributes:
        features: from the channels of the images and the norm, features that map images
            (N, C, H, W) to (N, width), and that width.
        head_bias: whether a head shared by all tasks has a bias, as in the paper's code (c1).
    """

    features: Callable[[int, Norm], tuple[nn.Module, int]]
    head_bias: bool


class Network(nn.Module):
    """Features followed by a linear head.

    Args:
        features: maps images (N, C, H, W) to (N, width).
        width: number of features.
        classes: outputs of the head.
        head_bias: whether the head has a bias.
        arithmetic: how it computes; the head computes in float32 whatever it is.
    """

    def __init__(
        self,
        features: nn.Module,
        width: int,
        classes: int,
        head_bias: bool = True,
        arithmetic: Arithmetic = PLAIN,
    ) -> None:
        super().__init__()
        self.arithmetic = arithmetic
        self.features = features
        for layer in features.modules():
            if isinstance(layer, Conv2d):
                layer.unfolds = arithmetic.layout == "unfolded"
        self.head = nn.Linear(width, classes, bias=head_bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (N, classes)."""
        with self.arithmetic.casting(images.device):
            features: Tensor = self.features(self.arithmetic.arrange(images))
        # With eight bits the largest of close logits would be a matter of chance.
        return self.head(features.float())
