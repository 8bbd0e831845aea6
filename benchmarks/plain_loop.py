"""A yardstick, not a part of the project: training as research code usually writes it.

Images are decoded to PIL and transformed one by one in loader processes, arithmetic is float32,
masks are applied layer by layer in Python, and loss and hits are read from the device every step.
Needs torchvision, which comes with the extra ``dev``.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from dstcl.data.stored import Prepared
from dstcl.networks.build import build_network
from dstcl.sparse import draw_masks, maskable_weights
from dstcl.study.run import Run


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """Training images as PIL, cropped and flipped at random."""

    def __init__(self, data: Prepared) -> None:
        kept = ~data.is_test
        self.pixels = data.images[kept].permute(0, 2, 3, 1).numpy()
        self.labels = data.labels[kept].tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(self.pixels.shape[1], padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(data.mean, data.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(np.asarray(self.pixels[index]))), self.labels[index]


def images_per_second(run: Run, data: Prepared, device: torch.device, workers: int) -> float:
    """Of the second epoch of a static sparse network."""
    network = build_network(run.network, 3, len(data.class_names), seed=0).to(device)
    weights = maskable_weights(network)
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    counts = {name: int(run.density * weight.numel()) for name, weight in weights.items()}
    masks = draw_masks(shapes, counts, torch.Generator().manual_seed(0), device)
    optimizer = torch.optim.Adam(network.parameters(), lr=run.training.learning_rate)
    loader = DataLoader(
        Pictures(data),
        run.training.batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=True,
    )
    for _ in range(2):
        started = time.perf_counter()
        losses, hits = 0.0, 0
        for images, labels in loader:
            images, labels = images.to(device), labels.to(device)
            logits = network(images)
            loss = nn.functional.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            for name, weight in weights.items():
                assert weight.grad is not None
                weight.grad *= masks[name]
            optimizer.step()
            for name, weight in weights.items():
                weight.data *= masks[name]
            losses += loss.item()
            hits += (logits.argmax(1) == labels).sum().item()
        seconds = time.perf_counter() - started
    return len(loader.dataset) / seconds  # type: ignore[arg-type]
