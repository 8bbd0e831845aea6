"""Theoretical work of a sparse network: multiply-adds of active weights, counted as two each.

Biases, normalisation and activations are left out, as in RigL (Evci et al. 2020, appendix): they
are a fraction of a per cent. Training multiplies the zeros all the same, so these numbers say what
sparsity could save. What layers that skip them do save is in docs/structured.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from dstcl.sparse.layers import maskable_weights

PER_MULTIPLY_ADD = 2


@torch.no_grad()
def uses_per_image(model: nn.Module, images: Tensor, exclude: Iterable[str] = ()) -> dict[str, int]:
    """How often each weight of a layer is used for one image: output positions, 1 if linear on
    vectors; 0 where another module takes the weight without calling the layer.

    Args:
        model: run once on ``images`` in evaluation mode.
        images: (N, C, H, W).
        exclude: see `maskable_weights`.
    """
    names = maskable_weights(model, exclude)
    modules = dict(model.named_modules())
    positions = dict.fromkeys(names, 0)
    hooks = []
    for name in names:

        def count(module: nn.Module, inputs: object, output: Tensor, name: str = name) -> None:
            outputs = names[name].shape[0]
            positions[name] += output.numel() // (outputs * len(images))

        hooks.append(modules[name.rpartition(".")[0]].register_forward_hook(count))
    was_training = model.training
    model.eval()
    model(images)
    model.train(was_training)
    for hook in hooks:
        hook.remove()
    return positions


def forward_flops(active: Mapping[str, int], uses: Mapping[str, int]) -> int:
    """FLOPs of one image through layers with so many active weights each."""
    return PER_MULTIPLY_ADD * sum(active[name] * uses[name] for name in active)
