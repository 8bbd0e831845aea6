"""A trainer and a module of Lightning that do what `plain_loops` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from plain_loops import BATCH, adam, examples, loss_of, network
from torch import Tensor


class Module(pl.LightningModule):
    def __init__(self, skip: int | None = None) -> None:
        super().__init__()
        self.net = network()
        self.skip = skip

    def training_step(self, batch: Any, index: int) -> Tensor | None:
        return None if index == self.skip else loss_of(self.net, *batch)

    def configure_optimizers(self) -> Any:
        return adam(self)


def loader(batches: int) -> Any:
    data = torch.utils.data.TensorDataset(*examples(batches))
    return torch.utils.data.DataLoader(data, batch_size=BATCH)


def trainer(callbacks: Any, folder: Path | None = None, **more: Any) -> Any:
    quiet: dict[str, Any] = {
        "accelerator": "cpu", "devices": 1, "max_epochs": 1, "enable_progress_bar": False,
        "enable_model_summary": False, "logger": False, "enable_checkpointing": False,
    }  # fmt: skip
    return pl.Trainer(callbacks=callbacks, default_root_dir=folder, **(quiet | more))
