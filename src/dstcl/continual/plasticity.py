"""Whether a network can still learn, seen as a task begins: dead channels, gradient and rank.

One forward and one backward pass over a batch, which leave no trace: no gradient is stored, and
modes, buffers, such as statistics of batch norm, and states of torch's random generators are what
they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from dstcl.sparse.layers import LAYER_TYPES
from dstcl.sparse.structure.parse import rows_are_outputs

POSITIONS = 4096
"""Rows of a layer's outputs that are looked at for its rank, about."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""From logits (N, outputs) and labels (N,) to a scalar."""


def open_channels(frozen: Tensor) -> Tensor:
    """True for the channels of a layer that can still learn by its weights, (out,).

    Args:
        frozen: boolean, of the weight's shape, (out, ...); true where training must not change it.
    """
    return (~frozen).flatten(1).any(1)


def dead_channels(gradient: Tensor, frozen: Tensor) -> Tensor:
    """True for the dead channels of a layer, (out,).

    A channel (a row of the weight that is an output of the layer) is *dead* if it has free weights
    and the loss of a batch has no gradient by any of them, active or not. Its free weights cannot
    revive it: active ones do not move, growth by gradient sees nothing to choose by, and a new one,
    which starts at zero, leaves the output as it is. A channel without any active weight is dead
    behind batch norm and ReLU (its output is constant, and the slope of ReLU at zero is zero); so
    is one that reads silent inputs only, one that no active weight reads, and one whose ReLU is off
    for all of the batch. A channel whose weights are all frozen cannot learn either, but that
    is what isolation is for: it does not count.

    Sokar et al. (2023) call a neuron dormant by its activation, relative to the mean of its layer.
    Here it is the gradient by free weights, since frozen weights keep a channel active that can no
    longer change, and an active channel that nothing reads cannot either.

    Args:
        gradient: of the loss by the weight, inactive entries included, (out, ...).
        frozen: see `open_channels`.
    """
    moved = ((gradient != 0) & ~frozen).flatten(1).any(1)
    return open_channels(frozen) & ~moved


def effective_rank(outputs: Tensor) -> float:
    """Effective rank of a matrix: exp of the entropy of its singular values (Roy and Vetterli 2007,
    definition 1).

    Args:
        outputs: (N, channels).

    Returns:
        From 1 to the smaller of the two; 0 for a matrix of zeros, NaN for one that is not finite.
    """
    wide = outputs.detach().double()
    # Either product has the singular values; the smaller one is cheaper.
    gram = wide @ wide.T if len(wide) < wide.shape[1] else wide.T @ wide
    if not gram.isfinite().all():
        return torch.nan
    size = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    if not size.any():
        return 0.0
    shares = size / size.sum()
    return float(torch.special.entr(shares).sum().exp())


def plasticity_rows(
    network: nn.Module,
    weights: Mapping[str, Tensor],
    frozen: Mapping[str, Tensor],
    loss: Loss,
    batch: tuple[Tensor, Tensor],
) -> list[dict[str, Any]]:
    """A row for each layer: open and dead channels, norm of the gradient, rank of the outputs.

    Args:
        network: as training begins; it is run in training mode.
        weights: parameters of the network, by name.
        frozen: of each, true where training must not change it.
        loss: of the task.
        batch: images (N, C, S, S) and labels (N,).

    Returns:
        Rows ``layer, channels, dead, gradient, rank``: channels with a free weight; those of them
        that are dead (`dead_channels`); the norm of the gradient by free weights, active or not;
        `effective_rank` of what the layer puts out, before batch norm and activation. The last two
        to four digits. None where there is no such thing: channels and dead of a layer whose weight
        has its inputs first (`rows_are_outputs`), dead and gradient of a layer that the network
        does not call, rank of other layers than linear and convolutional ones, and what is not
        finite.
    """
    images, labels = batch
    with _left_as_it_is(network, images.device), _ranks(network, weights) as ranks:
        network.train()
        value = loss(network(images), labels)
        gradients = torch.autograd.grad(value, list(weights.values()), allow_unused=True)
    return [
        {
            "layer": name,
            **_channels(network, name, gradient, held),
            "gradient": None if gradient is None else _digits(float((gradient * ~held).norm())),
            "rank": _digits(ranks[name]) if name in ranks else None,
        }
        for (name, held), gradient in zip(frozen.items(), gradients, strict=True)
    ]


def _channels(
    network: nn.Module, name: str, gradient: Tensor | None, frozen: Tensor
) -> dict[str, int | None]:
    if not rows_are_outputs(network, name):
        return {"channels": None, "dead": None}
    dead = None if gradient is None else int(dead_channels(gradient, frozen).sum())
    return {"channels": int(open_channels(frozen).sum()), "dead": dead}


def _digits(value: float) -> float | None:
    """Four of them: sums are rounded in other ways on another machine."""
    return float(f"{value:.4g}") if isfinite(value) else None


@contextmanager
def _left_as_it_is(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Buffers, modes and random generators are afterwards what they were."""
    # By name too: a forward pass may put another tensor in the place of a buffer.
    places = [(module._buffers, dict(module._buffers)) for module in network.modules()]
    values = [(buffer, buffer.clone()) for buffer in network.buffers()]
    training = network.training
    modes = [(module, module.training) for module in network.modules()]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            network.train(training)
            for module, mode in modes:  # some may have been in another mode than the network
                module.training = mode
            for place, own in places:
                place.clear()
                place.update(own)
            with torch.no_grad():
                for buffer, before in values:
                    buffer.copy_(before)


@contextmanager
def _ranks(network: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[dict[str, float]]:
    """Filled while the network runs: effective rank of the outputs of each layer."""
    found: dict[str, float] = {}

    def watching(name: str, linear: bool) -> Callable[..., None]:
        def look(layer: nn.Module, inputs: Any, outputs: Any) -> None:
            # Convolutions may also take an image without a batch; own layers may return anything.
            if not isinstance(outputs, Tensor) or (
                not linear and outputs.dim() != weights[name].dim()
            ):
                return
            channels_last = outputs if linear else outputs.movedim(1, -1)
            rows = channels_last.detach().reshape(-1, channels_last.shape[-1])
            found[name] = effective_rank(rows[:: max(1, len(rows) // POSITIONS)])

        return look

    layers = {name: network.get_submodule(name.rpartition(".")[0]) for name in weights}
    handles = [
        layer.register_forward_hook(watching(name, isinstance(layer, nn.Linear)))
        for name, layer in layers.items()
        if isinstance(layer, LAYER_TYPES)
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
