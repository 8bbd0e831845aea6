"""Winning subnetworks: weights and their scores are learned together (Kang et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from dstcl.continual.methods.base import Method, OpenTask
from dstcl.continual.methods.scores import ScoredTraining
from dstcl.continual.scoring import Outputs
from dstcl.continual.subnets import SubnetStore
from dstcl.data.batches import Examples
from dstcl.nested import copies
from dstcl.sparse import SparseTraining
from dstcl.study.fields import Settings
from dstcl.study.run import Run


@dataclass(frozen=True, kw_only=True)
class WsnSettings(Settings):
    """Settings of winning subnetworks."""

    scores: Literal["kept", "fresh"] = "kept"
    """Whether a task goes on with the scores that the last one left, as in algorithm 1 of the
    paper and its public code, or begins with fresh ones."""


class WinningSubnetworks(Method):
    """A sub-network per task: the weights with the highest scores (Kang et al. 2022).

    Algorithm 1: in each step a task's mask ``m`` is the top c % of each layer by score; weights
    learn by ``dL/dw * (1 - M)``, where ``M`` is the union of earlier tasks' masks, and scores by
    the straight-through gradient (equations 4 and 5). So a task may use what earlier ones use and
    changes nothing of it. ``density`` is c; with ``init: uniform`` it is that of every layer, as in
    the paper. Scores are compared by size, as in the public code.
    """

    reads = ("switches.free_weights",)
    trains = ("weights", "scores")
    settings = WsnSettings

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._scores: dict[str, Tensor] = {}
        self._open: ScoredTraining | None = None

    def training(self, task: OpenTask) -> SparseTraining:
        """See `Method.training`."""
        kept = self._scores if self.settings.scores == "kept" else {}
        self._open = ScoredTraining(
            task.network,
            task.optimizer,
            scores=kept or None,
            frozen=task.store.frozen(),
            **self.drawn(task),
        )
        return self._open

    def remember(self, store: SubnetStore, examples: Examples, outputs: Outputs, task: int) -> None:
        """Keep the scores for the next task."""
        assert self._open is not None
        self._scores = copies(self._open.scores)

    def dense_gradient_share(self, steps: int, task: int) -> float:
        """Every score has a gradient in every step."""
        return 1.0

    def state_dict(self) -> dict[str, Any]:
        """The scores that the last finished task left."""
        return {"scores": copies(self._scores)}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Restore what `state_dict` returned."""
        self._scores = {name: score.to(device) for name, score in state["scores"].items()}
