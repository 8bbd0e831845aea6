"""Images of one task on the device, in normalised and augmented batches."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dstcl.data.stored import Prepared

PADDING = 4
Part = Literal["train", "validation", "test"]
Place = Literal["auto", "device", "host"]


@dataclass(frozen=True)
class Examples:
    """Images and labels of one task; labels, mean and std are on the device.

    Attributes:
        stored: uint8, (M, C, S, S): the task's images on the device; or, with ``rows``, those of
            the whole data set where they lie, in a memory-mapped file.
        labels: int64, (N,), counted from 0 within the task.
        mean, std: float32, (C, 1, 1), on the scale 0 to 255.
        rows: int64, (N,): which of the stored images are the task's; None for all of them.
    """

    stored: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor
    rows: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> Tensor:
        """uint8, (N, C, S, S): the task's images; gathered anew each time if they are not stored
        on the device."""
        return self.stored if self.rows is None else self.stored[self.rows]

    def first(self, count: int) -> Tensor:
        """The first images, uint8 (count, C, S, S), without reading the others."""
        return self.stored[:count] if self.rows is None else self.stored[self.rows[:count]]

    def spread(self, count: int) -> tuple[Tensor, Tensor]:
        """So many images, uint8 (count, C, S, S), and their labels, at even distances; all where
        there are no more."""
        count = min(count, len(self))
        places = torch.arange(count) * len(self) // count
        there = places if self.rows is None else self.rows[places]
        images = self.stored.index_select(0, there.to(self.stored.device))
        return images, self.labels[places.to(self.labels.device)]

    def normalised(self, images: Tensor) -> Tensor:
        """uint8 images to float32 of about zero mean and unit variance, on the device."""
        moved = images.to(self.mean.device, torch.float32, non_blocking=True, copy=True)
        return moved.sub_(self.mean).div_(self.std)


def task_examples(
    data: Prepared,
    classes: list[int],
    *,
    test: bool | None = None,
    part: Part | None = None,
    validation: Sequence[int] = (),
    device: torch.device,
    place: Place = "auto",
) -> Examples:
    """The images of the given classes in one part; labels are positions in ``classes``.

    Args:
        test: True for part "test", False for "train"; or give the part.
        part: which images.
        validation: positions of the images held out for validation (`read_tasks` has them); they
            are no training images. Without any, part "validation" is empty.
        place: "device" copies the images there once; "host" leaves them in the prepared file and
            copies each batch; "auto" does the first where they take less than half of the memory.
    """
    if (test is None) == (part is None):
        raise ValueError("either test or part is needed")
    part = part or ("test" if test else "train")
    position = torch.full((len(data.class_names),), -1)
    position[torch.tensor(classes)] = torch.arange(len(classes))
    labels = position[data.labels]
    is_held_out = torch.zeros(len(labels), dtype=torch.bool)
    is_held_out[torch.tensor(validation, dtype=torch.int64)] = True
    in_part = {
        "train": ~data.is_test & ~is_held_out,
        "validation": ~data.is_test & is_held_out,
        "test": data.is_test,
    }[part]
    rows = ((labels >= 0) & in_part).nonzero().flatten()
    size = len(rows) * data.images[:1].numel()
    stays = place == "host" or (place == "auto" and size > free_memory(device) // 2)
    shape = (-1, 1, 1)
    return Examples(
        data.images if stays else data.images[rows].to(device),
        labels[rows].to(device),
        torch.tensor(data.mean, device=device).view(shape) * 255,
        torch.tensor(data.std, device=device).view(shape) * 255,
        rows if stays else None,
    )


def free_memory(device: torch.device) -> int:
    """Free memory of a device in bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


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
        rest = self.order[position:].to(examples.labels.device)
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
    order = torch.arange(len(examples), device=examples.labels.device)
    if shuffle:
        order = _random_order(examples, generator)
    yield from _batches(examples, order, batch_size, augment, generator)


def _random_order(examples: Examples, generator: torch.Generator | None) -> Tensor:
    assert generator is not None
    order = torch.randperm(len(examples), generator=generator, device=generator.device)
    return order.to(examples.labels.device)


def _batches(
    examples: Examples,
    order: Tensor,
    batch_size: int,
    augment: str,
    generator: torch.Generator | None,
) -> Iterator[tuple[Tensor, Tensor]]:
    if augment not in ("none", "crop-flip"):
        raise ValueError(f"augment: {augment!r}; allowed: none, crop-flip")
    parts = order.split(batch_size) if len(order) else ()
    for chosen, images in zip(parts, _images(examples, parts), strict=True):
        if augment == "crop-flip":
            assert generator is not None
            images = crop_and_flip(images, generator)
        yield examples.normalised(images), examples.labels[chosen]


def _images(examples: Examples, parts: Sequence[Tensor]) -> Iterator[Tensor]:
    """The images of each batch on the device; from a file, the next is read meanwhile."""
    if examples.rows is None:
        yield from (examples.stored.index_select(0, chosen) for chosen in parts)
        return
    device = examples.labels.device
    where = [examples.rows[chosen.cpu()] for chosen in parts]

    def read(rows: Tensor) -> Tensor:
        images = examples.stored.index_select(0, rows)
        return images.pin_memory() if device.type == "cuda" else images

    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(read, where[0]) if where else None
        for following in [*where[1:], None]:
            assert ahead is not None
            images = ahead.result()
            ahead = None if following is None else reader.submit(read, following)
            yield images.to(device, non_blocking=True)


def _without_waiting(drawn: Tensor, device: torch.device) -> Tensor:
    """The same on the device; from ordinary memory a copy would wait until a GPU has done all that
    it was asked to do."""
    if device.type == "cuda" and drawn.device.type == "cpu":
        drawn = drawn.pin_memory()
    return drawn.to(device, non_blocking=True)


def crop_and_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random crop after 4 pixels of zero padding, then a horizontal flip with probability 1/2.

    The augmentation of the paper's code (docs/published-code.md, c2), for a whole batch at once.

    Args:
        images: (B, C, S, S), any dtype.
    """
    count, _, size, _ = images.shape
    device = images.device
    source = generator.device
    sides = torch.randint(2 * PADDING + 1, (2, count, 1), generator=generator, device=source)
    chances = torch.rand(count, 1, generator=generator, device=source)
    offsets, flip = _without_waiting(sides, device), _without_waiting(chances, device) < 0.5
    padded = torch.nn.functional.pad(images, (PADDING,) * 4)
    both = torch.cat([padded, padded.flip(-1)])
    # A view of all crops of every image, (2 B, C, 9, 9, S, S), of which one each is copied.
    crops = both.unfold(2, size, 1).unfold(3, size, 1)
    rows, columns, mirrored = offsets[0, :, 0], offsets[1, :, 0], flip[:, 0]
    which = torch.arange(count, device=device) + count * mirrored
    return crops[which, :, rows, torch.where(mirrored, 2 * PADDING - columns, columns)]
