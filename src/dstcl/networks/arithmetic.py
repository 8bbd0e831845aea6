"""How a network computes: precision and memory layout, without a trace in its weights."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from .convolution import UnfoldedConv2d


@dataclass(frozen=True)
class Arithmetic:
    """Precision of matrix products and convolutions, and layout of maps.

    Weights stay float32 and contiguous whatever is chosen, so that masks, criteria and optimisers
    see the same tensors.

    Attributes:
        precision: "float32", "tf32" or "bfloat16". The first two differ by a switch of the process
            (`dstcl.continual.precision.arithmetic_of`), not here.
        layout: "contiguous", "channels_last", or "unfolded": channels_last, with small maps
            unfolded to rows of a matrix on CPUs (`UnfoldedConv2d`).
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


def apply_arithmetic(module: nn.Module, arithmetic: Arithmetic) -> None:
    """Let a finished module compute in that way; a `Head` in it computes in float32 even so.

    How a layer computes is a matter of its class alone, and that is all that changes here: names,
    parameters and buffers stay, and copies and compiled modules compute in the same way.
    """
    if arithmetic.layout == "unfolded":
        for layer in module.modules():
            # A class of the user's own may compute something else.
            if type(layer) is nn.Conv2d:
                layer.__class__ = UnfoldedConv2d
    if arithmetic != PLAIN:
        module.__class__ = _computing(type(module), arithmetic)  # type: ignore[arg-type]


@cache
def _computing(kind: type[nn.Module], arithmetic: Arithmetic) -> type[nn.Module]:
    """One class for networks alike, as `torch.func.stack_module_state` asks for."""

    def forward(self: nn.Module, images: Tensor) -> Tensor:
        with arithmetic.casting(images.device):
            return kind.forward(self, arithmetic.arrange(images))

    return type(kind.__name__, (kind,), {"__module__": kind.__module__, "forward": forward})
