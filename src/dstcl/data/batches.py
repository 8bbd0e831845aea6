"""Images of one task on the device, in normalised and augmented batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dstcl.data.prepare import Prepared

PADDING = 4


@dataclass(frozen=True)
class Examples:
    """Images and labels of one task, on the device.

    Attributes:
        images: uint8, (N, C, S, S).
        labels: int64, (N,), counted from 0 within the task.
        mean, std: float32, (C, 1, 1), on the scale 0 to 255.
    """

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def normalised(self, images: Tensor) -> Tensor:
        """uint8 images to float32 of about zero mean and unit variance."""
        return (images.float() - self.mean) / self.std


def task_examples(
    data: Prepared, classes: list[int], *, test: bool, device: torch.device
) -> Examples:
    """The training or test images of the given classes; labels are positions in ``classes``."""
    position = torch.full((len(data.class_names),), -1)
    position[torch.tensor(classes)] = torch.arange(len(classes))
    labels = position[data.labels]
    chosen = (labels >= 0) & (data.is_test == test)
    shape = (-1, 1, 1)
    return Examples(
        data.images[chosen].to(device),
        labels[chosen].to(device),
        torch.tensor(data.mean, device=device).view(shape) * 255,
        torch.tensor(data.std, device=device).view(shape) * 255,
    )


class TrainingBatches(Iterator[tuple[Tensor, Tensor]]):
    """One epoch in random order: (images float32 (B, C, S, S), labels int64 (B,)).

    Order and augmentation are drawn on the generator's device, so that a CPU generator gives the
    same batches on every device. The last batch may be smaller.

    Args:
        order: indices of all images, to go on with an epoch that was interrupted; else drawn.
        position: images of that order that were already seen.

    The generator's state is the caller's to save: with it, `order` and `position` an epoch goes on
    bit for bit.
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        augment: str,
        generator: torch.Generator,
        *,
        order: Tensor | None = None,
        position: int = 0,
    ) -> None:
        self.order = _random_order(examples, generator) if order is None else order
        self.position = position
        rest = self.order[position:].to(examples.images.device)
        self._batches = _batches(examples, rest, batch_size, augment, generator)

    def __next__(self) -> tuple[Tensor, Tensor]:
        images, labels = next(self._batches)
        self.position += len(labels)
        return images, labels


def evaluation_batches(
    examples: Examples,
    batch_size: int,
    *,
    shuffle: bool = False,
    augment: str = "none",
    generator: torch.Generator | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Every image once; in stored order and as it is, unless a protocol asks otherwise.

    ``shuffle`` and ``augment`` need the generator.
    """
    order = torch.arange(len(examples), device=examples.images.device)
    if shuffle:
        order = _random_order(examples, generator)
    yield from _batches(examples, order, batch_size, augment, generator)


def _random_order(examples: Examples, generator: torch.Generator | None) -> Tensor:
    assert generator is not None
    order = torch.randperm(len(examples), generator=generator, device=generator.device)
    return order.to(examples.images.device)


def _batches(
    examples: Examples,
    order: Tensor,
    batch_size: int,
    augment: str,
    generator: torch.Generator | None,
) -> Iterator[tuple[Tensor, Tensor]]:
    if augment not in ("none", "crop-flip"):
        raise ValueError(f"augment: {augment!r}; allowed: none, crop-flip")
    for chosen in order.split(batch_size) if len(order) else ():
        images = examples.images[chosen]
        if augment == "crop-flip":
            assert generator is not None
            images = crop_and_flip(images, generator)
        yield examples.normalised(images), examples.labels[chosen]


def crop_and_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random crop after 4 pixels of zero padding, then a horizontal flip with probability 1/2.

    The published augmentation (section c2 of the paper's code), for a whole batch at once.

    Args:
        images: (B, C, S, S), any dtype.
    """
    count, _, size, _ = images.shape
    device = images.device
    padded = torch.nn.functional.pad(images, (PADDING,) * 4)
    offsets = torch.randint(
        2 * PADDING + 1, (2, count, 1), generator=generator, device=generator.device
    ).to(device)
    flip = torch.rand(count, 1, generator=generator, device=generator.device).to(device) < 0.5
    span = torch.arange(size, device=device)
    rows = offsets[0] + span
    columns = offsets[1] + torch.where(flip, span.flip(0), span)
    batch = torch.arange(count, device=device).view(-1, 1, 1)
    cropped = padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2)
