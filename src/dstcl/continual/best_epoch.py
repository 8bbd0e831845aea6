"""Which epoch of a task is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from dstcl.sparse import SparseTraining


class BestEpoch:
    """The epoch with the highest score, the first of equals.

    The paper's code takes the running accuracy in training (docs/published-code.md, c8).
    """

    def __init__(self) -> None:
        self._score = -1.0
        self._network: dict[str, Tensor] = {}
        self._masks: dict[str, Tensor] = {}

    def offer(self, score: float, network: nn.Module, sparse: SparseTraining) -> None:
        """Keep this epoch if it is strictly better."""
        if score > self._score:
            self._score = score
            self._network = {n: t.clone() for n, t in network.state_dict().items()}
            self._masks = {n: mask.clone() for n, mask in sparse.masks.items()}

    def restore(self, network: nn.Module, sparse: SparseTraining) -> None:
        """Go back to the kept epoch."""
        network.load_state_dict(self._network)
        for name, mask in self._masks.items():
            sparse.masks[name].copy_(mask)

    def state_dict(self) -> dict[str, Any]:
        """The kept epoch."""
        return {"score": self._score, "network": self._network, "masks": self._masks}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._score = state["score"]
        self._network, self._masks = dict(state["network"]), dict(state["masks"])
