"""What every method is made of."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dstcl.continual.scoring import Outputs
from dstcl.continual.subnets import SubnetStore
from dstcl.data.batches import Examples
from dstcl.seeds import generator
from dstcl.sparse import SparseTraining
from dstcl.study.fields import Settings
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
        images: two of its training images, normalised, (2, C, S, S).
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    store: SubnetStore
    index: int
    steps: int
    images: Tensor


class Method:
    """A sub-network per task over one dense store; a subclass says how it is trained.

    The facts below are read from the text of the file when a study is planned
    (`dstcl.study.methods`), so a subclass writes them as literals.

    Args:
        run: settings; ``self.settings`` are the method's own.

    Attributes:
        dense: every weight is active; density, init and growth then mean nothing.
        grows: the method has a growth criterion, an axis of the study.
        joint: all tasks are learned at once.
        keeps_tasks: later tasks never change what a finished one computes.
        own_networks: each task keeps a whole network of its own.
        one_budget: tasks use parts of one mask, so that the density is that of the whole sequence.
        nested: a task uses all that earlier ones use, and adds to it what density says.
        one_mask: all tasks have the mask that the last one left.
        reads: keys of the topology, and of those switches that only some methods read, which change
            what it does; ``"topology"`` stands for the whole section. A setting that is not named
            here is no part of the digest of the method's runs.
        keeps: what a task leaves that a finished sequence needs, for the estimate of memory:
            ``"weights"`` (those that some task uses), ``"masks"`` (a bit per weight and task),
            ``"units"`` (a bit per output of a layer and task).
        trains: what the optimiser holds for a task: ``"weights"``, ``"scores"`` (one per weight),
            ``"units"`` (one number per output of a layer).
        settings: class of its own settings (a frozen dataclass, subclass of
            `dstcl.study.fields.Settings`), on an object the settings themselves; None without any.
        store: what holds the network between tasks.
    """

    dense: ClassVar[bool] = False
    grows: ClassVar[bool] = False
    joint: ClassVar[bool] = False
    keeps_tasks: ClassVar[bool] = True
    own_networks: ClassVar[bool] = False
    nested: ClassVar[bool] = False
    one_budget: ClassVar[bool] = False
    one_mask: ClassVar[bool] = False
    reads: ClassVar[tuple[str, ...]] = ("switches.free_weights", "switches.regrown_frozen")
    keeps: ClassVar[tuple[str, ...]] = ("weights", "masks")
    trains: ClassVar[tuple[str, ...]] = ("weights",)
    settings: Any = None
    store: type[SubnetStore] = SubnetStore

    def __init__(self, run: Run) -> None:
        self.run = run
        kind = type(self).settings
        if isinstance(kind, type) and issubclass(kind, Settings):
            self.settings = kind(**run.method_source.settings)

    def training(self, task: OpenTask) -> SparseTraining:
        """The optimiser-side step for a task."""
        raise NotImplementedError

    def remember(self, store: SubnetStore, examples: Examples, outputs: Outputs, task: int) -> None:
        """Look at a finished task once more; nothing to remember unless a method says so."""

    def after_epoch(self, sparse: SparseTraining, row: Mapping[str, Any]) -> None:
        """Look at an epoch's row of history; nothing to see in it unless a method says so."""

    def decisions(self) -> list[dict[str, Any]]:
        """What a controller decided so far, as rows of decisions.csv; none without one."""
        return []

    def dense_gradient_share(self, steps: int, task: int) -> float:
        """Share of the steps of a task (from 0, learned by now) whose weight gradient must be
        dense, for the count of FLOPs."""
        return 0.0

    def mean_counts(self, task: int) -> Mapping[str, float] | None:
        """Active weights of each layer, mean over the steps of a task (from 0, learned by now), for
        the count of FLOPs; None where the density after each epoch says it."""
        return None

    def aside(self) -> AbstractContextManager[None]:
        """While a finished task is looked at in the middle of another's training: the network must
        compute what its weights say. Nothing to do unless a method changes more than weights."""
        return nullcontext()

    def report(self) -> dict[str, Any]:
        """What metrics.json says of a finished run besides; nothing unless a method has more."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What `remember` keeps."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Restore what `state_dict` returned."""

    def common(self, task: OpenTask) -> dict[str, Any]:
        """Arguments that every sparse training of the core takes."""
        return self.drawn(task) | {
            "frozen": task.store.frozen(),
            "regrown": self.run.switches.regrown_frozen,
        }

    def drawn(self, task: OpenTask) -> dict[str, Any]:
        """Those of `common` that say how many weights are drawn, and by what chance."""
        run = self.run
        return {
            "density": run.density,
            "init": run.init,
            "exclude": task.store.unmasked,
            "generator": generator(run.seed, "masks", task.index),
        }


class Dense(Method):
    """Every weight active; the base of methods without sub-networks."""

    dense = True
    reads = ()
    keeps = ("weights",)

    def training(self, task: OpenTask) -> SparseTraining:
        """See `Method.training`."""
        return SparseTraining(task.network, task.optimizer, **self.common(task))

    def common(self, task: OpenTask) -> dict[str, Any]:
        """See `Method.common`."""
        return {
            "density": 1.0,
            "init": "uniform",
            "frozen": {},
            "exclude": task.store.unmasked,
            "generator": generator(self.run.seed, "masks", task.index),
        }
