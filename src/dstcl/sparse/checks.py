"""Criteria of a user's own, tried before they are trusted with a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from dstcl.sparse.criteria import (
    Criterion,
    CriterionError,
    Growth,
    GrowthPlan,
    LayerView,
    growth_plan,
    prune_criterion,
)
from dstcl.sparse.masks import random_scores

SHAPES = ((6, 5), (6, 5, 3, 3))
"""Of a linear and of a convolutional layer."""


@torch.no_grad()
def check_criterion(
    given: Growth,
    kind: Literal["grow", "prune"],
    shapes: Sequence[tuple[int, ...]] = SHAPES,
) -> None:
    """Call a criterion on small made-up layers, so that what cannot work is refused at once.

    Args:
        given: what ``grow=`` or ``prune=`` takes, ``module:attribute`` included.
        kind: which of the two arguments it is for.
        shapes: of the layers.

    Raises:
        CriterionError: it cannot score them; one line with the argument and the criterion.
        ValueError: there is no such criterion.
    """
    if kind not in ("grow", "prune"):
        raise ValueError(f"kind: {kind!r}; known: grow, prune")
    if kind == "grow":
        plan = growth_plan(given)
        criteria = [plan.first, plan.then]
    elif isinstance(given, GrowthPlan):
        raise ValueError("prune: a GrowthPlan; it must be one criterion")
    else:
        criteria = [prune_criterion(given)]
    for criterion in criteria:
        for shape in shapes:
            try:
                _try(criterion, shape)
            except CriterionError as error:
                raise CriterionError(f"{kind}: {error}") from error
            except Exception as error:  # whatever a user's function raises is told in one line
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                raise CriterionError(
                    f"{kind}: criterion {criterion.name!r} failed on a layer of shape {shape} "
                    f"({reason})"
                ) from error


def refuse_nan(criterion: Criterion, scores: Tensor, layer: LayerView) -> None:
    """Refuse scores of a sound layer that are NaN everywhere; waits for the device.

    Raises:
        CriterionError: they are.
        ValueError: they are, as the gradient that the criterion reads is not finite.
    """
    if bool(scores.isnan().all()) and bool(layer.weight.isfinite().all()):
        read = {
            "gradient": layer.gradient if criterion.needs_gradient else None,
            "running gradient": layer.momentum if criterion.needs_momentum else None,
        }
        for what, values in read.items():
            if values is not None and not bool(values.isfinite().all()):
                raise ValueError(
                    f"the {what} of a layer of shape {tuple(scores.shape)} is not finite, so "
                    f"criterion {criterion.name!r} has no scores; look for NaN in loss and inputs"
                )
        raise CriterionError(
            f"criterion {criterion.name!r} returned NaN for every weight of a layer of shape "
            f"{tuple(scores.shape)}; scores must be numbers"
        )


def _try(criterion: Criterion, shape: tuple[int, ...]) -> None:
    layer, same = _made_up(criterion, shape), _made_up(criterion, shape)
    refuse_nan(criterion, criterion(layer), layer)
    for name in ("weight", "explored", "gradient", "momentum"):
        before, after = getattr(same, name), getattr(layer, name)
        if before is not None and not torch.equal(before, after):
            raise CriterionError(
                f"criterion {criterion.name!r} changed the layer's {name} in place; it may only "
                "look at it"
            )


def _made_up(criterion: Criterion, shape: tuple[int, ...]) -> LayerView:
    """A layer of which half of the weights are active; the same one at every call."""
    draws = torch.Generator().manual_seed(0)
    cpu = torch.device("cpu")
    weight, gradient, momentum = (random_scores(shape, draws, cpu) - 0.5 for _ in range(3))
    active = random_scores(shape, draws, cpu) < 0.5
    return LayerView(
        weight=weight * active,
        explored=active | (random_scores(shape, draws, cpu) < 0.2),
        gradient=gradient if criterion.needs_gradient else None,
        momentum=momentum if criterion.needs_momentum else None,
        generator=draws,
    )
