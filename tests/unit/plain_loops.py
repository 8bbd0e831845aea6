"""A loop without any framework, with which those inside frameworks are compared bit for bit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dstcl.sparse import DynamicSparseTraining, SparseTraining

SETTINGS: dict[str, Any] = {
    "density": 0.3,
    "update_every": 2,
    "stop_at": 1.0,
    "prune_rate": 0.5,
    "grow": "gradient",
}
BATCH = 4
Batch = tuple[Tensor, Tensor]


def settings(**more: Any) -> dict[str, Any]:
    return SETTINGS | {"generator": torch.Generator().manual_seed(5)} | more


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 3)
    )


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), 0.05, weight_decay=0.1)


def examples(batches: int) -> Batch:
    draws = torch.Generator().manual_seed(1)
    inputs = torch.randn(batches * BATCH, 12, generator=draws)
    return inputs, torch.randint(3, (batches * BATCH,), generator=draws)


def loss_of(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(inputs), labels)


def trained(
    batches: int,
    *,
    accumulate: int = 1,
    clip: float | None = None,
    by_value: bool = False,
    autocast: bool = False,
    epochs: int = 1,
    **more: Any,
) -> tuple[DynamicSparseTraining, nn.Module]:
    """So many batches of an epoch, a step each ``accumulate``; gradients clipped when masked."""
    model = network()
    steps = batches * epochs // accumulate
    dst = DynamicSparseTraining(model, adam(model), total_steps=steps, **settings(**more))
    inputs, labels = examples(batches)
    for index in range(batches * epochs):
        part = slice(index % batches * BATCH, (index % batches + 1) * BATCH)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = loss_of(model, inputs[part], labels[part])
        (loss / accumulate).backward()
        if (index + 1) % accumulate == 0:
            if clip is not None:
                dst.mask_gradients()
                clipping = nn.utils.clip_grad_value_ if by_value else nn.utils.clip_grad_norm_
                clipping(model.parameters(), clip)
            dst.step()
            dst.optimizer.zero_grad()
    return dst, model


def assert_same(found: SparseTraining | None, expected: SparseTraining) -> None:
    """Masks, weights, moments of the optimiser and counts, to the last bit."""
    assert found is not None
    assert found.steps == expected.steps
    assert list(found.counts.values()) == list(expected.counts.values())
    ours, theirs = expected.model.parameters(), found.model.parameters()
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    for mine, other in zip(expected.weights.values(), found.weights.values(), strict=True):
        moments = expected.optimizer.state[mine], found.optimizer.state[other]
        for key, value in moments[0].items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(moments[1][key])), key
    for mine, other in zip(expected.masks.values(), found.masks.values(), strict=True):
        assert torch.equal(mine, other)
    for mine, other in zip(expected.explored.values(), found.explored.values(), strict=True):
        assert torch.equal(mine, other)
