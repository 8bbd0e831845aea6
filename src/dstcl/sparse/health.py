"""Trainings that look sound and are not: masks that act on nothing, weights that are no numbers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dstcl.sparse.layers import first_few

if TYPE_CHECKING:
    from dstcl.sparse.training import SparseTraining


def replaced_problem(model: nn.Module, weights: Mapping[str, Tensor]) -> str:
    """What to do about weights that the model has replaced by other tensors; "" if none is."""
    current = {name: _parameter(model, name) for name in weights}
    if sharded := [name for name, now in current.items() if hasattr(now, "device_mesh")]:
        return (
            f"the model was sharded over processes (fully_shard) after this training was made, "
            f"which then masks nothing: {first_few(sharded)}; use DistributedDataParallel"
        )
    if lost := [name for name, weight in weights.items() if current[name] is not weight]:
        return (
            f"the model has other tensors than those that are masked, as a layer was replaced or "
            f"weights were loaded with assign=True: {first_few(lost)}; make optimizer and training "
            "anew"
        )
    return ""


@torch.no_grad()
def warn_of_idle_masks(sparse: SparseTraining) -> None:
    """Warn if the model does not have the masked weights, or if inactive ones are not zero; waits
    for the device."""
    problem = replaced_problem(sparse.model, sparse.weights)
    if not problem:
        stray = [
            ((weight != 0) & ~sparse.masks[name].to(weight.device)).any()
            for name, weight in sparse.weights.items()
        ]
        if found := _where(sparse.weights, stray):
            problem = (
                f"inactive weights are not zero: {first_few(found)}; call restore() after loading "
                "weights, and make the training with the optimizer that steps, then attach() or "
                "call its step()"
            )
    if problem:
        warnings.warn(problem, stacklevel=3)


@torch.no_grad()
def warn_of_divergence(weights: Mapping[str, Tensor]) -> bool:
    """Warn if weights are infinite or NaN, and say whether they are; waits for the device."""
    # A sum costs a tenth of looking at every weight; only one that overflows misleads.
    suspects = _where(weights, [~weight.sum().isfinite() for weight in weights.values()])
    found = [name for name in suspects if not weights[name].isfinite().all()]
    if found:
        warnings.warn(
            f"weights are not finite, training diverged: {first_few(found)}; go back to an earlier "
            "checkpoint, with a lower learning rate",
            stacklevel=4,
        )
    return bool(found)


def _where(weights: Mapping[str, Tensor], told: list[Tensor]) -> list[str]:
    return [name for name, true in zip(weights, torch.stack(told).tolist()) if true]


def _parameter(model: nn.Module, name: str) -> Tensor | None:
    """That of the model, without what modules do to find attributes; None if it has none."""
    *path, local = name.split(".")
    module: nn.Module | None = model
    for part in path:
        module = None if module is None else module._modules.get(part)
    return None if module is None else module._parameters.get(local)
