"""Transformers: sparse training as a callback of `Trainer`.

from dstcl.sparse.integrations.transformers import SparseTrainingCallback

trainer.add_callback(SparseTrainingCallback(trainer, density=0.1, update_every=100))
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from torch import nn

from dstcl.sparse.dynamic import DynamicSparseTraining
from dstcl.sparse.integrations.accelerate import mask_before_clipping, refuse
from dstcl.sparse.integrations.common import (
    Training,
    begin_attached,
    plain,
    prefixed,
    with_total_steps,
    without_densities,
)
from dstcl.sparse.training import SparseTraining

try:
    from transformers import Trainer, TrainerCallback
    from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint
except ImportError as error:
    raise ImportError(f"transformers needed: pip install 'dstcl[transformers]' ({error})") from None

FILE = "sparse_training.safetensors"
"""In a checkpoint's folder: the state of the training."""


class SparseTrainingCallback(TrainerCallback):
    """Trains the model of a `transformers.Trainer` sparsely.

    The network becomes sparse when training begins. Steps are those of the optimiser, so
    accumulated batches count once; clipping, which is on unless ``max_grad_norm`` is 0, sees the
    gradients of active weights alone. Every checkpoint has the state as a file of its own, and
    ``train(resume_from_checkpoint=...)`` goes on bit for bit. A second ``train`` begins with the
    masks of the first. With ``load_best_model_at_end`` the masks are those of the best model, too;
    if its checkpoint has no state that fits, they stay those of the last step, and a warning says
    so. In a hyperparameter search every trial begins anew, in its own folder.
    Whenever the trainer logs its loss, `SparseTraining.log` follows.

    Args:
        trainer: to which it is added; its ``train``, and ``unscale_gradients`` and ``backward`` of
            its accelerator, are wrapped, as no event of a callback has the checkpoint or comes
            before clipping.
        training: the method: `DynamicSparseTraining`, `SparseTraining` or another such class.
        settings: of the method, without model and optimiser; ``total_steps`` is what the trainer
            says, unless given.

    Attributes:
        dst: the training, from the beginning of ``train`` on; it stays when that has ended.

    Raises:
        ValueError: when training begins: as the method does; with parameters that are sharded
            (FSDP, DeepSpeed), or a checkpoint that was made without this callback.
    """

    dst: SparseTraining | None = None

    def __init__(
        self, trainer: Trainer, training: Training = DynamicSparseTraining, **settings: Any
    ) -> None:
        self._trainer, self._training, self._settings = trainer, training, settings
        self._resume_from: str | bool | None = None
        self._trial: Any = None
        self._undo: Callable[[], None] | None = None
        train = trainer.train

        @wraps(train)
        def noting(
            resume_from_checkpoint: Any = None, trial: Any = None, *args: Any, **kwargs: Any
        ) -> Any:
            self._resume_from, self._trial = resume_from_checkpoint, trial
            return train(resume_from_checkpoint, trial, *args, **kwargs)

        trainer.train = noting

    def on_train_begin(
        self,
        args: Any,
        state: Any,
        control: Any,
        model: Any = None,
        optimizer: Any = None,
        **_: Any,
    ) -> None:
        """Make the network sparse, or what it was when the checkpoint was made."""
        if self not in self._trainer.callback_handler.callbacks:
            raise ValueError("SparseTrainingCallback: added to another trainer than it was made of")
        self._let_go()
        accelerator = self._trainer.accelerator
        refuse(accelerator, 1)
        model = accelerator.unwrap_model(model, keep_torch_compile=False)
        settings = with_total_steps(
            self._training, self._again(model), lambda: state.max_steps, "max_steps"
        )
        resume = self._resume(args)
        self.dst = begin_attached(self._training, model, [plain(optimizer)], settings, resume)
        self._undo = mask_before_clipping(accelerator, self.dst)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        """Log, where the trainer has logged its loss."""
        if self.dst is not None and logs and "loss" in logs:
            self._trainer.log(prefixed(self.dst.log()))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Add the state to the checkpoint that was written."""
        if self.dst is not None and args.should_save:
            folder = self._trainer._get_output_dir(trial=self._trial)
            self.dst.save(Path(folder, f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}", FILE))

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Let go of the optimiser; masks are those of the weights that the trainer has kept."""
        self._let_go()
        best = state.best_model_checkpoint
        if self.dst is None or not args.load_best_model_at_end or not best:
            return
        try:
            self.dst.load(Path(best, FILE))
        except ValueError as error:  # hours of training are not lost over this
            warnings.warn(
                f"{error}; the weights are those of the best model, but the masks are those of the "
                "last step",
                stacklevel=2,
            )

    def _again(self, model: nn.Module) -> dict[str, Any]:
        """Settings with the masks of the training before, if it was of the same model."""
        if self.dst is None or self.dst.model is not model:
            return self._settings
        settings = {**self._settings, "masks": self.dst.masks}
        return settings if self.dst.density_beside_masks else without_densities(settings)

    def _resume(self, args: Any) -> Callable[[SparseTraining], None] | None:
        folder = self._resume_from
        if folder is True:
            folder = get_last_checkpoint(args.output_dir)
        if not folder:
            return None
        path = Path(folder, FILE)
        if not path.exists():
            raise ValueError(
                f"{path}: no such file; the checkpoint was made without SparseTrainingCallback. "
                "Load its weights into the model and train without resume_from_checkpoint"
            )
        return lambda dst: dst.load(path)

    def _let_go(self) -> None:
        if self._undo is not None:
            self._undo()
            self._undo = None
        if self.dst is not None:
            self.dst.detach()
