"""Prune and growth criteria: each is one function from a layer to a score.

A criterion of one's own is such a function, passed as it is, registered under a name
(`register_growth`, `register_prune`), or named as ``module:attribute``. The exact-count selection,
tie rule, schedules and bookkeeping are shared (`dstcl.sparse.dynamic`). Growth takes the highest
scores among the candidates, pruning removes the lowest scores among the active weights.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from dstcl.plugins import is_plugin, load
from dstcl.sparse.masks import random_scores
from dstcl.sparse.registry import Registry


@dataclass(frozen=True)
class LayerView:
    """What a criterion may look at, and must not change; all tensors have the layer's shape.

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


Score: TypeAlias = Callable[[LayerView], Tensor]


class CriterionError(ValueError):
    """A criterion that does not do what one must; one line with its name."""


@dataclass(frozen=True)
class Criterion:
    """A score function, and which dense quantity must be recorded for it.

    Attributes:
        name: for messages.
        score: from a layer to a score for each weight, a floating-point tensor of its shape.
        needs_gradient: it reads `LayerView.gradient`.
        needs_momentum: it reads `LayerView.momentum`.
    """

    name: str
    score: Score
    needs_gradient: bool = False
    needs_momentum: bool = False

    def __call__(self, layer: LayerView) -> Tensor:
        """The scores of a layer.

        Raises:
            CriterionError: the function reads what it does not declare, or returns something else
                than scores.
        """
        try:
            scores = self.score(layer)
        except (AttributeError, TypeError) as error:
            if "NoneType" not in str(error):
                raise
            raise CriterionError(
                f"criterion {self.name!r} failed ({error}); gradient and momentum are None unless "
                "declared, as in @criterion(gradient=True)"
            ) from error
        if problem := _form_problem(scores, layer.weight):
            raise CriterionError(
                f"criterion {self.name!r} returned {problem}; it must return a score for each "
                f"weight, a floating-point tensor of shape {tuple(layer.weight.shape)} on "
                f"{layer.weight.device}"
            )
        return scores

    def __reduce_ex__(self, protocol: Any) -> Any:
        """For copies and pickles: by name, as a decorator gives the function's name to the
        criterion, so that the function itself cannot be found."""
        where = getattr(self.score, "__module__", ""), getattr(self.score, "__qualname__", "")
        found = getattr(sys.modules.get(where[0]), where[1], None)
        if isinstance(found, Criterion) and replace(found, name=self.name) == self:
            return _defined, (*where, self.name)
        for table in (GROW, PRUNE):
            if table.get(self.name) == self:
                return _registered, (table is GROW, self.name)
        return super().__reduce_ex__(protocol)


def _defined(module: str, attribute: str, name: str) -> Criterion:
    """The criterion that stands in a module, under the name that it was given."""
    here = sys.modules.get(module)
    found: Criterion = getattr(here, attribute) if here else load(f"{module}:{attribute}")
    return found if found.name == name else replace(found, name=name)


def _registered(growth: bool, name: str) -> Criterion:
    return (GROW if growth else PRUNE).find(name)


def _form_problem(scores: object, weight: Tensor) -> str:
    if not isinstance(scores, Tensor):
        return f"a {type(scores).__name__}"
    if scores.shape != weight.shape:
        return f"shape {tuple(scores.shape)}"
    if not scores.is_floating_point():
        return f"type {scores.dtype}"
    return "" if scores.device == weight.device else f"a tensor on {scores.device}"


def _as_criterion(name: str, given: object) -> Criterion | None:
    if isinstance(given, Criterion):
        # A message must name what stands in params.yaml, not the function there.
        return replace(given, name=name) if is_plugin(name) else given
    return Criterion(name, given) if callable(given) else None


FORM = "a Criterion or a function from a LayerView to scores"
PRUNE = Registry("prune", FORM, _as_criterion)
GROW = Registry("grow", FORM, _as_criterion, also="two of them as 'a-then-b'")


def criterion(*, gradient: bool = False, momentum: bool = False) -> Callable[[Score], Criterion]:
    """Decorator: a criterion out of a function, with what it needs, without a name for it.

    Args:
        gradient: it reads `LayerView.gradient`.
        momentum: it reads `LayerView.momentum`.
    """

    def make(score: Score) -> Criterion:
        return Criterion(getattr(score, "__name__", "criterion"), score, gradient, momentum)

    return make


def register_growth(
    name: str, *, gradient: bool = False, momentum: bool = False
) -> Callable[[Score], Criterion]:
    """Decorator: a growth criterion that ``grow=`` knows by name; high scores are grown first.

        @register_growth("by_age", gradient=True)
        def by_age(layer):
            return layer.gradient.abs() * ~layer.explored

    Args:
        name: letters, digits and underscores.
        gradient: it reads `LayerView.gradient`.
        momentum: it reads `LayerView.momentum`.

    Raises:
        ValueError: another function has the name.
    """
    return _register(GROW, name, gradient, momentum)


def register_prune(
    name: str, *, gradient: bool = False, momentum: bool = False
) -> Callable[[Score], Criterion]:
    """Decorator: a prune criterion that ``prune=`` knows by name; low scores are removed first.

    Otherwise as `register_growth`.
    """
    return _register(PRUNE, name, gradient, momentum)


def _register(
    table: Registry[Criterion], name: str, gradient: bool, momentum: bool
) -> Callable[[Score], Criterion]:
    def add(score: Score) -> Criterion:
        # A criterion of the other kind, or of no name, keeps what it declares.
        known = score if isinstance(score, Criterion) else Criterion(name, score)
        made = replace(
            known,
            name=name,
            needs_gradient=gradient or known.needs_gradient,
            needs_momentum=momentum or known.needs_momentum,
        )
        table.register(name, made, made.score)
        return made

    return add


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


Growth: TypeAlias = str | Criterion | Score | GrowthPlan
Prune: TypeAlias = str | Criterion | Score

THEN = "-then-"


def growth_plan(grow: Growth, switch_at: float = 0.5) -> GrowthPlan:
    """The plan that ``grow=`` stands for.

    Args:
        grow: a name, as ``"gradient"``, or a switch between two, as ``"random-then-gradient"``;
            each name may be of the form ``module:attribute``. Or a criterion, a function from a
            `LayerView` to scores, or a plan.
        switch_at: fraction of the steps after which a switch changes criterion.

    Raises:
        ValueError: a criterion that does not exist or cannot be one.
    """
    if isinstance(grow, GrowthPlan):
        return grow
    if not isinstance(grow, str):
        fixed = GROW.find(grow)
        return GrowthPlan(fixed, fixed)
    names = grow.split(THEN)
    if len(names) > 2:
        raise ValueError(f"grow: {grow!r} has {len(names)} criteria; two are possible, 'a{THEN}b'")
    found = [GROW.find(name) for name in names]
    return GrowthPlan(found[0], found[-1], switch_at if len(names) == 2 else 1.0)


def prune_criterion(prune: Prune) -> Criterion:
    """The criterion that ``prune=`` stands for: by name, by ``module:attribute``, or given.

    Raises:
        ValueError: a criterion that does not exist or cannot be one.
    """
    return PRUNE.find(prune)
