"""Masks as boolean tensors: drawing, and one bit a weight on disk."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dstcl.sparse.densities import Shapes
from dstcl.sparse.selection import select_top

Masks = dict[str, Tensor]


def draw_masks(
    shapes: Shapes, counts: Mapping[str, int], generator: torch.Generator, device: torch.device
) -> Masks:
    """One random mask a layer with exactly ``counts[name]`` active entries."""
    masks = {}
    for name, shape in shapes.items():
        score = random_scores(shape, generator, device)
        everywhere = torch.ones(shape, dtype=torch.bool, device=device)
        masks[name] = select_top(score, everywhere, counts[name])
    return masks


def random_scores(
    shape: tuple[int, ...] | torch.Size, generator: torch.Generator, device: torch.device
) -> Tensor:
    """Uniform scores in [0, 1), drawn where the generator lives so that a CPU generator gives
    the same masks on every device."""
    return torch.rand(shape, generator=generator, device=generator.device).to(device)


def pack_mask(mask: Tensor) -> Tensor:
    """Flatten a boolean mask to bytes, eight weights each, first weight in the highest bit.

    Returns a uint8 tensor of ``ceil(mask.numel() / 8)`` entries on the CPU.
    """
    bits = mask.detach().flatten().to("cpu", torch.uint8)
    padding = -bits.numel() % 8
    bits = torch.nn.functional.pad(bits, (0, padding)).view(-1, 8)
    return (bits * _BIT_VALUES).sum(dim=1, dtype=torch.uint8)


def unpack_mask(packed: Tensor, shape: tuple[int, ...] | torch.Size) -> Tensor:
    """The inverse of `pack_mask` for a mask of the given shape.

    Raises:
        ValueError: the number of bytes does not fit the shape.
    """
    size = torch.Size(shape).numel()
    if packed.numel() != -(-size // 8):
        raise ValueError(f"{packed.numel()} bytes do not hold a mask of shape {tuple(shape)}")
    bits = packed.view(-1, 1).bitwise_and(_BIT_VALUES).ne(0)
    return bits.flatten()[:size].view(torch.Size(shape))


_BIT_VALUES = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8)


def pack_masks(masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`pack_mask` for every layer."""
    return {name: pack_mask(mask) for name, mask in masks.items()}


def unpack_masks(packed: Mapping[str, Tensor], shapes: Shapes) -> Masks:
    """`unpack_mask` for every layer in ``shapes``."""
    return {name: unpack_mask(packed[name], shape) for name, shape in shapes.items()}
