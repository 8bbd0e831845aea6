"""Outputs of layers as units that can be switched off: where, and which units feed which weights.

Nothing is asked of a network but that what stands between two maskable layers keeps zeros where
they are and apart from others: ReLU, pooling, flattening, sums, dropout do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.utils.hooks import RemovableHandle

from dstcl.sparse.layers import LAYER_TYPES
from dstcl.study.run import Run

Units = Mapping[str, Tensor]
"""By the name of a layer's weight: one value per output of the layer."""


def refuse_shared_numbers(run: Run, method: str) -> None:
    """What switches units off for one task must not switch them off for others.

    Raises:
        ValueError: tasks share a head or norms; one line.
    """
    if not run.own_heads or run.switches.batch_norm == "shared":
        raise ValueError(
            f"methods: {method} needs a head and norms for each task, not switches.head "
            f"{run.switches.head!r} with batch_norm {run.switches.batch_norm!r}"
        )


def unit_sites(network: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, nn.Module]:
    """For each maskable weight the module whose output is that of the layer's units: the batch norm
    that is registered next and has as many, as a norm before it would be undone by its scale; else
    the layer itself."""
    sites: dict[str, nn.Module] = {}
    waiting = ""
    for name, module in network.named_modules():
        if isinstance(module, LAYER_TYPES):
            waiting = f"{name}.weight" if name else "weight"
            if waiting in weights:
                sites[waiting] = module
        elif isinstance(module, BatchNorm) and waiting in weights:
            if module.num_features == weights[waiting].shape[0]:
                sites[waiting] = module
            waiting = ""
    return sites


def gate_outputs(
    sites: Mapping[str, nn.Module],
    weights: Mapping[str, Tensor],
    gate: Callable[[str, bool], Tensor | None],
) -> list[RemovableHandle]:
    """Multiply what comes out of sites by gates, until the handles are removed.

    Args:
        sites: see `unit_sites`.
        weights: of the layers.
        gate: from a weight's name, and whether the network is in training, to a number per unit;
            None to leave the output alone.
    """

    def hook(name: str) -> Callable[[nn.Module, Any, Tensor], Tensor | None]:
        def apply(module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
            values = gate(name, module.training)
            return None if values is None else output * _along(values, weights[name], output)

        return apply

    return [site.register_forward_hook(hook(name)) for name, site in sites.items()]


@torch.no_grad()
def input_units(
    network: nn.Module, units: Units, weights: Units, images: Tensor
) -> dict[str, Tensor]:
    """Which inputs of each layer can be other than zero, if only these units are on.

    Found by sending ones through the network, with the output of each site set to its units.

    Args:
        network: whose state stays as it is.
        units: booleans.
        weights: the maskable ones.
        images: of the shape that the network takes; their values do not count.

    Returns:
        By weight, one boolean per input channel or feature; all true for what sees the images.
    """
    seen: dict[str, Tensor] = {}
    sites = unit_sites(network, weights)
    modules = dict(network.named_modules())

    def look(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        linear = weights[name].dim() == 2

        def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            values = inputs[0].float().abs()
            spread = values.flatten(0, -2) if linear else values.transpose(0, 1).flatten(1).t()
            on = spread.amax(0) > 0
            seen[name] = seen[name] | on if name in seen else on

        return note

    def show(name: str) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        def shown(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            values = units[name].to(output.dtype)
            return torch.ones_like(output) * _along(values, weights[name], output)

        return shown

    handles = [
        modules[name.rpartition(".")[0]].register_forward_pre_hook(look(name)) for name in weights
    ]
    handles += [site.register_forward_hook(show(name)) for name, site in sites.items()]
    was_training = network.training
    network.eval()
    network(torch.ones_like(images))
    network.train(was_training)
    for handle in handles:
        handle.remove()
    unseen = {
        name: torch.ones(weight.shape[1], dtype=torch.bool, device=weight.device)
        for name, weight in weights.items()
        if name not in seen
    }
    return seen | unseen


def connections(weight: Tensor, outputs: Tensor, inputs: Tensor) -> Tensor:
    """True for the weights between an output and an input that are both on.

    Args:
        weight: (out, in / groups, *kernel).
        outputs: bool (out,).
        inputs: bool (in,).
    """
    per_group = weight.shape[1]
    groups = len(inputs) // per_group
    rows = inputs.view(groups, per_group).repeat_interleave(len(outputs) // groups, 0)
    both = outputs.unsqueeze(1) & rows
    return both.view(*both.shape, *[1] * (weight.dim() - 2)).expand_as(weight).clone()


@torch.no_grad()
def switch_off(sites: Mapping[str, nn.Module], network: nn.Module, units: Units) -> None:
    """Set to zero what would still come out of units that are off when their weights are zero: the
    bias of the layer, scale and shift of its norm."""
    layers = dict(network.named_modules())
    for name, on in units.items():
        site, layer = sites[name], layers[name.rpartition(".")[0]]
        numbers = [layer.bias] if site is layer else [layer.bias, site.weight, site.bias]
        for number in numbers:
            if isinstance(number, Tensor):
                number.mul_(on.to(number.dtype))


def _along(values: Tensor, weight: Tensor, output: Tensor) -> Tensor:
    """A number per unit, in the form that multiplies the output of a layer or of its norm."""
    values = values.to(output.dtype)
    return values if weight.dim() == 2 else values.view(-1, *[1] * (weight.dim() - 2))
