"""What every network of the study is: maskable features, then one linear head."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

Norm = Callable[[int], nn.Module]
"""Makes the normalisation of a layer with so many channels."""


class Network(nn.Module):
    """Features followed by a linear head.

    Args:
        features: maps images (N, C, H, W) to (N, width).
        width: number of features.
        classes: outputs of the head.
        head_bias: whether the head has a bias; the paper's ResNet-18 has none.
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
