"""What the integrations share: a training begun or resumed where a framework has the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from math import isinf
from typing import Any

import torch
from torch import nn

from dstcl.sparse.training import SparseTraining

PREFIX = "sparse/"
"""Before the names of what is logged."""

Training = Callable[..., SparseTraining]
"""`DynamicSparseTraining`, `SparseTraining`, `GradualMagnitudePruning` or what is called alike."""


def begin_attached(
    training: Training,
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    settings: Mapping[str, Any],
    resume: Callable[[SparseTraining], None] | None = None,
) -> SparseTraining:
    """Make a training of a framework's model and optimisers, and attach it to these.

    Args:
        training: the class.
        model: not wrapped.
        optimizers: torch's, not wrapped.
        settings: of the training.
        resume: puts a saved state into the training, whose weights the model has already.

    Raises:
        ValueError: as the class and ``resume`` do.
    """
    if resume is None:
        dst = training(model, optimizers, **settings)
    else:
        dst = _resumed(training, model, optimizers, settings)
        resume(dst)
    dst.attach()
    return dst


@torch.no_grad()
def _resumed(
    training: Training,
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    settings: Mapping[str, Any],
) -> SparseTraining:
    """A training that leaves the weights, and torch's random numbers, as they were."""
    before = [(weight, weight.clone()) for weight in model.parameters()]
    with torch.random.fork_rng(devices=[]):
        dst = training(model, optimizers, **settings)
    for weight, value in before:
        weight.copy_(value)  # what it was before new masks were put on it
    return dst


def with_total_steps(
    training: Training, settings: Mapping[str, Any], expected: Callable[[], float], how: str
) -> dict[str, Any]:
    """The settings, with the number of steps that the framework is going to make.

    Args:
        training: the class; one without ``total_steps`` gets none.
        settings: as given; a ``total_steps`` in them counts.
        expected: the number, where the framework knows it, else infinite or not positive.
        how: where a user says how long to train.

    Raises:
        ValueError: neither knows.
    """
    given = dict(settings)
    if "total_steps" in given or not _counts_steps(training):
        return given
    steps = expected()
    if isinf(steps) or steps < 1:
        raise ValueError(f"total_steps: unknown, as training has no end; set {how} or total_steps=")
    return {**given, "total_steps": int(steps)}


def without_densities(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings for given masks, which decide every density. None, as a class may need a value."""
    left = {name: None if name in ("density", "overrides") else v for name, v in settings.items()}
    if groups := left.get("groups"):
        left["groups"] = {
            pattern: {name: v for name, v in own.items() if name not in ("density", "init")}
            for pattern, own in groups.items()
        }
    return left


def _counts_steps(training: Training) -> bool:
    import inspect

    with suppress(TypeError, ValueError):
        parameters = inspect.signature(getattr(training, "__init__", training)).parameters
        kinds = {parameter.kind for parameter in parameters.values()}
        return "total_steps" in parameters or inspect.Parameter.VAR_KEYWORD in kinds
    return True


def prefixed(values: Mapping[str, float]) -> dict[str, float]:
    """Names of what is logged, apart from those of the framework."""
    return {PREFIX + name: value for name, value in values.items()}


def plain(optimizer: Any) -> torch.optim.Optimizer:
    """The optimiser of torch within a framework's wrappers."""
    while isinstance(inner := getattr(optimizer, "optimizer", None), torch.optim.Optimizer):
        optimizer = inner
    return optimizer
