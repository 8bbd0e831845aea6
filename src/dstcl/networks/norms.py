"""The batch norm that a protocol wants, put into a finished module."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

Norm = Callable[[BatchNorm], nn.Module]
"""Makes what takes the place of a batch-norm layer."""


def swap_norm(module: nn.Module, norm: Norm) -> int:
    """Put another layer in the place of every batch norm, of vectors and of maps in one, two and
    three dimensions; returns how many there were.

    Raises:
        ValueError: the module is itself a batch norm, and so has no place for another.
    """
    swapped: dict[BatchNorm, nn.Module] = {}
    for name, layer in list(module.named_modules(remove_duplicate=False)):
        if isinstance(layer, BatchNorm):
            if not name:
                raise ValueError("the module is a batch norm and nothing else")
            if layer not in swapped:
                swapped[layer] = norm(layer)
            module.set_submodule(name, swapped[layer])
    return len(swapped)


def batch_statistics(layer: BatchNorm) -> BatchNorm:
    """Batch norm as in the paper's code (c1): statistics of the batch at hand, also in testing, no
    affine parameters.

    The layer itself is changed and returned, so that one of another class keeps what else it does,
    as an activation.
    """
    layer.affine = layer.track_running_stats = False
    for name in ("weight", "bias"):
        layer.register_parameter(name, None)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        layer.register_buffer(name, None)
    return layer


NORMS: dict[str, Norm | None] = {"task": None, "batch": batch_statistics, "shared": None}
"""By the protocol's ``batch_norm``; None where layers stay as they are."""
