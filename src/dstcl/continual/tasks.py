"""Where a learner's images come from: a prepared data set, or tensors of the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Protocol

import torch
from torch import Tensor

from dstcl.data.batches import Examples, Part, task_examples
from dstcl.data.stored import Prepared


class Tasks(Protocol):
    """A sequence of tasks.

    Attributes:
        sizes: number of classes of each task.
        channels: of the images.
    """

    sizes: list[int]
    channels: int

    def examples(self, members: Sequence[int], part: Part) -> Examples:
        """The images of tasks that are learned together (from 0), on the training device.

        Labels count from 0 within the first of them and go on from one to the next.
        """


class PreparedTasks:
    """Tasks cut out of a prepared data set.

    Args:
        data: the data set.
        classes: labels of each task; sizes may differ.
        device: where to train.
        validation: positions of training images that are held out; see `read_tasks`.
    """

    def __init__(
        self,
        data: Prepared,
        classes: Sequence[Sequence[int]],
        device: torch.device,
        validation: Sequence[int] = (),
    ) -> None:
        self.sizes = [len(labels) for labels in classes]
        self.channels = data.images.shape[1]
        self._data, self._classes, self._device = data, classes, device
        self._validation = validation

    def examples(self, members: Sequence[int], part: Part) -> Examples:
        """See `Tasks.examples`."""
        labels = [label for task in members for label in self._classes[task]]
        return task_examples(
            self._data, labels, part=part, validation=self._validation, device=self._device
        )


Pairs = tuple[Tensor, Tensor]
"""Images (N, C, H, W) and labels (N,) from 0 within the task."""


class OwnTasks:
    """Tasks as pairs of tensors, or any torch data sets of image and label.

    Args:
        tasks: for each task its training and its test images: each a pair of tensors, or a
            ``torch.utils.data.Dataset`` whose items are an image tensor (C, H, W) and a label.
            Labels count from 0 within each task. Images are used as they are: normalise before.
        device: where to train; the images are copied there.

    Attributes:
        image: channels, height and width of every image.

    Raises:
        ValueError: no tasks, or a task whose images or labels do not fit; one line naming it.
    """

    def __init__(self, tasks: Sequence[tuple[Any, Any]], device: torch.device) -> None:
        if not tasks:
            raise ValueError("tasks: at least one task is needed")
        self._pairs = [
            {"train": _pairs(train, index, "train"), "test": _pairs(test, index, "test")}
            for index, (train, test) in enumerate(tasks)
        ]
        self.sizes = [
            1 + int(max(part[1].max() for part in pairs.values())) for pairs in self._pairs
        ]
        shapes = {part[0].shape[1:] for pairs in self._pairs for part in pairs.values()}
        if len(shapes) > 1:
            found = ", ".join(sorted(str(tuple(shape)) for shape in shapes))
            raise ValueError(f"tasks: images of one shape are needed, not of {found}")
        self.image = tuple(next(iter(shapes)))
        self.channels = self.image[0]
        self._device = device

    def examples(self, members: Sequence[int], part: Part) -> Examples:
        """See `Tasks.examples`; without a validation part."""
        starts = [0, *accumulate(self.sizes[task] for task in members)]
        chosen = [self._pairs[task]["test" if part == "test" else "train"] for task in members]
        count = 0 if part == "validation" else None
        images = torch.cat([images[:count] for images, _ in chosen])
        labels = torch.cat([labels[:count] + start for (_, labels), start in zip(chosen, starts)])
        device = self._device
        shape = (self.channels, 1, 1)
        return Examples(
            images.to(device),
            labels.to(device),
            torch.zeros(shape, device=device),
            torch.ones(shape, device=device),
        )


def _pairs(source: Any, task: int, part: str) -> Pairs:
    where = f"tasks[{task}]: {part} images"
    if isinstance(source, tuple) and len(source) == 2:
        images, labels = (torch.as_tensor(values) for values in source)
    else:
        try:
            items = [source[index] for index in range(len(source))]
            images = torch.stack([torch.as_tensor(image) for image, _ in items])
            labels = torch.tensor([int(label) for _, label in items])
        except (TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{where}: neither two tensors nor a data set of tensors and labels ({reason})"
            ) from None
    if images.dim() != 4 or labels.shape != images.shape[:1] or not len(labels):
        raise ValueError(
            f"{where}: shapes {tuple(images.shape)} and {tuple(labels.shape)}; images (N, C, H, W) "
            "and labels (N,) are needed"
        )
    if labels.is_floating_point() or int(labels.min()) < 0:
        raise ValueError(f"{where}: labels must be whole numbers from 0")
    return images.float(), labels.long()
