"""The topology update as the paper's public code does it, ties and chance included.

That code is described in docs/published-code.md, c4 to c7. What differs from
`DynamicSparseTraining`:

- masks and random growth are Bernoulli draws, so counts fluctuate;
- pruning removes ties and every active zero, so more goes than asked;
- gradient and momentum growth rank active weights as zeros, so ties of zeros fall on active weights
  and density is lost;
- optimiser state of weights that come and go is kept.

With SGD the original's momentum growth sees a masked buffer and changes nothing; here it sees the
running gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dstcl.sparse import (
    GROW,
    PRUNE,
    Criterion,
    DynamicSparseTraining,
    LayerView,
    foreach,
    select_top,
)
from dstcl.sparse.masks import Masks, random_scores

GROWTHS = ("random", "unfired", "gradient", "momentum")
CANDIDATES = {"all": "all", "free": "free", "published": "frozen_without_gradient"}
"""What the core calls the values of a protocol's ``candidates``."""


class PublishedSparseTraining(DynamicSparseTraining):
    """`DynamicSparseTraining` with the draws, ties and order of operations of the paper's code.

    Takes the same arguments; prune must be "magnitude", grow one of `GROWTHS` or a switch between
    two of them.

    Raises:
        ValueError: a criterion that the paper's code does not have.
    """

    _bias_correction = False
    # Counts are drawn and drift, so no mask has exactly the density.
    density_beside_masks: ClassVar[bool] = True
    keeps_stored: ClassVar[bool] = True

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, **dynamic: Any) -> None:
        super().__init__(model, optimizer, **dynamic)
        if self.redistribute != "none":
            raise ValueError("redistribute: published topology has none")
        if self.structures:
            raise ValueError("structure: published topology has none")
        if self.prune != PRUNE["magnitude"]:
            raise ValueError(f"prune {self.prune.name!r}: published topology has only magnitude")
        for criterion in (self.grow.first, self.grow.then):
            if criterion not in [GROW[name] for name in GROWTHS]:
                known = ", ".join(GROWTHS)
                raise ValueError(f"grow {criterion.name!r}: published topology has only {known}")

    def check_counts(self) -> None:
        """Nothing to assert: counts drift. Record what they are."""
        actual = torch.stack([mask.count_nonzero() for mask in self.masks.values()]).tolist()
        self.counts = dict(zip(self.masks, actual, strict=True))

    def first_masks(self) -> Masks:
        """Each weight active by a chance of its own."""
        return {
            name: random_scores(shape, self.generator, self.device) < self.densities[name]
            for name, shape in self.shapes.items()
        }

    def _make_multipliers(self) -> None:
        """Gradients are masked by isolation alone, weights by the mask alone."""
        self._gradient_keep = foreach.keepers(self._parameters)
        foreach.set_keepers_(self._gradient_keep, [~frozen for frozen in self.frozen.values()])
        self._weight_keep = foreach.keepers(self._parameters)
        self._pinned = []

    def _refresh_multipliers(self) -> None:
        if self.regrown == "stored":
            self._restore_stored_values()
        foreach.set_keepers_(self._weight_keep, list(self.masks.values()))

    def _restore_stored_values(self) -> None:
        for name, weight in self.weights.items():
            shared = self.masks[name] & self.frozen[name]
            weight.copy_(torch.where(shared, self.stored[name], weight))

    def _replace_weights(
        self, rate: float, prunes: Mapping[str, Criterion], growths: Mapping[str, Criterion]
    ) -> None:
        for index, (name, mask) in enumerate(self.masks.items()):
            kept = prune_with_ties(self._parameters[index], mask, rate)
            removed = int(mask.count_nonzero()) - int(kept.count_nonzero())
            allowed = ~self.frozen[name] if self.candidates == "free" else torch.ones_like(mask)
            view = self._view(name)
            mask.copy_(grow_as_published(growths[name], view, kept, removed, allowed))
            self.explored[name].logical_or_(mask)


def prune_with_ties(weight: Tensor, mask: Tensor, rate: float) -> Tensor:
    """What stays active: strictly above the k-th smallest magnitude of the whole tensor.

    ``k`` counts the inactive weights and ``ceil(rate * active)``; ties at the threshold and every
    active weight equal to zero go too. Inactive weights count as zeros, so the k-th smallest of all
    is the ``ceil(rate * active)``-th smallest of the active ones.
    """
    active = mask.flatten().nonzero().squeeze(1)
    asked = ceil(rate * len(active))
    magnitude = weight.flatten()[active].abs()
    threshold = magnitude.kthvalue(asked).values if asked else 0
    kept = torch.zeros_like(mask).flatten()
    kept[active[magnitude > threshold]] = True
    return kept.view(mask.shape)


def grow_as_published(
    growth: Criterion, view: LayerView, kept: Tensor, removed: int, allowed: Tensor
) -> Tensor:
    """The mask after growth (docs/published-code.md, c7).

    ``allowed`` is all true in the paper's code; a mask of free weights restricts every criterion.
    """
    inactive = ~kept & allowed
    candidates = int(inactive.count_nonzero())
    if candidates == 0:
        return kept
    if growth.name == "random":
        return kept | (inactive & (view.random() < removed / candidates))
    if growth.name == "unfired":
        return _grow_unfired(view, kept, removed, inactive)
    score = growth.score(view).abs() * inactive
    if score.max().isfinite():  # the maximum of anything with a NaN in it is NaN
        return kept | select_top(score, torch.ones_like(kept), removed)
    # The original's sort puts NaN above infinity, and both first.
    return _add(kept, torch.sort(score.flatten(), descending=True, stable=True).indices[:removed])


def _grow_unfired(view: LayerView, kept: Tensor, removed: int, inactive: Tensor) -> Tensor:
    unfired = ~view.explored & inactive
    available = int(unfired.count_nonzero())
    draws = view.random()
    if removed <= available:
        chosen = select_top(draws, unfired, removed)
        if not removed or _without_ties(draws, unfired, chosen, removed):
            return kept | chosen
        # Which of equal draws is taken only the original's own operation knows.
        order = torch.where(unfired, draws, -1.0).flatten()
        return _add(kept, torch.topk(order, removed).indices)
    grown = kept | unfired
    rest = inactive & ~unfired
    chance = (removed - available) / max(1, int(rest.count_nonzero()))
    return grown | (rest & (draws < chance))


def _without_ties(draws: Tensor, eligible: Tensor, chosen: Tensor, count: int) -> bool:
    """Whether no eligible entry outside ``chosen`` equals the least inside."""
    least = torch.where(chosen, draws, torch.inf).min()
    return int((eligible & (draws >= least)).count_nonzero()) == count


def _add(kept: Tensor, indices: Tensor) -> Tensor:
    """The mask with the entries of these flat indices as well."""
    grown = kept.flatten().clone()
    grown[indices] = True
    return grown.view_as(kept)
