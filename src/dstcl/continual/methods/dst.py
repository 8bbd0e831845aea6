"""Dynamic sparse training: the paper's method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from dstcl.continual.controllers import ControlledTraining, controller_of
from dstcl.continual.growth_plan import Planned, growth_plan_of
from dstcl.continual.methods.base import Method, OpenTask
from dstcl.continual.published import CANDIDATES, PublishedSparseTraining
from dstcl.continual.scoring import Outputs
from dstcl.continual.subnets import SubnetStore
from dstcl.data.batches import Examples
from dstcl.plugins import is_plugin
from dstcl.sparse import (
    DynamicSparseTraining,
    SparseTraining,
    UpdateSchedule,
    check_criterion,
    growth_plan,
    prune_criterion,
)
from dstcl.study.controllers import SHARE
from dstcl.study.growths import growth_names
from dstcl.study.run import Run


class DynamicSparse(Method):
    """A sub-network per task, found by dynamic sparse training."""

    grows = True
    reads = (
        "topology",
        "switches.free_weights",
        "switches.regrown_frozen",
        "switches.mask_counts",
        "switches.candidates",
        "switches.stop_at",
    )
    kind: ClassVar[type[DynamicSparseTraining]] = DynamicSparseTraining

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.plan = growth_plan_of(run)
        self.controller = controller_of(run)
        self._controlled: ControlledTraining | None = None
        self._dense_shares: list[float] = []
        self._mean_counts: list[dict[str, float]] = []
        # Before hours are spent: criteria of a user's own are first used at the first update.
        if isinstance(self.plan, Planned):
            for name in filter(is_plugin, growth_names(run.growth)):
                check_criterion(name, "grow")
        if is_plugin(run.topology.prune):
            check_criterion(run.topology.prune, "prune")

    def training(self, task: OpenTask) -> SparseTraining:
        """See `Method.training`."""
        run = self.run
        published = run.switches.mask_counts == "bernoulli"
        kind = PublishedSparseTraining if published else self.kind
        how = self._how(task)
        if self.controller is None:
            return kind(task.network, task.optimizer, **how)
        self._controlled = ControlledTraining(
            task.network,
            task.optimizer,
            controller=self.controller,
            task=task.index,
            tasks=run.tasks,
            **how,
        )
        return self._controlled

    def _how(self, task: OpenTask) -> dict[str, Any]:
        run, topology = self.run, self.run.topology
        return dict(
            prune=topology.prune,
            grow=self.plan.of_task(task),
            switch_at=topology.switch_at,
            prune_rate=topology.prune_rate,
            floor=topology.prune_rate_floor,
            prune_schedule=topology.prune_schedule,
            update_every=topology.update_every,
            total_steps=task.steps,
            stop_at=run.switches.stop_at,
            candidates=CANDIDATES[run.switches.candidates],
            redistribute=topology.redistribute,
            **self.common(task),
        )

    def after_epoch(self, sparse: SparseTraining, row: Mapping[str, Any]) -> None:
        """See `Method.after_epoch`."""
        if self._controlled is not None:
            self._controlled.saw_epoch(row["validation_accuracy"])

    def remember(self, store: SubnetStore, examples: Examples, outputs: Outputs, task: int) -> None:
        """Take note of what the task took: dense gradients, and active weights over its steps."""
        if self._controlled is not None:
            self._dense_shares.append(self._controlled.dense_gradient_share())
            self._mean_counts.append(self._controlled.mean_counts())

    def decisions(self) -> list[dict[str, Any]]:
        """See `Method.decisions`."""
        return [] if self.controller is None else self.controller.rows

    def state_dict(self) -> dict[str, Any]:
        """The growths and all else that was decided on."""
        state: dict[str, Any] = {"growths": list(self.plan.by_task)}
        if self.controller is not None:
            state["controller"] = self.controller.state_dict()
            state["dense_shares"] = list(self._dense_shares)
            state["mean_counts"] = list(self._mean_counts)
        return state

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """See `Method.load_state_dict`."""
        self.plan.by_task = list(state["growths"])
        if self.controller is not None:
            self.controller.load_state_dict(state["controller"])
            self._dense_shares = list(state["dense_shares"])
            self._mean_counts = list(state["mean_counts"])

    def report(self) -> dict[str, Any]:
        """The growth that each task begins with, where the name of the growth alone does not say
        it."""
        by_task = self.plan.by_task[: self.run.learned]
        decided: list[dict[str, Any]] = [{} for _ in by_task]
        for row in self.decisions():
            if row["step"] == 0 and row["layer"] and row["what"].startswith(SHARE):
                decided[row["task"] - 1]["growth"] = "shares by layer"
            elif row["step"] == 0:
                decided[row["task"] - 1][row["what"]] = row["value"]
        for number, found in enumerate(decided):
            growth = found.get("growth", by_task[number])
            share = float(found.get("first_share", 0))
            mix = [
                f"{v:g} {n.removeprefix(SHARE)}" for n, v in found.items() if n.startswith(SHARE)
            ]
            if mix:
                growth = " and ".join(mix)
            elif share == 1:
                growth = found["first_pick"]
            elif share:
                growth = f"{growth} and {share:g} {found['first_pick']}"
            by_task[number] = growth
        fixed = by_task == [self.run.growth] * self.run.learned
        return {} if fixed else {"growth_by_task": by_task}

    def mean_counts(self, task: int) -> Mapping[str, float] | None:
        """See `Method.mean_counts`."""
        changes = self.controller is not None and self.controller.changes_density
        return self._mean_counts[task] if changes else None

    def dense_gradient_share(self, steps: int, task: int) -> float:
        """At every step where a criterion follows the gradient, else at updates that look at it."""
        run, topology = self.run, self.run.topology
        if self.controller is not None:
            return self._dense_shares[task]
        plan = growth_plan(self.plan.by_task[task], topology.switch_at)
        prune = prune_criterion(topology.prune)
        if plan.needs_momentum or prune.needs_momentum or topology.redistribute == "momentum":
            return 1.0
        every = topology.update_every
        schedule = UpdateSchedule(steps, every, stop_at=run.switches.stop_at)
        looking = [
            step
            for step in range(every, schedule.last_step + 1, every)
            if plan.at(step / steps).needs_gradient
            or prune.needs_gradient
            or topology.redistribute == "gradient"
        ]
        return len(looking) / steps
