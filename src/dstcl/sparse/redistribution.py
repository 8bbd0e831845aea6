"""Which layer grows how many of the weights that all layers together have lost.

Without redistribution every layer grows what it lost. With it, layers compete: the total is exact,
the layers' shares follow a score (Dettmers and Zettlemoyer 2019 for momentum and nonzeros; gradient
in the same way).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dstcl.sparse.criteria import LayerView

LayerScore = Callable[[LayerView, Tensor], Tensor]
"""From a layer and what is left of its mask to one number, a scalar tensor."""


def _mean_over_active(values: Tensor | None, kept: Tensor) -> Tensor:
    """Without values that are not finite: one that no weight was trained with would decide."""
    assert values is not None
    sound = kept & values.isfinite()
    return values.abs().masked_fill(~sound, 0.0).sum() / sound.sum().clamp(min=1)


REDISTRIBUTE: dict[str, LayerScore] = {
    "momentum": lambda layer, kept: _mean_over_active(layer.momentum, kept),
    "gradient": lambda layer, kept: _mean_over_active(layer.gradient, kept),
    "nonzeros": lambda layer, kept: kept.sum().float(),
}


def shares(views: Sequence[LayerView], kept: Sequence[Tensor], name: str) -> list[float]:
    """The score of every layer; one wait for the device."""
    score = REDISTRIBUTE[name]
    return torch.stack([score(view, mask) for view, mask in zip(views, kept)]).tolist()


def allocate(total: int, weights: Sequence[float], room: Sequence[int]) -> list[int]:
    """Split ``total`` in proportion to ``weights``, no part above its ``room``, exactly.

    Fractions go to the largest remainders, ties to the earlier layer; what a full layer cannot take
    goes to the others. Zero or undefined weights everywhere mean equal shares.

    Raises:
        ValueError: the rooms together are smaller than the total.
    """
    if total > sum(room):
        raise ValueError(f"{total} weights do not fit into room for {sum(room)}")
    wanted = [w if w > 0 and w != float("inf") else 0.0 for w in weights]
    parts = [0] * len(room)
    left = total
    while left:
        open_layers = [i for i in range(len(room)) if parts[i] < room[i]]
        weight = sum(wanted[i] for i in open_layers)
        ideal = {
            i: left * (wanted[i] / weight if weight else 1 / len(open_layers)) for i in open_layers
        }
        given = {i: min(int(ideal[i]), room[i] - parts[i]) for i in open_layers}
        spare = left - sum(given.values())
        by_remainder = sorted(open_layers, key=lambda i: (given[i] - ideal[i], i))
        for i in by_remainder:
            if spare and parts[i] + given[i] < room[i] and ideal[i] - given[i] < 1:
                given[i] += 1
                spare -= 1
        for i in open_layers:
            parts[i] += given[i]
        left = spare
    return parts
