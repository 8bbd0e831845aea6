"""Any torch.nn.Module as a network: torchvision's ResNet-18 and a small one of one's own.

In params.yaml: `torchvision.models:resnet18`, and `own_network:Small` with this file beside it.
"""

import torch
from torch import nn

from dstcl.networks.build import build_network
from dstcl.networks.head import find_head
from dstcl.sparse import DynamicSparseTraining


class Small(nn.Module):
    """Nothing is asked of a class but a linear layer, which becomes the head."""

    def __init__(self, channels: int, width: int = 16) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, 1000)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, channels, H, W) to (N, classes)."""
        return self.head(self.norm(self.conv(images)).relu().mean((2, 3)))


if __name__ == "__main__":
    images, labels = torch.randn(8, 3, 16, 16), torch.arange(8) % 4
    for source in ("torchvision.models:resnet18", Small):
        network = build_network(source, channels=3, classes=4, seed=0, norm="batch")
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
        sparse = DynamicSparseTraining(
            network, optimizer, density=0.2, update_every=2, total_steps=4
        )
        for _ in range(4):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            sparse.step()
        print(type(network).__name__, find_head(network)[0], f"{sparse.density():.2f}")
