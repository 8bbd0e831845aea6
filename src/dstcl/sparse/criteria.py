"""Prune and growth criteria: each is one function from a layer to a score.

To add one, write the function and register it under its name; the exact-count selection, tie
rule, schedules and bookkeeping are shared (`dstcl.sparse.dynamic`). Growth takes the highest
scores among the candidates, pruning removes the lowest scores among the active weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dstcl.sparse.masks import random_scores


@dataclass(frozen=True)
class LayerView:
    """What a criterion may look at; all tensors have the layer's shape.

    Attributes:
        weight: masked weights.
        explored: true where a weight was active at any time since this mask was drawn.
        gradient: dense gradient of the current mini-batch, before any masking; None unless a
            criterion in use asks for it.
        momentum: running gradient, see `Moments`; None unless a criterion in use asks for it.
        generator: the only source of randomness a criterion may use.
    """

    weight: Tensor
    explored: Tensor
    gradient: Tensor | None
    momentum: Tensor | None
    generator: torch.Generator

    def random(self) -> Tensor:
        """Fresh uniform scores in [0, 1)."""
        return random_scores(self.weight.shape, self.generator, self.weight.device)


Score = Callable[[LayerView], Tensor]


@dataclass(frozen=True)
class Criterion:
    """A score function, and which dense quantity must be recorded for it."""

    name: str
    score: Score
    needs_gradient: bool = False
    needs_momentum: bool = False


PRUNE: dict[str, Criterion] = {}
GROW: dict[str, Criterion] = {}


def _register(
    table: dict[str, Criterion], name: str, *, gradient: bool = False, momentum: bool = False
) -> Callable[[Score], Score]:
    def add(score: Score) -> Score:
        table[name] = Criterion(name, score, gradient, momentum)
        return score

    return add


@_register(PRUNE, "magnitude")
def prune_magnitude(layer: LayerView) -> Tensor:
    """Remove the weights closest to zero (SET, RigL, the paper)."""
    return layer.weight.abs()


@_register(PRUNE, "set")
def prune_set(layer: LayerView) -> Tensor:
    """Smallest positive and largest negative weights in equal shares (SET; Mocanu et al. 2018).

    Weights are ranked by magnitude within their sign, so that each rank holds one positive and one
    negative weight; a sign that runs out leaves the rest to the other. The paper's code inherits a
    version that removes the most negative weights instead (section d, 17).
    """
    weight = layer.weight.flatten()
    active = weight.nonzero().squeeze(1)
    magnitude = weight[active].abs()
    if magnitude.dtype == torch.float32:
        magnitude = magnitude.view(torch.int32)  # the same order, and sorted far faster
    active = active[magnitude.argsort(stable=True)]
    positive = weight[active] >= 0
    # 1, 2, 3, ... within each sign, from the smallest magnitude.
    rank = torch.where(positive, positive.cumsum(0), (~positive).cumsum(0))
    score = torch.zeros_like(weight)
    score[active] = rank.to(weight.dtype)
    return score.view_as(layer.weight)


@_register(PRUNE, "taylor", gradient=True)
def prune_taylor(layer: LayerView) -> Tensor:
    """Weights whose removal changes the loss least to first order, ``(w g)^2``.

    Molchanov et al. 2019. The gradient is the dense one of the current mini-batch, so frozen
    weights are judged like others; in the paper's code their gradient is zeroed first and they
    always go (section d, 18).
    """
    assert layer.gradient is not None
    return (layer.weight * layer.gradient).square()


@_register(PRUNE, "random")
def prune_random(layer: LayerView) -> Tensor:
    """Remove active weights at random: the control for every informed criterion."""
    return layer.random()


@_register(GROW, "random")
def grow_random(layer: LayerView) -> Tensor:
    """Any candidate, with equal chance (SET; Mocanu et al. 2018)."""
    return layer.random()


@_register(GROW, "unfired")
def grow_unfired(layer: LayerView) -> Tensor:
    """At random among weights never active in this task; only then among the others.

    Section c7 of the paper's code (``random_unfired``), after ITOP (Liu et al. 2021).
    """
    return layer.random() + (~layer.explored)


@_register(GROW, "gradient", gradient=True)
def grow_gradient(layer: LayerView) -> Tensor:
    """Largest dense gradient of the current mini-batch (RigL; Evci et al. 2020)."""
    assert layer.gradient is not None
    return layer.gradient.abs()


@_register(GROW, "momentum", momentum=True)
def grow_momentum(layer: LayerView) -> Tensor:
    """Largest running gradient (SNFS; Dettmers and Zettlemoyer 2019, without redistribution)."""
    assert layer.momentum is not None
    return layer.momentum.abs()


@_register(GROW, "momentum_neuron", momentum=True)
def grow_momentum_neuron(layer: LayerView) -> Tensor:
    """Largest running gradient, weighed by the mean over the weight's output neuron or channel.

    Dettmers and Zettlemoyer 2019 (appendix). The paper's code offers it and never calls it
    (section d, 21).
    """
    assert layer.momentum is not None
    magnitude = layer.momentum.abs()
    neuron = magnitude.flatten(1).mean(1)
    return magnitude * neuron.view(-1, *[1] * (magnitude.dim() - 1))


@dataclass(frozen=True)
class GrowthPlan:
    """Which growth criterion is in force at which fraction of the training.

    ``first`` up to ``switch_at`` (a fraction of all steps), ``then`` afterwards. A fixed
    criterion is a plan with both the same.
    """

    first: Criterion
    then: Criterion
    switch_at: float = 1.0

    def at(self, fraction: float) -> Criterion:
        """The criterion in force after this fraction of the steps."""
        return self.first if fraction < self.switch_at else self.then

    @property
    def needs_gradient(self) -> bool:
        """Whether either phase reads the mini-batch gradient."""
        return self.first.needs_gradient or self.then.needs_gradient

    @property
    def needs_momentum(self) -> bool:
        """Whether either phase reads the running gradient."""
        return self.first.needs_momentum or self.then.needs_momentum


THEN = "-then-"


def growth_plan(name: str, switch_at: float = 0.5) -> GrowthPlan:
    """The plan named ``"gradient"`` or, for a switch, ``"random-then-gradient"``.

    The switch is the adaptive growth that the paper's closing section suggests.

    Raises:
        ValueError: a criterion that does not exist.
    """
    names = name.split(THEN)
    unknown = [n for n in names if n not in GROW]
    if unknown or len(names) > 2:
        raise ValueError(
            f"unknown growth {name!r}; known: {', '.join(GROW)}, or two of them as 'a{THEN}b'"
        )
    return GrowthPlan(GROW[names[0]], GROW[names[-1]], switch_at if len(names) == 2 else 1.0)


def prune_criterion(name: str) -> Criterion:
    """The prune criterion of that name.

    Raises:
        ValueError: a criterion that does not exist.
    """
    if name not in PRUNE:
        raise ValueError(f"unknown prune criterion {name!r}; known: {', '.join(PRUNE)}")
    return PRUNE[name]
