"""What runs cost, before any of them is started: images, time, memory, from measured speeds.

Standard library only: the rules ask for memory and time with these functions, and reading a
Snakefile must load neither torch nor pandas.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dstcl.data.catalog import DATASETS, DatasetInfo
from dstcl.study.run import Run

SPEEDS_FILE = Path(__file__).with_name("speeds.csv")
SPEED_COLUMNS = (
    "device",
    "threads",
    "network",
    "image_size",
    "batch_size",
    "images_per_second",
    "host_mb",
    "gpu_mb",
    "source",
)
START_SECONDS = 1.0
"""Of a run that are not training or testing: starting, reading, writing, and its share of tables
and figures. benchmarks/pipeline-amd-avx2.json: 1,043.7 s of CPU / 170 runs = 6.1, of which 5.1 are
40,000 images at 14,188 a second on a processor that takes 1.8 times as long. A run that is started
in a process of its own takes 3 s more (docs/benchmarks.md, Start-up)."""
TEST_SHARE = 1 / 3
"""Time of a tested image as a share of a trained one: a forward pass, and no backward pass, which
takes about two."""
TIME_MARGIN = 3.0
"""Asked for over estimated: another processor, neighbours on the node, a slow disk."""
SHORTEST_MINUTES = 10
UNKNOWN_MINUTES = 24 * 60
"""Asked for where the network has not been measured, or the size of the data set is not known."""
MEMORY_MARGIN = 1.5
UNKNOWN_MB = 4000


@dataclass(frozen=True)
class Speed:
    """A measured speed: one row of speeds.csv.

    Attributes:
        device: "cpu", or the name of the GPU as torch gives it.
        threads: CPU threads.
        network, image_size, batch_size: what was trained.
        images_per_second: in training steps, one run alone on the device.
        host_mb, gpu_mb: peak memory, without the data set.
        source: command, date, commit and machine.
    """

    device: str
    threads: int
    network: str
    image_size: int
    batch_size: int
    images_per_second: float
    host_mb: int
    gpu_mb: int
    source: str


@cache
def read_speeds(path: Path = SPEEDS_FILE) -> tuple[Speed, ...]:
    """All measured speeds.

    Raises:
        ValueError: naming the file and line, if it is no such table.
    """
    speeds = []
    with path.open(newline="") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            try:
                speeds.append(
                    Speed(
                        row["device"],
                        int(row["threads"]),
                        row["network"],
                        int(row["image_size"]),
                        int(row["batch_size"]),
                        float(row["images_per_second"]),
                        int(row["host_mb"]),
                        int(row["gpu_mb"]),
                        row["source"],
                    )
                )
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path}, line {line}: not a speed ({error!r})") from None
    return tuple(speeds)


@dataclass(frozen=True)
class Work:
    """What a run has to do.

    Attributes:
        images: trained on, repetitions included.
        steps: of the optimiser; the last batch of an epoch may be smaller.
        evaluated: images tested on. Every task untrained, each again right before its training,
            all seen tasks after each; and the validation part of a task after each epoch.
    """

    images: int
    steps: int
    evaluated: int


def steps_by_task(run: Run) -> list[int]:
    """Optimiser steps of each task that is learned, one after the other or all at once.

    Empty for a data set whose size is not known before it is read.
    """
    training = run.training
    return [
        training.epochs * -(-images // training.batch_size)
        for images in _training_images(run, DATASETS.get(run.dataset))
    ]


def _training_images(run: Run, info: DatasetInfo | None) -> list[int]:
    """Of each task that is learned."""
    if info is None or not info.train_per_class:
        return []
    each = info.train_per_class - _held_out(run, info)
    return [each * size for size in _classes(run, info)]


def _classes(run: Run, info: DatasetInfo) -> Sequence[int]:
    """Numbers of classes of the tasks that are learned."""
    classes = run.data.task_sizes or [info.classes // run.tasks] * run.tasks
    return classes[: run.learned]


def _held_out(run: Run, info: DatasetInfo) -> int:
    """Images of each class that are held out for validation."""
    share = run.training.validation
    return max(1, round(share * info.train_per_class)) if share else 0


def work_of(run: Run) -> Work | None:
    """What a run has to do; None for a data set whose size is not known before it is read."""
    info = DATASETS.get(run.dataset)
    if info is None or not info.train_per_class:
        return None
    learned = _classes(run, info)
    training = _training_images(run, info)
    held_out = [_held_out(run, info) * size for size in learned]
    tests = [info.test_per_class * size for size in learned]
    after = sum(sum(tests[: task + 1]) for task in range(run.learned))
    return Work(
        images=run.training.epochs * sum(training),
        steps=sum(steps_by_task(run)),
        evaluated=sum(tests) + sum(tests[1:]) + after + run.training.epochs * sum(held_out),
    )


def find_speed(
    run: Run, device: str, speeds: Sequence[Speed] | None = None, threads: int = 1
) -> Speed | None:
    """The measured speed of a run's network at its image size, or None.

    Args:
        run: what would be trained.
        device: "cpu" or a part of a GPU's name, in any case: "h100".
        speeds: measured speeds; None for those of the package.
        threads: CPU threads.
    """
    for speed in read_speeds() if speeds is None else speeds:
        same = (speed.network, speed.image_size) == (run.network, run.data.image_size)
        cpu = speed.device == "cpu"
        named = cpu if device == "cpu" else not cpu and device.lower() in speed.device.lower()
        if same and named and (speed.threads == threads or not cpu):
            return speed
    return None


def run_seconds(work: Work, images_per_second: float) -> float:
    """Wall time of a run that is alone on its device."""
    images = work.images + TEST_SHARE * work.evaluated
    return START_SECONDS + images / images_per_second


def minutes_to_ask_for(run: Run, attempt: int = 1, speeds: Sequence[Speed] | None = None) -> int:
    """Time to ask a scheduler for: an upper bound, from one thread of a processor.

    A second attempt asks for twice as much, in case the estimate was why the first one failed;
    later ones for no more, as interrupted runs gain nothing from it.
    """
    speed, work = find_speed(run, "cpu", speeds), work_of(run)
    if speed is None or work is None:
        return min(attempt, 2) * UNKNOWN_MINUTES
    return min(attempt, 2) * with_margin(run_seconds(work, speed.images_per_second))


def with_margin(seconds: float) -> int:
    """Minutes to ask for where so many seconds are estimated: in tens, never under ten."""
    return max(SHORTEST_MINUTES, 10 * math.ceil(TIME_MARGIN * seconds / 600))


def memory_mb_to_ask_for(run: Run, attempt: int = 1, speeds: Sequence[Speed] | None = None) -> int:
    """Main memory to ask a scheduler for; twice as much from the second attempt on."""
    speed, info = find_speed(run, "cpu", speeds), DATASETS.get(run.dataset)
    if speed is None or info is None or not info.train_per_class:
        return min(attempt, 2) * UNKNOWN_MB
    images = info.classes * (info.train_per_class + info.test_per_class)
    data_mb = images * info.channels * run.data.image_size**2 / 1e6
    # The data set as it is read, and once more as the tensors of its tasks.
    needed = MEMORY_MARGIN * (speed.host_mb + 2 * data_mb)
    return min(attempt, 2) * 500 * math.ceil(needed / 500)
