"""Masks as boolean tensors: drawing, and one bit per weight on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dstcl.sparse.densities import Shapes
from dstcl.sparse.selection import select_top

if TYPE_CHECKING:
    from dstcl.sparse.structure import Structure

Masks = dict[str, Tensor]


def draw_masks(
    shapes: Shapes,
    counts: Mapping[str, int],
    generator: torch.Generator,
    device: torch.device,
    structures: Mapping[str, Structure] | None = None,
) -> Masks:
    """One random mask a layer with exactly ``counts[name]`` active entries, in its structure."""
    masks = {}
    for name, shape in shapes.items():
        score = random_scores(shape, generator, device)
        if structures and name in structures:
            masks[name] = structures[name].draw(score, counts[name])
            continue
        everywhere = torch.ones(shape, dtype=torch.bool, device=device)
        masks[name] = select_top(score, everywhere, counts[name])
    return masks


def no_masks(weights: Mapping[str, Tensor]) -> Masks:
    """False everywhere, in a single byte for each weight tensor; not to be written to."""
    return {
        name: torch.zeros((), dtype=torch.bool, device=weight.device).expand(weight.shape)
        for name, weight in weights.items()
    }


def own_generator() -> torch.Generator:
    """A generator seeded from torch's default one, so that ``torch.manual_seed`` decides.

    It is one of its own, so that its state can be saved and drawing shifts nobody else's numbers.
    """
    seed = torch.randint(2**63 - 1, (), dtype=torch.int64, device="cpu")
    return torch.Generator().manual_seed(int(seed))


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
    """The inverse of `pack_mask` for a mask of the given shape, on the device of the bytes.

    Raises:
        ValueError: the number of bytes does not fit the shape.
    """
    size = torch.Size(shape).numel()
    if packed.numel() != -(-size // 8):
        raise ValueError(f"{packed.numel()} bytes do not hold a mask of shape {tuple(shape)}")
    bits = packed.view(-1, 1).bitwise_and(_BIT_VALUES.to(packed.device)).ne(0)
    return bits.flatten()[:size].view(torch.Size(shape))


_BIT_VALUES = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8)


def pack_masks(masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`pack_mask` for every layer."""
    return {name: pack_mask(mask) for name, mask in masks.items()}


def unpack_masks(packed: Mapping[str, Tensor], shapes: Shapes) -> Masks:
    """`unpack_mask` for every layer in ``shapes``."""
    return {name: unpack_mask(packed[name], shape) for name, shape in shapes.items()}


class PackedMasks(Mapping[str, Tensor]):
    """Masks kept at one bit per weight: a mapping of boolean masks, each unpacked when asked for.

    Args:
        packed: bytes by layer, as `pack_masks` returns them.
        shapes: of the masks; other layers' are ignored.
        device: of the masks that are asked for.

    Attributes:
        packed: as given.
    """

    def __init__(self, packed: Mapping[str, Tensor], shapes: Shapes, device: torch.device) -> None:
        self.packed = dict(packed)
        self._shapes = {name: tuple(shapes[name]) for name in self.packed}
        self._device = device

    def __getitem__(self, name: str) -> Tensor:
        # The bytes travel, not the mask.
        return unpack_mask(self.packed[name].to(self._device), self._shapes[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.packed)

    def __len__(self) -> int:
        return len(self.packed)
