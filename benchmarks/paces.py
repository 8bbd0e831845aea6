"""How fast a task is trained, and what its topology updates take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch

from dstcl.continual.learner import learner_of
from dstcl.data.stored import Prepared
from dstcl.sparse import DynamicSparseTraining
from dstcl.study.run import Run


@dataclass(frozen=True)
class Pace:
    """The second epoch of a task, so that what is compiled or cached is.

    Attributes:
        images: trained on.
        loss: in training; two ways to compute the same must end close to each other.
        seconds: of training steps, topology updates and masks included, evaluation not.
        updates: seconds of each topology update; empty if nobody looked.
    """

    images: int
    seconds: float
    loss: float
    updates: tuple[float, ...] = ()

    @property
    def images_per_second(self) -> float:
        """Updates included."""
        return self.images / self.seconds

    @property
    def between_updates(self) -> float:
        """Images per second of the steps alone."""
        return self.images / (self.seconds - sum(self.updates))

    @property
    def update_ms(self) -> float:
        """Median of the updates."""
        return 1000 * statistics.median(self.updates)


def second_epochs(
    run: Run,
    data: Prepared,
    tasks: list[list[int]],
    device: torch.device,
    updates: Sequence[float] = (),
) -> list[Pace]:
    """Of each task; the run must have two epochs.

    Args:
        updates: where `timed_updates` writes, if it is on.
    """
    marks: list[tuple[int, float, int]] = []
    losses: list[float] = []

    def note(task: int, epoch: int, row: dict[str, Any]) -> None:
        effort = learner.outcome.effort
        marks.append((effort.images, effort.seconds, len(updates)))
        losses.append(row["loss"])

    learner = learner_of(run, data, tasks, device, note)
    learner.fit()
    return [
        Pace(after[0] - before[0], after[1] - before[1], loss, tuple(updates[before[2] : after[2]]))
        for before, after, loss in zip(marks[::2], marks[1::2], losses[1::2], strict=True)
    ]


@contextmanager
def timed(owner: object, name: str, device: torch.device) -> Iterator[list[float]]:
    """Seconds of every call of a function that is made in the block.

    Args:
        owner: module or class that has the function.
        name: of the function there.
        device: whose queue is emptied before and after, so that its work is in the time.
    """
    function = getattr(owner, name)
    seconds: list[float] = []

    def call(*arguments: Any, **settings: Any) -> Any:
        _settle(device)
        started = time.perf_counter()
        result = function(*arguments, **settings)
        _settle(device)
        seconds.append(time.perf_counter() - started)
        return result

    with patch.object(owner, name, call):
        yield seconds


@contextmanager
def timed_updates(device: torch.device) -> Iterator[list[float]]:
    """Seconds of every topology update in the block."""
    with timed(DynamicSparseTraining, "_change_masks", device) as seconds:
        yield seconds


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
