"""Methods of continual learning: what a task trains, and what the next one finds.

Every method runs in the same loop (`dstcl.continual.learner`) with the same images, epochs and
optimiser. To add one, write a class and register it in `METHODS` and in
`dstcl.study.presets.Method`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dstcl.continual.methods.ewc import EwcMemory, EwcTraining, diagonal_fisher
from dstcl.continual.methods.packnet import PackNetTraining
from dstcl.continual.published import PublishedSparseTraining
from dstcl.continual.scoring import Outputs
from dstcl.continual.subnets import SeparateStore, SequentialStore, SubnetStore
from dstcl.data.batches import Examples, evaluation_batches
from dstcl.seeds import generator
from dstcl.sparse import (
    DynamicSparseTraining,
    GradualMagnitudePruning,
    SparseTraining,
    maskable_weights,
)
from dstcl.study.run import Run


@dataclass(frozen=True)
class OpenTask:
    """A task that is about to be trained.

    Attributes:
        network: holds what earlier tasks left.
        optimizer: fresh, over all its parameters.
        store: of the sub-networks.
        index: of the task, from 0.
        steps: optimiser steps that will be made.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    store: SubnetStore
    index: int
    steps: int


class Method:
    """A sub-network for each task with the mask drawn at its start: static sparse training.

    Attributes:
        store: what holds the network between tasks.
        joint: all tasks are learned at once.
        keeps_tasks: later tasks never change what a finished one computes.
    """

    store: type[SubnetStore] = SubnetStore
    joint = False
    keeps_tasks = True

    def __init__(self, run: Run) -> None:
        self.run = run

    def training(self, task: OpenTask) -> SparseTraining:
        """The optimiser-side step for a task."""
        return SparseTraining(task.network, task.optimizer, **self._common(task))

    def remember(self, store: SubnetStore, examples: Examples, outputs: Outputs, task: int) -> None:
        """Look at a finished task once more; nothing to remember unless a method says so."""

    def state_dict(self) -> dict[str, Any]:
        """What `remember` keeps."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Restore what `state_dict` returned."""

    def _common(self, task: OpenTask) -> dict[str, Any]:
        run = self.run
        return {
            "density": run.density,
            "init": run.init,
            "frozen": task.store.frozen(),
            "regrown": run.regrown_frozen,
            "exclude": task.store.unmasked,
            "generator": generator(run.seed, "masks", task.index),
        }


class DynamicSparse(Method):
    """A sub-network for each task, found by dynamic sparse training: the paper's method."""

    def training(self, task: OpenTask) -> SparseTraining:
        """See `Method.training`."""
        run = self.run
        published = run.mask_counts == "bernoulli"
        kind = PublishedSparseTraining if published else DynamicSparseTraining
        return kind(
            task.network,
            task.optimizer,
            prune=run.prune,
            grow=run.growth,
            switch_at=run.switch_at,
            prune_rate=run.prune_rate,
            floor=run.prune_rate_floor,
            prune_schedule=run.prune_schedule,
            update_every=run.update_every,
            total_steps=task.steps,
            stop_at=run.stop_at,
            candidates=run.candidates,
            redistribute=run.redistribute,
            **self._common(task),
        )


class Gradual(Method):
    """A sub-network for each task, found by pruning a dense one step by step."""

    def training(self, task: OpenTask) -> SparseTraining:
        """See `Method.training`."""
        return GradualMagnitudePruning(
            task.network,
            task.optimizer,
            total_steps=task.steps,
            update_every=self.run.update_every,
            stop_at=self.run.stop_at,
            **self._common(task),
        )


class PackNet(Method):
    """A sub-network for each task on top of all earlier ones (Mallya and Lazebnik 2018)."""

    def training(self, task: OpenTask) -> SparseTraining:
        """See `Method.training`."""
        return PackNetTraining(
            task.network, task.optimizer, total_steps=task.steps, **self._common(task)
        )


class Dense(Method):
    """Every weight active; the base of methods without sub-networks."""

    def training(self, task: OpenTask) -> SparseTraining:
        """See `Method.training`."""
        return SparseTraining(task.network, task.optimizer, **self._dense(task))

    def _dense(self, task: OpenTask) -> dict[str, Any]:
        return {"density": 1.0, "init": "uniform", "exclude": task.store.unmasked}


class FineTuning(Dense):
    """One dense network goes from task to task and forgets: the lower bound."""

    store = SequentialStore
    keeps_tasks = False


class Joint(Dense):
    """One dense network learns all tasks at once: the bound without a sequence."""

    joint = True


class Separate(Dense):
    """A dense network for each task: no sharing and no forgetting, at T times the memory."""

    store = SeparateStore


class Ewc(FineTuning):
    """Fine-tuning with elastic weight consolidation (Kirkpatrick et al. 2017)."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._memory = EwcMemory(run.ewc_strength)

    def training(self, task: OpenTask) -> SparseTraining:
        """See `Method.training`."""
        return EwcTraining(task.network, task.optimizer, memory=self._memory, **self._dense(task))

    def remember(self, store: SubnetStore, examples: Examples, outputs: Outputs, task: int) -> None:
        """Measure how much each weight matters to the finished task."""
        draws = generator(self.run.seed, "fisher", task)
        weights = maskable_weights(store.network, store.unmasked)
        batches = evaluation_batches(examples, self.run.batch_size, shuffle=True, generator=draws)
        fisher = diagonal_fisher(store.network, weights, batches, outputs, draws)
        self._memory.add(weights, fisher)

    def state_dict(self) -> dict[str, Any]:
        """The penalties of finished tasks."""
        return self._memory.state_dict()

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Restore what `state_dict` returned."""
        self._memory.load_state_dict(state, device)


METHODS: dict[str, type[Method]] = {
    "dst": DynamicSparse,
    "static": Method,
    "gradual": Gradual,
    "packnet": PackNet,
    "finetune": FineTuning,
    "ewc": Ewc,
    "separate": Separate,
    "joint": Joint,
}
