"""One task of NISPA: phases, each followed by a choice of units and a rewiring."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import cos, pi
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dstcl.continual.methods.rewiring import drawn_like, most_active, outgoing_first, rows_of
from dstcl.continual.methods.units import (
    connections,
    gate_outputs,
    input_units,
    switch_off,
    unit_sites,
)
from dstcl.nested import copies
from dstcl.sparse import SparseTraining, select_top
from dstcl.sparse.optimizers import forget_moments

SMALLEST = 0.05
"""Share of the activation at which no further candidates are chosen; as in the public code."""


def annealed(phase: int, phases: int) -> float:
    """Share of a layer's activation that its candidates have: ``(1 + cos(pi p / k)) / 2``."""
    return 0.5 * (1 + cos(pi * phase / phases))


@dataclass(frozen=True)
class Before:
    """What a phase left, to go back to.

    Attributes:
        network: parameters and buffers.
        masks: by layer.
        units: those that were stable or candidates.
    """

    network: dict[str, Tensor]
    masks: dict[str, Tensor]
    units: dict[str, Tensor]


class NispaTraining(SparseTraining):
    """One task: phases of training, each followed by a choice of candidates and a rewiring.

    From the first choice on, what plastic units compute reaches nothing: connections into stable
    and candidate units are dropped, and their outputs are zero for the head and in sums with other
    layers'. After the last step the mask is every connection into a stable or candidate unit, so
    that the network that is kept needs no gates; `topology` has the others too.

    Args:
        stable: units of earlier tasks, by weight; empty for the first task.
        images: two of the task.
        total_steps, epochs: of the task.
        phases, accuracy_drop, grown: see `dstcl.continual.methods.nispa.NispaSettings`.
        **sparse: everything `SparseTraining` takes.

    Attributes:
        units: true for stable and candidate units, by weight; empty until the first choice.
        masses: sum of the positive outputs of each unit over the training images of an epoch.
        topology: masks of the whole network; empty until the task is closed.
        accuracy: in the last epoch of the last phase that ended.
    """

    # Masks of the tasks before lack the connections that these found no room for.
    density_beside_masks: ClassVar[bool] = True
    keeps_stored: ClassVar[bool] = True

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        stable: Mapping[str, Tensor],
        images: Tensor,
        total_steps: int,
        epochs: int,
        phases: int,
        accuracy_drop: float,
        grown: str,
        **sparse: Any,
    ) -> None:
        super().__init__(model, optimizer, **sparse)
        self.total_steps, self.phases = total_steps, phases
        self.accuracy_drop, self.grown = accuracy_drop, grown
        self.phase_steps = total_steps // epochs * max(1, epochs // phases)
        self.open, self.fixed, self.gated = True, False, True
        self.accuracy = self.best = 0.0
        self.units: dict[str, Tensor] = {}
        self.topology: dict[str, Tensor] = {}
        ends = {
            name: torch.zeros(w.shape[0], device=self.device) for name, w in self.weights.items()
        }
        self.stable = {name: stable.get(name, end.bool()) for name, end in ends.items()}
        self.masses = ends
        self.gates = {name: torch.ones_like(end) for name, end in ends.items()}
        self._model, self._images = model, images
        self._before: Before | None = None
        self._sites = unit_sites(model, self.weights)
        self._handles = [
            site.register_forward_hook(self._measuring(name)) for name, site in self._sites.items()
        ]
        self._handles += gate_outputs(self._sites, self.weights, self._gate)

    def settled(self) -> bool:
        """Whether the task is closed."""
        return not self.open

    def changes_masks(self, step: int) -> bool:
        """After the last step; the other changes follow epochs, not steps."""
        return step == self.total_steps

    @torch.no_grad()
    def saw_epoch(self, accuracy: float) -> None:
        """End the phase that ends with this epoch.

        Args:
            accuracy: of the task in the epoch.
        """
        if self.open and not self.fixed and self.steps % self.phase_steps == 0:
            self.accuracy = accuracy
            self._change_masks()
        for mass in self.masses.values():
            mass.zero_()

    def update_topology(self) -> None:
        """Close the task after its last step; before that, end a phase."""
        if self.steps == self.total_steps:
            self._close()
        else:
            self._end_phase()

    @contextmanager
    def without_gates(self) -> Iterator[None]:
        """The network of its weights alone."""
        self.gated = False
        try:
            yield
        finally:
            self.gated = True

    def state_dict(self) -> dict[str, Any]:
        """As `SparseTraining.state_dict`, with units and what there is to go back to."""
        before = self._before
        return super().state_dict() | {
            "open": self.open,
            "fixed": self.fixed,
            "best": self.best,
            "units": copies(self.units),
            "masses": copies(self.masses),
            "topology": copies(self.topology),
            "before": {key: copies(kept) for key, kept in vars(before).items()} if before else None,
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; load model and optimiser before this."""
        super().load_state_dict(state)
        self.fixed, self.best = state["fixed"], state["best"]
        self.topology = self._here(state["topology"])
        for name, mass in self.masses.items():
            mass.copy_(state["masses"][name])
        if state["units"]:
            self._set_units(self._here(state["units"]))
        if before := state["before"]:
            self._before = Before(**{name: self._here(kept) for name, kept in before.items()})
        if not state["open"]:
            self._forget_gates()

    def _here(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.to(self.device) for name, tensor in tensors.items()}

    def _end_phase(self) -> None:
        """Judge the last choice of candidates; make the next one, or none any more."""
        phase = self.steps // self.phase_steps
        if phase > 2 and self.accuracy < self.best - self.accuracy_drop:
            self._go_back()
            self.fixed = True
            return
        self.best = max(self.best, self.accuracy)
        share = annealed(phase, self.phases)
        if share <= SMALLEST:
            self.fixed, self._before = True, None
            return
        self._before = Before(
            copies(self._model.state_dict()),
            copies(self.masks),
            dict(self.units),
        )
        self._choose(share)

    def _go_back(self) -> None:
        """To what the phase before left, and to the candidates that it had."""
        before, self._before = self._before, None
        assert before is not None
        self._model.load_state_dict(before.network)
        for parameter in self._model.parameters():
            nothing = torch.zeros_like(parameter, dtype=torch.bool)
            forget_moments(self.optimizers, parameter, nothing)
        for name, mask in before.masks.items():
            self.set_mask(name, mask, int(mask.count_nonzero()))
        self._set_units(before.units)

    def _choose(self, share: float) -> None:
        """Make the most active units candidates; rewire what leads from plastic units to them."""
        self._set_units(
            {n: self.stable[n] | most_active(mass, share) for n, mass in self.masses.items()}
        )
        feeding = input_units(self._model, self.units, self.weights, self._images)
        for name, units in self.units.items():
            self._rewire(name, units, feeding[name])

    def _rewire(self, name: str, units: Tensor, inputs: Tensor) -> None:
        """Drop a layer's connections from plastic units into others; grow as many into plastic
        ones, from any unit, and what earlier phases found no room for.

        Args:
            name: of the layer.
            units: its stable and candidate units, bool (out,).
            inputs: which of its inputs such units feed, bool (in,).
        """
        weight, mask = self.weights[name], self.masks[name]
        kept = mask & ~connections(weight, units, ~inputs)
        room = rows_of(weight, ~units) & ~kept
        missing = self.budget[name] - int(kept.count_nonzero())
        count = min(missing, int(room.count_nonzero()))
        scores = outgoing_first(kept, room, ~inputs, self.generator)
        grown = select_top(scores, room, count)
        values = torch.zeros_like(weight)
        if self.grown == "normal":
            values = drawn_like(weight[kept], weight.shape, self.generator)
        self.set_mask(name, kept | grown, self.budget[name] - missing + count)
        weight.copy_(torch.where(grown, values, weight))

    def _close(self) -> None:
        """Keep the topology for the next task, and of it for this one what leads to its units."""
        if not self.units:  # a task of a single phase
            self._choose(annealed(1, self.phases))
        self.topology = copies(self.masks)
        for name, units in self.units.items():
            mask = self.masks[name] & rows_of(self.weights[name], units)
            self.set_mask(name, mask, int(mask.count_nonzero()))
        switch_off(self._sites, self._model, self.units)
        self._before = None
        self._forget_gates()

    def _set_units(self, units: dict[str, Tensor]) -> None:
        self.units = units
        for name, on in units.items():
            self.gates[name].copy_(on)

    def _forget_gates(self) -> None:
        self.open = False
        for handle in self._handles:
            handle.remove()

    def _gate(self, name: str, training: bool) -> Tensor | None:
        """One for stable and candidate units, zero for others; one for all before any choice."""
        return self.gates[name] if self.gated else None

    def _measuring(self, name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        """Adds up what ReLU would let through, before the gates."""
        linear = self.weights[name].dim() == 2

        def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
            if module.training:
                passed = output.detach().float().relu()
                by_unit = passed.flatten(0, -2) if linear else passed.transpose(0, 1).flatten(1).t()
                self.masses[name].add_(by_unit.sum(0))

        return note
