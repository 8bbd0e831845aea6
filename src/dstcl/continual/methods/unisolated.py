"""Control: dynamic sparse training whose tasks are not kept apart."""

from __future__ import annotations

from typing import Any, ClassVar

from dstcl.continual.methods.base import OpenTask
from dstcl.continual.methods.dst import DynamicSparse
from dstcl.continual.subnets import SequentialStore, Subnet
from dstcl.sparse import DynamicSparseTraining, SparseTraining


class OneSparseStore(SequentialStore):
    """One sparse network that goes from task to task: all have the mask that the last one left."""

    def close_task(self, trained: SparseTraining) -> None:
        """Keep weights and mask as the task left them, for the earlier tasks too."""
        super().close_task(trained)
        last = self.subnets[-1].masks
        self.subnets = [Subnet(last, subnet.local) for subnet in self.subnets]


class Continued(DynamicSparseTraining):
    """Goes on with masks whose counts may have moved since they were drawn: from layer to layer, or
    as outputs were ablated."""

    density_beside_masks: ClassVar[bool] = True


class Unisolated(DynamicSparse):
    """RigL, or DST with another growth, over a sequence: nothing is frozen, so tasks forget.

    Evci et al. 2020 as it is, with a fresh optimiser and schedule for each task; topology and
    weights go on where the last task left them. What isolation does is the difference to ``dst``.
    ``density`` is what a task may use, and what the sequence uses.
    """

    keeps_tasks = False
    one_mask = True
    store = OneSparseStore
    kind = Continued

    def common(self, task: OpenTask) -> dict[str, Any]:
        """See `Method.common`; from the second task on with the mask that is there."""
        finished = task.store.subnets
        return super().common(task) | {"masks": finished[-1].masks if finished else None}
