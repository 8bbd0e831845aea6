"""What every network of the study is: maskable features, then one linear head."""

from __future__ import annotations

from torch import Tensor, nn


class Network(nn.Module):
    """Features followed by a linear head.

    Args:
        features: maps images (N, C, H, W) to (N, width).
        width: number of features.
        classes: outputs of the head.
    """

    def __init__(self, features: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.features = features
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (N, classes)."""
        return self.head(self.features(images))
