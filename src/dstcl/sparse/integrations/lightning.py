"""Lightning: sparse training as a callback.

from dstcl.sparse.integrations.lightning import SparseTrainingCallback

trainer = lightning.Trainer(callbacks=[SparseTrainingCallback(density=0.1, update_every=100)])
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import torch

from dstcl.sparse.dynamic import DynamicSparseTraining
from dstcl.sparse.integrations.common import (
    Training,
    begin_attached,
    prefixed,
    with_total_steps,
)
from dstcl.sparse.optimizers import all_gradients
from dstcl.sparse.training import SparseTraining

try:
    import lightning.pytorch as pl
    from lightning.pytorch.strategies import (
        DDPStrategy,
        DeepSpeedStrategy,
        SingleDeviceStrategy,
        SingleDeviceXLAStrategy,
    )
except ImportError as error:
    raise ImportError(f"lightning needed: pip install 'dstcl[lightning]' ({error})") from None

from dstcl.sparse.integrations.lightning_averages import mask_averages

ELSEWHERE = (
    "training ran in processes that have ended (ddp_spawn, ddp_fork, ddp_notebook), and the sparse "
    "state with them; the checkpoints of ModelCheckpoint have it, and strategy='ddp' keeps it"
)
"""Why a process that has only started others has the weights, and no training."""


class SparseTrainingCallback(pl.Callback):
    """Trains the module of a `lightning.Trainer` sparsely.

    The network becomes sparse when fitting begins, after ``configure_optimizers`` and before the
    sanity check. Steps are those of the optimiser, so accumulated batches count once. Clipping sees
    the gradients of active weights alone; in manual optimisation, where the module clips by itself,
    it calls ``callback.dst.mask_gradients()`` before. Averages of `WeightAveraging` (such as EMA)
    and `StochasticWeightAveraging` are masked when the module or a checkpoint gets them, in
    whichever order the callbacks are. The state is kept in the trainer's own checkpoints, and
    ``fit(ckpt_path=...)`` goes on bit for bit. A second ``fit`` of the same trainer and module
    keeps the masks.

    Args:
        training: the method: `DynamicSparseTraining`, `SparseTraining` or another such class.
        log_every: optimiser steps between two entries of `SparseTraining.log` in the trainer's
            loggers; None: the trainer's ``log_every_n_steps``; 0: none.
        settings: of the method, without model and optimiser; ``total_steps`` is what the trainer
            expects, unless given.

    Attributes:
        dst: the training, from the beginning of ``fit`` on; it stays when that has ended. None
            before. RuntimeError in a process that has only started others to train
            (``ddp_spawn``, ``ddp_fork``, ``ddp_notebook``): there it ends with these.

    Raises:
        ValueError: when fitting begins: as the method does; with parameters that are sharded
            (FSDP, DeepSpeed), several optimisers under a gradient scaler, no end to the training,
            or a checkpoint that was made without this callback.
    """

    def __init__(
        self,
        training: Training = DynamicSparseTraining,
        *,
        log_every: int | None = None,
        **settings: Any,
    ) -> None:
        self._training, self._settings, self._log_every = training, settings, log_every
        self._saved: dict[str, Any] | None = None
        self._fitted: tuple[Any, Any] | None = None
        self._logged = 0
        self._dst: SparseTraining | None = None
        self._begun = torch.zeros((), dtype=torch.bool).share_memory_()  # in any process

    @property
    def dst(self) -> SparseTraining | None:
        """See the attributes of the class."""
        if self._ended_elsewhere():
            raise RuntimeError(f"dst: {ELSEWHERE}")
        return self._dst

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """A state that was loaded for something else than this does not count."""
        self._saved = None
        mask_averages(trainer, partial(getattr, self, "_dst"))

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse a checkpoint of a training without this callback, to go on from."""
        if trainer.state.fn == "fit" and not checkpoint["callbacks"].get(self.state_key):
            raise ValueError(
                "ckpt_path: the checkpoint was made without SparseTrainingCallback; load its "
                "weights into the module and fit without ckpt_path"
            )

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Make the network sparse, or what it was when the checkpoint was made."""
        _refuse(trainer)
        if self._dst is not None:  # still attached if the last fit was interrupted
            self._dst.detach()
        saved = self._saved
        if saved is None and self._dst is not None and self._fitted == (trainer, pl_module):
            saved = self._dst.state_dict()
        settings = with_total_steps(
            self._training,
            self._settings,
            lambda: trainer.estimated_stepping_batches,
            "max_epochs or max_steps of the trainer",
        )
        resume = None if saved is None else partial(_go_on, saved)
        self._dst = begin_attached(self._training, pl_module, trainer.optimizers, settings, resume)
        self._begun.fill_(True)
        self._saved, self._fitted, self._logged = None, (trainer, pl_module), self._dst.steps

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Mask the gradients before they are clipped."""
        assert self._dst is not None
        scaler = _scaler(trainer)
        # Fused optimisers unscale by themselves, and Lightning clips nothing for them.
        late = scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False)
        if pl_module.automatic_optimization and not late and all_gradients(self._dst.optimizers):
            self._dst.mask_gradients(scaler)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Log, if it is time."""
        assert self._dst is not None
        every = trainer.log_every_n_steps if self._log_every is None else self._log_every
        if not trainer.loggers or not every or self._dst.steps - self._logged < every:
            return
        self._logged = self._dst.steps
        values = prefixed(self._dst.log())
        for logger in trainer.loggers:
            logger.log_metrics(values, step=self._dst.steps)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Let go of the optimisers."""
        if self._dst is not None:
            self._dst.detach()

    def state_dict(self) -> dict[str, Any]:
        """For the trainer's checkpoint."""
        if self._ended_elsewhere():
            warnings.warn(f"checkpoint without sparse state: {ELSEWHERE}", stacklevel=2)
        return {} if self._dst is None else self._dst.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the trainer's checkpoint; used when fitting begins."""
        self._saved = state_dict

    def _ended_elsewhere(self) -> bool:
        return self._dst is None and bool(self._begun)


def _go_on(saved: dict[str, Any], dst: SparseTraining) -> None:
    """From a state, and with its masks on weights that a module was given between two fits."""
    dst.load_state_dict(saved)
    dst.restore()


def _refuse(trainer: pl.Trainer) -> None:
    """What it cannot handle, in one line."""
    strategy = trainer.strategy
    whole = isinstance(strategy, SingleDeviceStrategy | DDPStrategy)
    if not whole or isinstance(strategy, DeepSpeedStrategy | SingleDeviceXLAStrategy):
        raise ValueError(
            f"strategy: {type(strategy).__name__} may shard parameters, and the largest entries of "
            "a weight cannot be chosen from a part of it; use one device or 'ddp'"
        )
    if len(trainer.optimizers) > 1 and _scaler(trainer) is not None:
        raise ValueError(
            "precision: a gradient scaler unscales one optimizer at a time, while growth looks at "
            "the gradients of all; use one optimizer, or precision='bf16-mixed'"
        )


def _scaler(trainer: pl.Trainer) -> torch.amp.GradScaler | None:
    return getattr(trainer.precision_plugin, "scaler", None)
