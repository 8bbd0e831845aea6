"""Init by free capacity: what an init asks of a full layer goes to layers that have room.

With ERK (Evci et al. 2020) narrow layers get the highest densities, so they are used up first:
Yildirim et al. (CPAL 2024, section 5.1) see ERK at 80 % saturate after 13 of 20 tasks. Uniform
masks of 99 % leave output channels without any input. Here the shares are those of the run's init,
but new weights are rationed over the tasks that are left (`dstcl.sparse.water_filling`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dstcl.continual.controllers.base import Controller, Decision, Seen
from dstcl.sparse.water_filling import water_filled
from dstcl.study.fields import Between, Settings


@dataclass(frozen=True, kw_only=True)
class FreeCapacitySettings(Settings):
    """Settings of init by free capacity."""

    kappa: Annotated[float, Between(gt=0)] = 1.0
    """New weights that a layer may give a task, over an equal part of its free weights for each
    task that is left. Fixed on digits."""


class FreeCapacity(Controller):
    """Before a task, spreads its weights over the layers by what these have left.

    The number of active weights is what density and init ask for, exactly; used weights may be used
    again. This is a rule for the mask that a task begins with: growth may then exchange new weights
    for used ones of the same layer, and the other way round.
    """

    settings = FreeCapacitySettings
    decides_counts = True

    def before_task(self, seen: Seen) -> Decision:
        """Active and new weights of every layer."""
        kappa, left = self.settings.kappa, seen.tasks - seen.task
        filling = water_filled(seen.active, seen.sizes, seen.free, left, kappa)
        factor = f"kappa {kappa:g}"
        if filling.slack > kappa:
            factor += f" raised to {filling.slack:.4f}; quotas had no room"
        shares = seen.free_share()
        evidence_of = {
            name: f"init asks {asked}; free {shares[name]:.4f}; tasks left {left}; {factor}"
            for name, asked in seen.active.items()
        }
        return Decision(active=filling.active, new=filling.new, evidence_of=evidence_of)
