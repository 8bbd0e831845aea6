"""Gradual magnitude pruning (Zhu and Gupta 2017)."""

from __future__ import annotations

from dstcl.continual.methods.base import Method, OpenTask
from dstcl.sparse import GradualMagnitudePruning, SparseTraining


class Gradual(Method):
    """A sub-network per task, found by pruning a dense one step by step."""

    reads = (
        "topology.update_every",
        "switches.free_weights",
        "switches.regrown_frozen",
        "switches.stop_at",
    )

    def training(self, task: OpenTask) -> SparseTraining:
        """See `Method.training`."""
        return GradualMagnitudePruning(
            task.network,
            task.optimizer,
            total_steps=task.steps,
            update_every=self.run.topology.update_every,
            stop_at=self.run.switches.stop_at,
            **self.common(task),
        )
