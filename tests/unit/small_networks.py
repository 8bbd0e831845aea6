"""Small networks and layers for tests of the sparse step, and how they are trained."""

import torch
from torch import nn

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
        "density": 1.0,
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
