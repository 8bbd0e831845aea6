"""The optimisers of a run, without the second that torch takes to prepare for compiling them."""

from __future__ import annotations

from collections.abc import Iterable
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dstcl import plugins
from dstcl.plugins import PluginError
from dstcl.study.settings import Training

BUILT_IN: dict[str, tuple[str, dict[str, Any]]] = {
    "adam": ("Adam", {"fused": True}),
    "adamw": ("AdamW", {"fused": True}),
    "sgd": ("SGD", {"fused": True, "momentum": 0.9, "nesterov": True}),
}
"""Class in torch.optim and settings, which ``optimizer_settings`` go over."""


def build_optimizer(
    training: Training, parameters: Iterable[nn.Parameter], recorded: bool = False
) -> Optimizer:
    """A fresh optimiser, as for every task (docs/published-code.md, c3).

    Args:
        training: which optimiser, with what settings.
        parameters: of the network.
        recorded: whether its steps go into a CUDA graph.

    Raises:
        PluginError: the name leads to no optimiser; ValueError: it does not take the settings.
    """
    name = training.optimizer
    own = list(parameters)
    rate = training.learning_rate
    given: dict[str, Any] = {
        # A recorded step would go on with the number that it saw.
        "lr": torch.tensor(rate, device=own[0].device) if recorded else rate,
        "weight_decay": training.weight_decay,
    }
    if name in BUILT_IN:
        attribute, settings = BUILT_IN[name]
        kind = uncompiled(getattr(torch.optim, attribute))
        given |= settings | ({"capturable": True} if recorded and name != "sgd" else {})
    else:
        try:
            kind = plugins.load(name)
        except PluginError as error:
            raise PluginError(f"training.optimizer: {error}") from error
        if not training.weight_decay:
            del given["weight_decay"]  # which not every optimiser takes
    key = f"training.optimizer: {name!r}"
    try:
        optimizer = kind(own, **given | training.optimizer_settings)
    except Exception as error:  # whatever a user's class raises is told in one line
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{key} refuses its settings ({reason})") from error
    if not isinstance(optimizer, Optimizer):
        raise PluginError(f"{key} makes no torch.optim.Optimizer")
    return optimizer


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """For all parameters; in place where it is a tensor, as a recorded step reads it there."""
    for group in optimizer.param_groups:
        held = group["lr"]
        if isinstance(held, Tensor):
            rate_there = held.to(group["params"][0].device)  # a checkpoint may be read elsewhere
            group["lr"] = rate_there.fill_(rate)
        else:
            group["lr"] = rate


def uncompiled(kind: type[Optimizer]) -> type[Any]:
    """The same optimiser, for processes that do not compile it.

    torch imports its compiler on the first step of any optimiser and on the first call of some of
    its methods, only to tell the compiler what to leave alone: over a second, as much as a short
    run trains. Here the step is what lies below that wrapper, and the methods are marked as the
    wrapper would mark them. In a version of torch that is built otherwise this changes nothing.
    """
    for member in vars(Optimizer).values():
        method = getattr(member, "__wrapped__", None)
        if isinstance(method, FunctionType):
            method.__dict__.setdefault("__dynamo_disable", method)
    step = getattr(kind.step, "__wrapped__", None)
    if not isinstance(step, FunctionType):
        return kind
    return type(kind.__name__, (kind,), {"step": torch.no_grad()(step)})
