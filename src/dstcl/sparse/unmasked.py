"""Networks of which most weights stay dense although nobody asked for it are told once."""

from __future__ import annotations

import warnings

from torch import nn

from dstcl.sparse.layers import UNKNOWN, Selection, is_known_layer

MOST = 0.5
"""Share of all weights above which the warning comes."""

LEFT_OUT = (nn.Embedding, nn.EmbeddingBag, nn.LayerNorm, nn.RMSNorm)
"""Layers that are expected to stay dense."""


def warn_of_mostly_dense(model: nn.Module, selection: Selection) -> None:
    """Warn if most weights are matrices or kernels of no known layer, as experts in one tensor.

    Excluded, frozen and computed weights do not count, nor do those of embeddings and norms.
    """
    dense = {}
    for module_name, module in model.named_modules():
        if isinstance(module, LEFT_OUT) or is_known_layer(module):
            continue
        for local, parameter in module._parameters.items():
            name = f"{module_name}.{local}" if module_name else local
            unknown = selection.dense.get(name) == UNKNOWN
            if unknown and parameter is not None and parameter.requires_grad:
                dense[name] = parameter.numel()
    masked = sum(weight.numel() for weight in selection.weights.values())
    share = sum(dense.values()) / (masked + sum(dense.values()))
    if share > MOST:
        largest = max(dense, key=dense.__getitem__)
        warnings.warn(
            f"{share:.0%} of the weights are in no known layer and stay dense; the largest is "
            f"{largest!r}. Mask them with include=, or name them in exclude=",
            stacklevel=4,
        )
