"""A trainer and a module of Lightning that do what `plain_loops` does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from plain_loops import BATCH, adam, examples, loss_of, network
from torch import Tensor

from dstcl.sparse import DynamicSparseTraining


class Module(pl.LightningModule):
    def __init__(self, skip: int | None = None) -> None:
        super().__init__()
        self.net = network()
        self.skip = skip

    def training_step(self, batch: Any, index: int) -> Tensor | None:
        return None if index == self.skip else loss_of(self.net, *batch)

    def configure_optimizers(self) -> Any:
        return adam(self)


class InOrder(Module):
    """Has its data with it, of which each process takes its part; Lightning's own sampler shuffles.

    Args:
        batches: of the plain loop, which all processes share.
    """

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.data = torch.utils.data.TensorDataset(*examples(batches))

    def train_dataloader(self) -> Any:
        ranks, rank = self.trainer.world_size, self.trainer.global_rank
        sampler = torch.utils.data.DistributedSampler(self.data, ranks, rank, shuffle=False)
        return torch.utils.data.DataLoader(self.data, BATCH // ranks, sampler=sampler)


def seeded(model: Any, optimizer: Any, **more: Any) -> DynamicSparseTraining:
    """With other draws in each process. A generator that is given to another process by pickle may
    arrive broken: its state is a tensor that torch shares and has let go of too early."""
    draws = torch.Generator().manual_seed(50 + int(os.environ.get("LOCAL_RANK", 0)))
    return DynamicSparseTraining(model, optimizer, **more, generator=draws)


class Writer(pl.Callback):
    """Writes what each process has after training."""

    def __init__(self, sparse: Any, folder: Path) -> None:
        self.sparse, self.folder = sparse, folder

    def on_train_end(self, trainer: Any, *_: Any) -> None:
        from training_in_ranks import kept

        torch.save({"whole": kept(self.sparse.dst)}, self.folder / f"{trainer.global_rank}.pt")


def loader(batches: int) -> Any:
    data = torch.utils.data.TensorDataset(*examples(batches))
    return torch.utils.data.DataLoader(data, batch_size=BATCH)


def trainer(callbacks: Any, folder: Path | None = None, **more: Any) -> Any:
    quiet: dict[str, Any] = {
        "accelerator": "cpu", "devices": 1, "max_epochs": 1, "enable_progress_bar": False,
        "enable_model_summary": False, "logger": False, "enable_checkpointing": False,
    }  # fmt: skip
    return pl.Trainer(callbacks=callbacks, default_root_dir=folder, **(quiet | more))
