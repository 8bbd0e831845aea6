"""Small networks and layers for tests of the sparse step, and how they are trained."""

import torch
from torch import Tensor, nn

from dstcl.sparse import DynamicSparseTraining, SparseTraining


def small_network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 3 * 3, 5),
    )


def train(dst: SparseTraining, model: nn.Module, steps: int, seed: int = 1) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        images = torch.randn(8, 1, 8, 8, generator=generator)
        labels = torch.randint(5, (8,), generator=generator)
        dst.optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        dst.step()


def dynamic(model: nn.Module, optimizer=None, **changes) -> DynamicSparseTraining:
    settings = {
        "density": 0.3,
        "update_every": 3,
        "total_steps": 20,
        "stop_at": 1.0,
        "generator": torch.Generator().manual_seed(5),
    }
    optimizer = optimizer or torch.optim.Adam(model.parameters(), 0.01)
    return DynamicSparseTraining(model, optimizer, **(settings | changes))


def one_layer(weights: list[float], mask: list[int], **changes) -> tuple[nn.Module, object]:
    """A linear layer of one output, with given weights and mask, replacing half its weights."""
    layer = nn.Linear(len(weights), 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([weights]))
    settings = {
        "masks": {"0.weight": torch.tensor([mask]).bool()},
        "prune_rate": 0.5,
        "floor": 0.5,
        "prune_schedule": "constant",
        "update_every": 1,
        "total_steps": 10,
    }
    model = nn.Sequential(layer)
    dst = DynamicSparseTraining(
        model, torch.optim.SGD(model.parameters(), lr=0.0), **(settings | changes)
    )
    return model, dst


def step_with_gradient(model: nn.Module, dst: object, gradient: list[float]) -> None:
    model[0].weight.grad = torch.tensor([gradient])
    dst.step()


class Residual(nn.Module):
    """Convolutions with and without norm, in groups, a sum, pooling, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.deep = nn.Conv2d(6, 6, 3, padding=1, groups=3)
        self.down, self.down_norm = nn.Conv2d(6, 6, 1, bias=False), nn.BatchNorm2d(6)
        self.wide = nn.Linear(6 * 4, 10)
        self.head = nn.Linear(10, 2)

    def forward(self, images: Tensor) -> Tensor:
        stem = self.stem_norm(self.stem(images)).relu()
        both = self.down_norm(self.down(self.deep(stem).relu())) + stem
        return self.head(self.wide(nn.functional.max_pool2d(both.relu(), 2).flatten(1)).relu())


def two_tasks() -> list[tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]]:
    draws = torch.Generator().manual_seed(0)
    found = []
    for first in (0, 2):
        labels = torch.arange(60) % 2
        images = torch.randn(60, 1, 4, 4, generator=draws)
        images[range(60), 0, first + labels] += 2
        found.append(((images, labels), (images, labels)))
    return found
