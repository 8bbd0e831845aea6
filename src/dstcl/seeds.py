"""One independent stream of random numbers for each purpose, derived from a run's seed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, purpose: str, *parts: int) -> int:
    """A 63-bit seed that depends on the purpose and its parts (the task, say), and nothing else.

    Streams do not shift when another purpose draws more or fewer numbers, so two runs that
    differ only in growth see the same images in the same order.
    """
    text = "/".join(map(str, (seed, purpose, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(
    seed: int, purpose: str, *parts: int, device: str | torch.device = "cpu"
) -> torch.Generator:
    """A torch generator seeded by `derive_seed`."""
    import torch

    return torch.Generator(device=device).manual_seed(derive_seed(seed, purpose, *parts))
