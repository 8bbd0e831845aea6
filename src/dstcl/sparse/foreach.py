"""One kernel launch for all layers; typed, because torch's stubs for these functions are not."""

# mypy: disable-error-code="arg-type,call-overload"

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def multiply_(tensors: Sequence[Tensor], factors: Sequence[Tensor]) -> None:
    """``t *= f`` for every pair, in place."""
    torch._foreach_mul_(list(tensors), list(factors))


INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By bytes, for the bits of floating-point numbers."""


def keepers(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Room for what `keep_` takes, an integer of an entry's size for every entry."""
    return [torch.empty_like(t, dtype=INTEGERS[t.element_size()]) for t in tensors]


def set_keepers_(keep: Sequence[Tensor], masks: Sequence[Tensor]) -> None:
    """Make `keep_` leave the entries that are true in the masks; in place."""
    if not keep or keep[0].device.type != "cpu":
        copy_(keep, masks)
        return
    for bits, mask in zip(keep, masks, strict=True):
        bits.fill_(-1).masked_fill_(~mask, torch.iinfo(bits.dtype).min)


def keeping(tensors: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Tensor]:
    """What `keep_` takes to leave the entries that are true in the masks."""
    keep = keepers(tensors)
    set_keepers_(keep, masks)
    return keep


def keep_(tensors: Sequence[Tensor], keep: Sequence[Tensor]) -> None:
    """Leave some entries as they are and make the others zero, infinite and undefined ones too.

    Works on the bits, as zero times NaN is NaN, and is as fast as that product. On the CPU zeros
    have the sign that the product would give them. Other devices get one launch for all tensors,
    an integer product.
    """
    views = [t.view(k.dtype) for t, k in zip(tensors, keep, strict=True)]
    if not keep or keep[0].device.type != "cpu":
        torch._foreach_mul_(views, list(keep))
        return
    for view, bits in zip(views, keep):
        view.bitwise_and_(bits)


def zero_where(mask: Tensor, values: Tensor) -> Tensor:
    """A copy with zeros where the mask is true, whatever the values are there.

    Zeros have the sign that the product with zero would give them.
    """
    return torch.where(mask, torch.zeros_like(values).copysign_(values), values)


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
