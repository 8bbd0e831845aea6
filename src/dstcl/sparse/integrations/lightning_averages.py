"""Lightning's averages of weights, masked wherever the module or a checkpoint gets one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from dstcl.sparse.training import SparseTraining

AVERAGING = tuple(
    getattr(pl.callbacks, name)
    for name in ("WeightAveraging", "StochasticWeightAveraging")
    if hasattr(pl.callbacks, name)  # older versions lack one
)
"""Callbacks that average over steps with different masks, of which the average is denser."""

UNMASKED = "sparse_training_unmasked_average"
"""In a checkpoint: the average's weights as they are without masks, to go on from."""


def mask_averages(trainer: pl.Trainer, training: Callable[[], SparseTraining | None]) -> None:
    """Mask averages where they are used, and nowhere else: averaging goes on without masks.

    What follows an averaging callback must be called after it, and what precedes it before, in
    whichever order the user's callbacks are. So two callbacks enclose them.

    Args:
        trainer: gets the two callbacks if any of its own averages weights.
        training: the one of now, once fitting has begun.
    """
    others = [c for c in trainer.callbacks if not isinstance(c, _Before | _After)]
    if not any(isinstance(callback, AVERAGING) for callback in others):
        return
    last = [c for c in others if isinstance(c, pl.callbacks.Checkpoint)]  # as Lightning sorts them
    first = [c for c in others if c not in last]
    before = _Before()
    # A new list, as the trainer may be iterating over the old one.
    trainer.callbacks = [before, *first, _After(training, before), *last]


class _Before(pl.Callback):
    """Gives averaging callbacks the average as it was before it was masked."""

    def __init__(self) -> None:
        self.unmasked: list[tuple[Tensor, Tensor]] = []
        """Weights of the module, with what they were."""

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for weight, value in self.unmasked:
            weight.copy_(value)
        self.unmasked = []

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn == "fit":
            checkpoint["state_dict"] |= checkpoint.get(UNMASKED, {})


class _After(pl.Callback):
    """Masks what averaging callbacks have put into the module or a checkpoint."""

    def __init__(self, training: Callable[[], SparseTraining | None], before: _Before) -> None:
        self._training, self._before = training, before

    def on_validation_epoch_start(self, *_: Any) -> None:
        if (dst := self._training()) is not None:
            self._before.unmasked = [(w, w.detach().clone()) for w in dst.weights.values()]
            dst.restore()

    def on_train_epoch_start(self, *_: Any) -> None:
        """Statistics of batch norm are taken with the average, in an epoch after the last."""
        self._restore()

    def on_train_end(self, *_: Any) -> None:
        self._restore()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if (dst := self._training()) is None:
            return
        saved = checkpoint["state_dict"]
        masks = dst.masks | {alias: dst.masks[name] for alias, name in dst.selection.shared.items()}
        masked = {
            name: saved[name].masked_fill(~mask.to(saved[name].device), 0)
            for name, mask in masks.items()
            if name in saved
        }
        changed = [name for name, value in masked.items() if not torch.equal(value, saved[name])]
        if changed:
            checkpoint[UNMASKED] = {name: saved[name] for name in changed}
            checkpoint["state_dict"] = {**saved, **{name: masked[name] for name in changed}}

    def _restore(self) -> None:
        if (dst := self._training()) is not None:
            dst.restore()
