"""Static sparse training: the mask drawn at a task's start is kept."""

from __future__ import annotations

from dstcl.continual.methods.base import Method, OpenTask
from dstcl.sparse import SparseTraining


class Static(Method):
    """A sub-network per task with the mask drawn at its start."""

    def training(self, task: OpenTask) -> SparseTraining:
        """See `Method.training`."""
        return SparseTraining(task.network, task.optimizer, **self.common(task))
