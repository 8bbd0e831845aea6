"""Control: random masks of which no two share a weight."""

from __future__ import annotations

from dstcl.continual.methods.base import Method, OpenTask
from dstcl.sparse import SparseTraining, select_top
from dstcl.sparse.masks import Masks, random_scores


class DisjointTraining(SparseTraining):
    """One task with a mask at random among free weights; fewer where no more are left."""

    def first_masks(self) -> Masks:
        """As many free weights of each layer as the budget has, or as are left."""
        masks = {}
        for name, frozen in self.frozen.items():
            scores = random_scores(frozen.shape, self.generator, self.device)
            left = int((~frozen).count_nonzero())
            masks[name] = select_top(scores, ~frozen, min(self.budget[name], left))
        return masks


class Disjoint(Method):
    """A sub-network per task with a random mask of its own: no choice, no sharing, no forgetting.

    What choosing and sharing do is the difference to methods that do either. ``density`` is what a
    task uses and adds, until nothing is left.
    """

    def training(self, task: OpenTask) -> SparseTraining:
        """See `Method.training`."""
        return DisjointTraining(task.network, task.optimizer, **self.common(task))
