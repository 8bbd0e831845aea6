"""What every network of the study is: maskable features, then one linear head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

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
    """

    def __init__(
        self, features: nn.Module, width: int, classes: int, head_bias: bool = True
    ) -> None:
        super().__init__()
        self.features = features
        self.head = nn.Linear(width, classes, bias=head_bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (N, classes)."""
        return self.head(self.features(images))
