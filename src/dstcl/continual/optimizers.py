"""The optimisers of a run, without the second that torch takes to prepare for compiling them."""

from __future__ import annotations

from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dstcl.continual.precision import STEP_GRAPHS
from dstcl.study.run import Run


def build_optimizer(run: Run, network: nn.Module) -> Optimizer:
    """A fresh optimiser, as for every task (section c3 of the paper's code)."""
    recorded = run.compile in STEP_GRAPHS
    rate = run.learning_rate
    device = next(network.parameters()).device
    common: dict[str, Any] = {
        # A recorded step would go on with the number that it saw.
        "lr": torch.tensor(rate, device=device) if recorded else rate,
        "weight_decay": run.weight_decay,
        "fused": True,
    }
    if run.optimizer == "sgd":
        return uncompiled(torch.optim.SGD)(
            network.parameters(), momentum=0.9, nesterov=True, **common
        )
    return uncompiled(torch.optim.Adam)(network.parameters(), capturable=recorded, **common)


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
