"""What a user's script does that trains in several processes; `test_integrations_ranks.py` starts
it with the launcher of each framework.

    ... training_in_ranks.py lightning|transformers|accelerate FOLDER

Trains eight steps, then the last of them once more from a checkpoint, and writes what there is.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from plain_loops import adam, examples, loss_of, network, settings
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from dstcl.sparse import SparseTraining

RANKS, EPOCHS, BATCHES, SIZE = 2, 2, 4, 2
"""A batch of two in each of two processes is one of the plain loop."""


def own_settings(rank: int) -> dict[str, Any]:
    """Other draws in each process."""
    return settings(generator=torch.Generator().manual_seed(50 + rank))


def other_weights(model: nn.Module, rank: int) -> None:
    """Other weights than those of rank 0."""
    for weight in model.parameters():
        weight.data.add_(rank)


def kept(dst: SparseTraining) -> dict[str, Any]:
    return {
        "masks": list(dst.masks.values()),
        "explored": list(dst.explored.values()),
        "weights": [w.detach().clone() for w in dst.weights.values()],
        "parameters": [p.detach().clone() for p in dst.model.parameters()],
        "steps": dst.steps,
    }


def in_lightning(rank: int, folder: Path) -> list[SparseTraining]:
    import lightning.pytorch as pl
    from in_lightning import Module, trainer

    from dstcl.sparse.integrations.lightning import SparseTrainingCallback

    data = TensorDataset(*examples(BATCHES))
    in_order = DistributedSampler(data, RANKS, rank, shuffle=False)  # Lightning's own shuffles
    found = []
    for again in (None, folder / "epoch=0.ckpt"):
        save = pl.callbacks.ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1)
        callback = SparseTrainingCallback(**own_settings(rank))
        module = Module()
        other_weights(module, rank)
        trainer(
            [callback, save], devices=RANKS, strategy="ddp", max_epochs=EPOCHS,
            enable_checkpointing=True,
        ).fit(module, DataLoader(data, SIZE, sampler=in_order), ckpt_path=again)  # fmt: skip
        found.append(callback.dst)
    return found


def in_transformers(rank: int, folder: Path) -> list[SparseTraining]:
    from in_transformers import Model, sparse, trainer
    from transformers import TrainerCallback

    class Late(TrainerCallback):
        """Rank 0 writes its states late, and the other must wait for the last."""

        def on_save(self, *_: Any, **__: Any) -> None:
            time.sleep(0.5 if rank == 0 else 0)

    common: dict[str, Any] = {
        "per_device_train_batch_size": SIZE, "num_train_epochs": EPOCHS, "ddp_backend": "gloo",
        "save_strategy": "steps", "save_steps": 2,
    }  # fmt: skip
    # The last checkpoint is the best one.
    best: dict[str, Any] = {
        "load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 2,
        "metric_for_best_model": "step", "greater_is_better": True,
    }  # fmt: skip
    found = []
    for again, more in ((None, best), (str(folder / "checkpoint-4"), {})):
        model = Model()
        other_weights(model, rank)
        used = trainer(folder, BATCHES, model, **(common | more))
        used.compute_metrics = lambda _, used=used: {"step": used.state.global_step}
        used.add_callback(Late())
        callback = sparse(used, **own_settings(rank))
        used.train(resume_from_checkpoint=again)
        found.append(callback.dst)
    return found


def in_accelerate(rank: int, folder: Path) -> list[SparseTraining]:
    from accelerate import Accelerator

    from dstcl.sparse.integrations.accelerate import sparse_training

    def learn(begin: int, end: int) -> None:
        for _ in range(begin, end):
            for inputs, labels in loader:
                accelerator.backward(loss_of(model, inputs, labels))
                optimizer.step()
                optimizer.zero_grad()

    found = []
    for resumed in (False, True):
        accelerator = Accelerator(cpu=True)
        bare = network()
        other_weights(bare, rank)
        batches = DataLoader(TensorDataset(*examples(BATCHES)), SIZE)
        model, optimizer, loader = accelerator.prepare(bare, adam(bare), batches)
        dst = sparse_training(
            accelerator, model, optimizer, total_steps=EPOCHS * BATCHES, **own_settings(rank)
        )
        if resumed:
            accelerator.load_state(str(folder))
        else:
            learn(0, 1)
            accelerator.save_state(str(folder))
        learn(1, EPOCHS)
        found.append(dst)
    return found


TRAINED: dict[str, Callable[[int, Path], list[SparseTraining]]] = {
    "lightning": in_lightning,
    "transformers": in_transformers,
    "accelerate": in_accelerate,
}

if __name__ == "__main__":
    rank, folder = int(os.environ.get("LOCAL_RANK", 0)), Path(sys.argv[2])
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    whole, resumed = TRAINED[sys.argv[1]](rank, folder / "checkpoints")
    torch.save({"whole": kept(whole), "resumed": kept(resumed)}, folder / f"{rank}.pt")
