"""Whether a network can be trained as runs train it, found out before they do."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from dstcl.networks.build import NetworkError, Source, describe, refusing
from dstcl.networks.head import find_head
from dstcl.sparse import maskable_weights
from dstcl.sparse.layers import COMPUTED, select_weights

IMAGES = 2
"""In the batch that is tried: as few as batch norm can do with."""


def check_network(network: nn.Module, image: Sequence[int], classes: int, source: Source) -> None:
    """Compute logits and gradients for two images on the CPU, with a copy of the network.

    Args:
        network: as `dstcl.networks.build.build_network` returns it; stays as it is.
        image: channels, height and width of the images.
        classes: outputs that the network must have.
        source: for messages.

    Raises:
        NetworkError: there is nothing to mask, the network does not map such images to logits
            (N, classes), or a weight has no part in them.
    """
    if problem := _untrainable(network) or _wrong_logits(network, image, classes, source):
        raise NetworkError(f"networks: {describe(source)}: {problem}")


def _untrainable(network: nn.Module) -> str | None:
    head, _ = find_head(network)
    found = select_weights(network)
    foreign = found.shared.keys() | {n for n, why in found.dense.items() if why == COMPUTED}
    if not (found.weights.keys() | foreign) - {f"{head}.weight"}:
        return f"no linear or convolutional layer besides the head {head!r}, so nothing to mask"
    if foreign:
        return (
            f"{min(foreign)!r} is no parameter of its own but another layer's too or computed "
            "from others; masks need one for each layer"
        )
    return None


def _wrong_logits(
    network: nn.Module, image: Sequence[int], classes: int, source: Source
) -> str | None:
    size = f"{image[0]} channel{'s' if image[0] > 1 else ''} and {image[1]}x{image[2]} pixels"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        with refusing(source, f"it does not take images of {size}"):
            tried = deepcopy(network).cpu().train()
            weights, called = maskable_weights(tried), _calls(tried)
            logits = tried(torch.randn(IMAGES, *image))
    head, _ = find_head(tried)
    if not isinstance(logits, Tensor):
        return f"it returns a {type(logits).__name__} in training, not one tensor of logits"
    if called and called[-1] != f"{head}.weight":
        return f"{called[-1]!r} is used after the head {head!r}; name the head"
    if logits.shape != (IMAGES, classes):
        return f"{IMAGES} images gave logits {tuple(logits.shape)}, not {(IMAGES, classes)}"
    if logits.requires_grad:
        with refusing(source, "it cannot be trained"):
            logits.sum().backward()
    if idle := [name for name, weight in weights.items() if weight.grad is None]:
        return f"{idle[0]!r} has no gradient: it has no part in the logits or cannot be trained"
    return None


def _calls(network: nn.Module) -> list[str]:
    """Gets the maskable weights, one after the other, as layers are called from now on."""
    called: list[str] = []
    for name in maskable_weights(network):
        layer = network.get_submodule(name.rpartition(".")[0])
        layer.register_forward_hook(lambda *_, name=name: called.append(name))
    return called
