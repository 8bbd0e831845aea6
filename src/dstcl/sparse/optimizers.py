"""What masks need of optimisers: that they hold the weights, and what they do with gradients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dstcl.sparse.layers import first_few

Optimizers = torch.optim.Optimizer | Sequence[torch.optim.Optimizer]


def as_optimizers(given: Optimizers) -> list[torch.optim.Optimizer]:
    """One or several, as a list.

    Raises:
        ValueError: none, or one that evaluates the loss several times a step.
    """
    optimizers = [given] if isinstance(given, torch.optim.Optimizer) else list(given)
    if not optimizers:
        raise ValueError("optimizer: none given")
    for optimizer in optimizers:
        if isinstance(optimizer, torch.optim.LBFGS):
            raise ValueError(
                "optimizer: LBFGS moves weights several times a step, so masks would not hold; "
                "take one that makes one step at a time"
            )
    return optimizers


def refuse_unheld(
    optimizers: Iterable[torch.optim.Optimizer], weights: Mapping[str, Tensor]
) -> None:
    """Refuse weights that none of the optimisers holds: masks would change, the weights would not.

    Raises:
        ValueError: there are such; one line with their names.
    """
    held = {id(p) for optimizer in optimizers for g in optimizer.param_groups for p in g["params"]}
    if lost := [name for name, weight in weights.items() if id(weight) not in held]:
        raise ValueError(
            f"optimizer: does not hold {first_few(lost)}; give all optimizers as a list, or leave "
            "these dense with exclude="
        )


def group_of(optimizers: Iterable[torch.optim.Optimizer], weight: Tensor) -> dict[str, Any]:
    """The settings with which a weight is trained."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    return next(g for g in groups if any(p is weight for p in g["params"]))


def forget_moments(
    optimizers: Iterable[torch.optim.Optimizer], weight: Tensor, unchanged: Tensor
) -> None:
    """Forget the moments of entries that came or went, as RigL does for new ones."""
    unchanged = unchanged.to(weight.dtype)  # converted once, not once for every moment
    for optimizer in optimizers:
        for state in optimizer.state.get(weight, {}).values():
            moments = isinstance(state, Tensor) and state.shape == weight.shape
            # What an integer means, a code or a count, only the optimiser knows.
            if moments and state.is_floating_point():
                state.mul_(unchanged)


def all_gradients(optimizers: Iterable[torch.optim.Optimizer]) -> list[Tensor]:
    """Of everything that the optimisers train."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    return [p.grad for group in groups for p in group["params"] if p.grad is not None]


def overflowed(optimizers: Iterable[torch.optim.Optimizer]) -> bool:
    """Whether any gradient is infinite or NaN; one wait for the device."""
    values = [g._values() if g.is_sparse else g for g in all_gradients(optimizers)]
    largest = [v.abs().amax() for v in values if v.numel()]
    return bool(largest) and not all(torch.stack(largest).isfinite().tolist())


def unscale(scaler: torch.amp.GradScaler, optimizers: Iterable[torch.optim.Optimizer]) -> None:
    """Unscale the gradients, unless that was done already, as it must be before clipping."""
    for optimizer in optimizers:
        try:
            scaler.unscale_(optimizer)
        except RuntimeError as error:
            if "already been called" not in str(error):
                raise
