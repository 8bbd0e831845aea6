"""Prune rate and interval from what lasts of an exchange: settled layers, and longer waits.

An update asks a layer to exchange a share of its weights, but a new weight starts at zero and may
be pruned again by the next update. What lasts of an exchange is what it changed, times the share of
it that survives. Longer intervals give new weights time to become useful (in-time
over-parameterisation; Liu et al. 2021, section 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from dstcl.continual.controllers.base import NOTHING, Controller, Decision, Seen
from dstcl.study.fields import Between, Settings


@dataclass(frozen=True, kw_only=True)
class SettlingSettings(Settings):
    """Settings of settling layers."""

    lasting: Annotated[float, Between(ge=0, le=1)] = 0.02
    """Share of a layer's active weights that an update has to change lastingly; a layer in which it
    changes fewer is settling."""
    patience: Annotated[int, Between(ge=1, le=1000)] = 2
    """Updates in a row after which a settling layer is settled: its prune rate is 0 in this
    task."""
    survival: Annotated[float, Between(ge=0, le=1)] = 0.25
    """Share of the grown weights that the next update has to keep; where it keeps fewer, the
    interval becomes longer."""
    longer: Annotated[float, Between(ge=1, le=10)] = 1.5
    """The longer interval over the one before; 1 for no change."""


class Settling(Controller):
    """Exchanges less where exchange does not last, layer by layer, and waits longer for it.

    When all layers are settled there are no more updates, and growth looks at no more gradients. A
    layer that is full, and in which an update changed nothing, is settled by it: there is nothing
    to exchange. (Where layers compete for what is grown, a full layer loses weights. It is judged
    like any other, unless it wins exactly these back.) A layer with a structure that is not full
    grows nothing that could be judged and never settles, so with such a layer updates go on.
    """

    settings = SettlingSettings
    survival_after = 1

    def __init__(self, *, seed: int = 0, **settings: object) -> None:
        super().__init__(seed=seed, **settings)
        self._quiet: dict[str, int] = {}
        self._settled: list[str] = []
        self._change: dict[str, float] = {}

    def before_task(self, seen: Seen) -> Decision:
        """Nothing; every layer is open again."""
        self._quiet, self._settled, self._change = {}, [], {}
        return NOTHING

    def after_update(self, seen: Seen) -> Decision:
        """Layers that are settled by now, and the next interval; from the second update on."""
        lasting = {n: share * self._change.get(n, 0.0) for n, share in survived(seen).items()}
        self._change = dict(seen.mask_change)
        evidence_of = {name: "full; nothing to exchange" for name in self._full(seen)}
        self._settled += evidence_of
        for name, share in lasting.items():
            if name in self._settled:
                continue
            few = share < self.settings.lasting
            self._quiet[name] = self._quiet.get(name, 0) + 1 if few else 0
            if self._quiet[name] == self.settings.patience:
                self._settled.append(name)
                evidence_of[name] = f"{share:.4f} changed lastingly; at least {self._least()}"
        every, why = self._interval(seen)
        return Decision(
            settled=tuple(evidence_of), update_every=every, evidence=why, evidence_of=evidence_of
        )

    def memory(self) -> dict[str, Any]:
        """Of each layer: quiet updates in a row, whether it is settled, its last change."""
        return {
            "quiet": dict(self._quiet),
            "settled": list(self._settled),
            "change": dict(self._change),
        }

    def remember(self, memory: Mapping[str, Any]) -> None:
        """See `Controller.remember`."""
        self._quiet, self._change = dict(memory["quiet"]), dict(memory["change"])
        self._settled = list(memory["settled"])

    def _full(self, seen: Seen) -> list[str]:
        """Open layers without an inactive weight, in which the update changed nothing."""
        return [
            name
            for name, count in seen.active.items()
            if count == seen.sizes[name]
            and not seen.mask_change.get(name, 1.0)
            and name not in self._settled
        ]

    def _least(self) -> str:
        return f"{self.settings.lasting:g} in one of {self.settings.patience} updates"

    def _interval(self, seen: Seen) -> tuple[int | None, str]:
        """A longer one, and why, where too few of the grown weights survive."""
        pooled = seen.pooled_survival().values()
        grown = sum(number for _, number in pooled)
        if not grown or self.settings.longer == 1:
            return None, ""
        share = sum(share * number for share, number in pooled) / grown
        if share >= self.settings.survival:
            return None, ""
        longer = max(seen.update_every + 1, round(self.settings.longer * seen.update_every))
        least = self.settings.survival
        return longer, f"{share:.4f} of {grown} grown weights survived; at least {least:g}"


def survived(seen: Seen) -> dict[str, float]:
    """Of each layer, the share of what was grown, by whatever criterion, that survived."""
    shares = {}
    for layer, numbers in seen.grown.items():
        kept = sum(seen.survival[layer][name] * number for name, number in numbers.items())
        shares[layer] = kept / sum(numbers.values())
    return shares
