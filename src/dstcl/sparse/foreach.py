"""One kernel launch for all layers; typed, because torch's stubs for these functions are not."""

# mypy: disable-error-code="arg-type,call-overload"

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def multiply_(tensors: Sequence[Tensor], factors: Sequence[Tensor]) -> None:
    """``t *= f`` for every pair, in place."""
    torch._foreach_mul_(list(tensors), list(factors))


def add_(tensors: Sequence[Tensor], terms: Sequence[Tensor]) -> None:
    """``t += a`` for every pair, in place."""
    torch._foreach_add_(list(tensors), list(terms))


def copy_(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """``t = v`` for every pair, in place; converts types."""
    torch._foreach_copy_(list(tensors), list(values))


def average_(tensors: Sequence[Tensor], values: Sequence[Tensor], decay: float) -> None:
    """``t = decay * t + (1 - decay) * v`` for every pair, in place."""
    torch._foreach_lerp_(list(tensors), list(values), 1 - decay)


def average_squares_(tensors: Sequence[Tensor], values: Sequence[Tensor], decay: float) -> None:
    """``t = decay * t + (1 - decay) * v * v`` for every pair, in place."""
    torch._foreach_mul_(list(tensors), decay)
    torch._foreach_addcmul_(list(tensors), list(values), list(values), 1 - decay)


def accumulate_(tensors: Sequence[Tensor], values: Sequence[Tensor], decay: float) -> None:
    """``t = decay * t + v`` for every pair, in place."""
    torch._foreach_mul_(list(tensors), decay)
    torch._foreach_add_(list(tensors), list(values))
