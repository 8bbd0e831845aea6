"""The code of a registered model. MLflow copies this file into the model and runs it there, where
there is no dstcl: it needs torch, safetensors and the files beside it.

Never imported by the rest of the package; see `dstcl.tracking.register`.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel
from safetensors import safe_open

BITS = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8)


class TaskNetworks(PythonModel):
    """The sub-network of each task of one run."""

    def load_context(self, context: Any) -> None:
        """Build the network and read its weights and masks; nothing is unpickled."""
        self.settings = context.model_config
        settings = self.settings
        build = importlib.import_module(f"{settings['code']}.build")
        source, _, attribute = settings["network"].partition(":")
        if attribute:  # of a network of the user's own; its code travels along
            source = getattr(importlib.import_module(source), attribute)
        self.network = build.build_network(
            source,
            channels=len(settings["mean"]),
            classes=settings["outputs"],
            seed=0,
            head_bias=settings["head_bias"],
            head=settings["head"],
            arguments=settings["arguments"],
        ).eval()
        shape = (-1, 1, 1)
        self.mean = torch.tensor(settings["mean"]).view(shape) * 255
        self.std = torch.tensor(settings["std"]).view(shape) * 255
        weights, masks = (_tensors(context.artifacts[name]) for name in ("weights", "masks"))
        self.states = [
            _state(weights, masks, settings["shapes"], task + 1)
            for task in range(settings["subnets"])
        ]

    @torch.no_grad()
    def predict(
        self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        """Logits of one task.

        Args:
            context: of MLflow.
            model_input: images, uint8, (N, C, S, S), 0 to 255 as in image files.
            params: ``task``, counted from 1.

        Returns:
            float32, (N, classes): the largest of a row is the predicted class. Names of the classes
            are in the model's metadata, ``class_names[task - 1]``.

        Raises:
            ValueError: there is no such task, or the images are of another shape.
        """
        task, tasks = int((params or {}).get("task", 1)), self.settings["tasks"]
        if not 1 <= task <= len(tasks):
            raise ValueError(f"task {task}: the model has tasks 1 to {len(tasks)}")
        images = torch.from_numpy(np.ascontiguousarray(model_input))
        if images.dim() != 4 or images.dtype != torch.uint8:
            raise ValueError(
                f"uint8 images (N, C, S, S) are needed, not {images.dtype} {tuple(images.shape)}"
            )
        chosen = tasks[task - 1]
        self.network.load_state_dict(self.states[chosen["subnet"]])
        logits = self.network((images.float() - self.mean) / self.std)
        return logits[:, chosen["start"] : chosen["stop"]].numpy()


def _state(
    weights: dict[str, torch.Tensor],
    masks: dict[str, torch.Tensor],
    shapes: dict[str, list[int]],
    task: int,
) -> dict[str, torch.Tensor]:
    """A task's network: shared weights under its mask, and what belongs to it alone."""
    own = f"task{task}/"
    masked = {}
    for name, shape in shapes.items():
        bits = masks[own + name].view(-1, 1).bitwise_and(BITS).ne(0).flatten()
        mask = bits[: torch.Size(shape).numel()].view(torch.Size(shape))
        masked[name] = weights[f"dense/{name}"] * mask
    local = {n.removeprefix(own): w for n, w in weights.items() if n.startswith(own)}
    return masked | local


def _tensors(path: str) -> dict[str, torch.Tensor]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


set_model(TaskNetworks())
