"""A guard of plasticity: channels that cannot learn get other weights as a task begins.

Masks of very few weights leave channels without input, or with silent inputs only, and channels
that nothing reads. The first batch of a task tells them, as no gradient comes to their free weights
(`dstcl.continual.plasticity.dead_channels`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch

from dstcl.continual.controllers.base import NOTHING, Controller, Decision, Seen
from dstcl.study.fields import Between, Settings


@dataclass(frozen=True, kw_only=True)
class PlasticityGuardSettings(Settings):
    """Settings of the guard of plasticity."""

    threshold: Annotated[float, Between(ge=0, lt=1)] = 0.1
    """Dead channels over all channels with free weights; the guard acts where it is larger."""
    batches: Annotated[int, Between(ge=1, le=1000)] = 8
    """First batches of a task after each of which it looks."""
    inputs: Annotated[int, Between(ge=1, le=1000)] = 1
    """Active free weights that each channel gets which is drawn anew, as far as counts allow."""
    at_random: bool = False
    """Draw as many channels of the same layers anew that are chosen at random: the control."""


class PlasticityGuard(Controller):
    """Draws the free weights of dead channels anew where too many channels are dead.

    One draw may not do: a channel can again get silent inputs, or be read by none. So the guard
    looks again after the next batch, for some batches. What is alive stays as it is.
    """

    settings = PlasticityGuardSettings

    def __init__(self, *, seed: int = 0, **settings: object) -> None:
        super().__init__(seed=seed, **settings)
        self.first_batches = self.settings.batches

    def after_batch(self, seen: Seen) -> Decision:
        """Channels to draw anew; nothing where few enough are dead."""
        dead = sum(map(len, seen.dead.values()))
        channels = sum(map(len, seen.channels.values()))
        threshold = self.settings.threshold
        told = f"dead {dead} of {channels} channels; threshold {threshold:g}"
        if dead <= threshold * channels:
            # Once a task; that nothing has changed since needs no row.
            return Decision(evidence=told) if seen.step == 1 else NOTHING
        chosen = self._at_random(seen) if self.settings.at_random else seen.dead
        evidence_of = {
            layer: f"dead {len(seen.dead[layer])} of {len(seen.channels[layer])}; in all {told}"
            for layer in chosen
        }
        return Decision(
            anew={layer: found for layer, found in chosen.items() if found},
            inputs=self.settings.inputs,
            evidence=told,
            evidence_of=evidence_of,
        )

    def _at_random(self, seen: Seen) -> Mapping[str, tuple[int, ...]]:
        """As many channels of each layer as are dead there."""
        chosen = {}
        for number, (layer, channels) in enumerate(seen.channels.items()):
            draws = self.draws(seen.task, seen.step, number)
            order = torch.randperm(len(channels), generator=draws).tolist()
            chosen[layer] = tuple(sorted(channels[i] for i in order[: len(seen.dead[layer])]))
        return chosen
