"""NISPA: units become stable by their activation, connections are rewired (Gurbuz and Dovrolis
2022)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from dstcl.continual.methods.base import Method, OpenTask
from dstcl.continual.methods.phases import NispaTraining
from dstcl.continual.methods.rewiring import draw_anew
from dstcl.continual.methods.units import refuse_shared_numbers
from dstcl.continual.scoring import Outputs
from dstcl.continual.subnets import SubnetStore
from dstcl.data.batches import Examples
from dstcl.nested import copies
from dstcl.sparse import SparseTraining, maskable_weights
from dstcl.study.fields import Between, Fraction, Settings
from dstcl.study.run import Run


@dataclass(frozen=True, kw_only=True)
class NispaSettings(Settings):
    """Settings of NISPA."""

    phases: Annotated[int, Between(ge=2)] = 10
    """Into which a task's epochs are cut (an epoch is the shortest one), and the phase at which the
    share of activation would be zero: k of the cosine, 30 in the public code."""
    accuracy_drop: Fraction = 0.0075
    """By how much accuracy may fall below the task's best before candidates are taken back: a_f,
    0.0075 or 0.025 in the public code."""
    grown: Literal["normal", "zero"] = "normal"
    """Value of a new connection: drawn with mean and deviation of the layer's connections, or
    zero."""


class Nispa(Method):
    """One sparse network whose units become stable, task by task (Gurbuz and Dovrolis 2022).

    A phase of a task ends with a choice: in each layer the units with most activation on the task,
    so many that they have the share ``tau = (1 + cos(pi p / k)) / 2`` of it, are candidates beside
    the units that are stable. Connections from plastic units to these are dropped, and as many are
    grown at random into plastic units, so that the density stays. When accuracy falls by more than
    a_f below its best, the last choice is taken back, and there is no other. At the task's end
    candidates become stable: connections into stable units are frozen, all others drawn anew for
    the next task. ``density`` is that of the whole sequence.
    """

    reads = ()
    one_budget = True
    settings = NispaSettings

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        refuse_shared_numbers(run, "nispa")
        self._stable: dict[str, Tensor] = {}
        self._topology: dict[str, Tensor] = {}
        self._open: NispaTraining | None = None

    def training(self, task: OpenTask) -> SparseTraining:
        """See `Method.training`."""
        drawn = self.drawn(task)
        frozen = task.store.frozen()
        if frozen:
            weights = maskable_weights(task.network, task.store.unmasked)
            draw_anew(weights, frozen, drawn["generator"])
        self._open = NispaTraining(
            task.network,
            task.optimizer,
            stable=self._stable,
            images=task.images,
            total_steps=task.steps,
            epochs=self.run.training.epochs,
            phases=self.settings.phases,
            accuracy_drop=self.settings.accuracy_drop,
            grown=self.settings.grown,
            frozen=frozen,
            masks=self._topology or None,
            **drawn,
        )
        return self._open

    def after_epoch(self, sparse: SparseTraining, row: Mapping[str, Any]) -> None:
        """Judge by validation images where there are some, else by the training of the epoch."""
        assert self._open is not None
        validated = row["validation_accuracy"]
        self._open.saw_epoch(row["accuracy"] if validated is None else validated)

    def remember(self, store: SubnetStore, examples: Examples, outputs: Outputs, task: int) -> None:
        """Keep the task's units, and the network for the next one."""
        assert self._open is not None
        self._stable, self._topology = self._open.units, self._open.topology

    @contextmanager
    def aside(self) -> Iterator[None]:
        """See `Method.aside`."""
        with self._open.without_gates() if self._open else nullcontext():
            yield

    def state_dict(self) -> dict[str, Any]:
        """Stable units, and masks of the whole network."""
        kept = {"stable": self._stable, "topology": self._topology}
        return {key: copies(tensors) for key, tensors in kept.items()}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Restore what `state_dict` returned."""
        self._stable, self._topology = (
            {name: tensor.to(device) for name, tensor in state[key].items()}
            for key in ("stable", "topology")
        )
