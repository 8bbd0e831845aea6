"""Masks for other models of the same architecture, such as averages over training steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from dstcl.sparse.layers import Selection

WRAPPED = ({"module"}, {"_orig_mod"})
"""What wrappers (`AveragedModel`, `DistributedDataParallel`, ``torch.compile``) call the model in
them, which is all that they contain."""


@torch.no_grad()
def mask_model(
    model: nn.Module, trained: nn.Module, selection: Selection, masks: Mapping[str, Tensor]
) -> None:
    """See `SparseTraining.mask_model`.

    Args:
        model: gets zeros where the masks are false.
        trained: the model that the masks are of.
        selection: of its weights.
        masks: by the names of those.
    """
    plain = {name: bare for bare, name, _ in _bare_parameters(trained)}
    found = {bare: weight for bare, _, weight in _bare_parameters(model)}
    other_names = selection.shared.items()
    pairs = [(found.get(plain[name]), masks[name], name) for name in masks]
    for weight, mask, name in pairs:
        if weight is None:
            raise ValueError(
                f"model: masked weight {name!r} is not in it; give a copy of the whole model that "
                "is trained, which may be wrapped"
            )
        if weight.shape != mask.shape:
            raise ValueError(
                f"model: {name!r} has shape {tuple(weight.shape)} there, {tuple(mask.shape)} here"
            )
    # In a copy, tied weights may be tensors of their own.
    pairs += [(found.get(plain[alias]), masks[name], alias) for alias, name in other_names]
    for weight, mask, _ in pairs:
        if weight is not None:
            weight.masked_fill_(~mask.to(weight.device), 0)


def _bare_parameters(model: nn.Module) -> Iterator[tuple[str, str, nn.Parameter]]:
    """Every parameter under every name that it has: without wrappers, and as it is."""
    bare: dict[str, str] = {"": ""}
    wrappers = set()
    for name, module in model.named_modules(remove_duplicate=False):
        if name:
            parent, _, local = name.rpartition(".")
            bare[name] = bare[parent] if parent in wrappers else _joined(bare[parent], local)
        if set(module._modules) in WRAPPED and not module._parameters:
            wrappers.add(name)
        for local, parameter in module._parameters.items():
            if parameter is not None:
                yield _joined(bare[name], local), _joined(name, local), parameter


def _joined(module: str, local: str) -> str:
    return f"{module}.{local}" if module else local
