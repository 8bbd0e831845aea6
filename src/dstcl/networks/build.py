"""Networks as runs have them, built in or a user's own: any `torch.nn.Module` becomes one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from inspect import Parameter, signature
from typing import Any

import torch
from torch import nn

from . import NO_ARGUMENTS, built_in
from .arithmetic import PLAIN, Arithmetic, apply_arithmetic
from .head import Head, find_head
from .norms import NORMS, Norm, swap_norm

Source = str | Callable[..., nn.Module]
"""A built-in name, ``module:attribute``, or what stands behind such a name."""

CHANNELS = ("channels", "in_channels", "in_chans")
CLASSES = ("classes", "num_classes")
"""Names by which functions and classes that make networks take the two."""


class NetworkError(ValueError):
    """A network that cannot be used; one line, naming the key and the network."""


def build_network(
    source: Source,
    channels: int,
    classes: int,
    seed: int,
    *,
    norm: str | Norm = "task",
    head_bias: bool | None = None,
    head: str | None = None,
    arguments: Mapping[str, Any] = NO_ARGUMENTS,
    arithmetic: Arithmetic = PLAIN,
) -> nn.Module:
    """A freshly initialised network; the same seed gives the same weights.

    What comes back is the module itself. Its last linear layer, or the named one, is its head: a
    `Head` with one output per class, which takes the place of the one that a user's own network
    was made with. `find_head` finds it again. Batch norm is what the protocol wants.

    Args:
        source: what makes the network. A function or class of a user's own is called with
            ``arguments``, and with the channels and classes if it has parameters for them
            (`CHANNELS`, `CLASSES`).
        channels: of the images.
        classes: outputs of the head.
        seed: of the initial weights, for all that torch draws on the CPU.
        norm: "task", "batch" or "shared", as the protocol's ``batch_norm``; or a function from a
            batch-norm layer to what takes its place.
        head_bias: whether the head has a bias; None: as in the paper's code (c1), and for a network
            of a user's own as it was made.
        head: name of the head among the layers; None for the last linear layer.
        arguments: further ones of the function, by name.
        arithmetic: how the network computes.

    Raises:
        NetworkError: no network is made, or none with a head.
        ValueError: there is no built-in network or norm of that name.
    """
    function = network_function(source)
    if isinstance(norm, str) and norm not in NORMS:
        raise ValueError(f"batch_norm: no {norm!r}; known: {', '.join(NORMS)}")
    swap = NORMS[norm] if isinstance(norm, str) else norm
    ready_made = isinstance(source, str) and ":" not in source
    given = _sizes(function, channels, classes) | dict(arguments)
    if ready_made and head_bias is not None:
        given["head_bias"] = head_bias
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        with refusing(source, "building it failed"):
            network = function(**given)
        _refuse_unfinished(source, network)
        try:
            name, layer = find_head(network, "head" if ready_made and head is None else head)
        except ValueError as error:
            raise NetworkError(f"networks: {describe(source)}: {error}") from None
        if ready_made and name == "head":
            layer.__class__ = Head  # made with the right size and bias
        else:
            bias = layer.bias is not None if head_bias is None else head_bias
            network.set_submodule(name, Head(layer.in_features, classes, bias))
        if swap is not None:
            swap_norm(network, swap)
    apply_arithmetic(network, arithmetic)
    return network


def network_function(source: Source) -> Callable[..., nn.Module]:
    """What makes a network.

    Raises:
        NetworkError: a name of a user's own leads nowhere.
        ValueError: there is no built-in network of that name.
    """
    if not isinstance(source, str):
        return source
    if ":" in source:
        # Here, as a registered model has no dstcl: it builds from a function.
        from dstcl.plugins import PluginError, load

        try:
            found = load(source)
        except PluginError as error:
            raise NetworkError(f"networks: {error}") from error
        if not callable(found):
            raise NetworkError(
                f"networks: {describe(source)}: a {type(found).__name__}, which cannot be called"
            )
        return found
    entry = built_in(source)
    made = getattr(import_module(f".{entry.module}", __package__), entry.function)
    return partial(made, **entry.arguments)


def describe(source: Source) -> str:
    """A network in messages: its name, and of a user's own the file."""
    if not isinstance(source, str):
        return repr(getattr(source, "__qualname__", type(source).__name__))
    if ":" not in source:
        return repr(source)
    from dstcl.plugins import find

    return f"{source!r} ({find(source).file})"


@contextmanager
def refusing(source: Source, what: str) -> Iterator[None]:
    """Whatever a user's code raises is told in one line."""
    try:
        yield
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise NetworkError(f"networks: {describe(source)}: {what} ({reason})") from error


def _sizes(function: Callable[..., nn.Module], channels: int, classes: int) -> dict[str, Any]:
    """Channels and classes under the names that a function has for them."""
    try:
        parameters = signature(function).parameters
    except (TypeError, ValueError):  # some that are written in C have none
        return {}
    named = {
        n
        for n, p in parameters.items()
        if p.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    }
    sizes = dict.fromkeys(CHANNELS, channels) | dict.fromkeys(CLASSES, classes)
    return {name: size for name, size in sizes.items() if name in named}


def _refuse_unfinished(source: Source, network: object) -> None:
    if not isinstance(network, nn.Module):
        raise NetworkError(
            f"networks: {describe(source)}: made a {type(network).__name__}, not a torch.nn.Module"
        )
    for name, parameter in network.named_parameters():
        if nn.parameter.is_lazy(parameter):
            raise NetworkError(
                f"networks: {describe(source)}: the shape of {name!r} is not known before images "
                "are seen; make the layer with its sizes"
            )
