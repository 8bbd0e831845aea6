"""A `Trainer` of Transformers that does what `plain_loops` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from plain_loops import BATCH, adam, examples, network, settings
from torch import Tensor, nn

from dstcl.sparse.integrations.transformers import SparseTrainingCallback


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.net(inputs)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class InOrder(transformers.Trainer):
    """A trainer that does not shuffle."""

    def get_train_dataloader(self) -> Any:
        data = torch.utils.data.DataLoader(
            self.train_dataset,
            batch_size=self.args.per_device_train_batch_size,
            collate_fn=self.data_collator,
        )
        return self.accelerator.prepare(data)


class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
    def __init__(self, batches: int) -> None:
        self.inputs, self.labels = examples(batches)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"inputs": self.inputs[index], "labels": self.labels[index]}


def trainer(folder: Path, batches: int = 8, model: nn.Module | None = None, **more: Any) -> Any:
    model = model or Model()
    asked: dict[str, Any] = {
        "num_train_epochs": 1, "per_device_train_batch_size": BATCH, "use_cpu": True,
        "report_to": [], "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True,
        "max_grad_norm": 0.0, "dataloader_pin_memory": False,
    }  # fmt: skip
    args = transformers.TrainingArguments(output_dir=str(folder), **(asked | more))
    constant = adam(model)
    schedule = torch.optim.lr_scheduler.LambdaLR(constant, lambda _: 1.0)
    rows = Rows(batches)
    return InOrder(
        model, args, train_dataset=rows, eval_dataset=rows, optimizers=(constant, schedule)
    )


def sparse(used: Any, *training: Any, **more: Any) -> SparseTrainingCallback:
    callback = SparseTrainingCallback(used, *training, **(more or settings()))
    used.add_callback(callback)
    return callback
