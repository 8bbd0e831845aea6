"""How a network computes: precision and memory layout, without a trace in its weights."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Arithmetic:
    """Precision of matrix products and convolutions, and layout of maps.

    Weights stay float32 and contiguous whatever is chosen, so that masks, criteria and optimisers
    see the same tensors.

    Attributes:
        precision: "float32", "tf32" or "bfloat16". The first two differ by a switch of the process
            (`dstcl.continual.precision.arithmetic_of`), not here.
        layout: "contiguous", "channels_last", or "unfolded": channels_last, with small maps
            unfolded to rows of a matrix on CPUs (`dstcl.networks.convolution`).
    """

    precision: str = "float32"
    layout: str = "contiguous"

    def arrange(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in the layout; convolutions pass it on from map to map."""
        if self.layout == "contiguous":
            return images
        return images.contiguous(memory_format=torch.channels_last)

    def casting(self, device: torch.device) -> AbstractContextManager[object]:
        """In it, operations that gain from bfloat16 (by torch's list) use it, if asked for."""
        if self.precision == "bfloat16":
            return torch.autocast(device.type, torch.bfloat16)
        return nullcontext()


PLAIN = Arithmetic()
"""Float32 throughout."""
