"""The head of a network: its last linear layer, one output per class."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Head(nn.Linear):
    """`torch.nn.Linear` in float32, whatever the network around it computes in: with the eight bits
    of bfloat16 the largest of close logits would be a matter of chance."""

    def forward(self, input: Tensor) -> Tensor:
        """Features (..., in_features) to logits (..., out_features)."""
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


def find_head(module: nn.Module, name: str | None = None) -> tuple[str, nn.Linear]:
    """Name and layer of the head: the one of that name; else the `Head` of a network that was built
    here; else the last linear layer in the order in which modules are registered.

    Raises:
        ValueError: there is none, or the named layer is not linear.
    """
    layers = dict(module.named_modules())
    # The module itself has no name and no place where a head could be put.
    linear = {n: layer for n, layer in layers.items() if n and isinstance(layer, nn.Linear)}
    marked = [n for n, layer in linear.items() if isinstance(layer, Head)]
    if not linear:
        raise ValueError("no layer is a torch.nn.Linear, so none can be the head")
    found = name or (marked or list(linear))[-1]
    if found not in linear:
        kind = f"a {type(layers[found]).__name__}" if found in layers else "not there"
        raise ValueError(f"head {found!r} is {kind}; linear layers: {', '.join(linear)}")
    return found, linear[found]
