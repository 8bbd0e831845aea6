"""What is trained in benchmarks: runs and data that need neither params.yaml nor images, so that a
machine with Python and torch alone can measure."""

from __future__ import annotations

from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from dstcl.data.stored import Prepared, content_digest, split_digest
from dstcl.networks import NETWORKS
from dstcl.networks.build import network_function
from dstcl.storage import read_json, write_json, write_tensors
from dstcl.study.run import Run

CLASSES = 10


def paper_run() -> Run:
    """A run of preset paper (benchmarks/run.json; a test keeps it in step with params.yaml)."""
    return Run.from_dict(read_json(Path(__file__).with_name("run.json")))


def short_run(network: str, **settings: Any) -> Run:
    """A run of preset paper, cut to two epochs of one task unless settings say otherwise."""
    short = {"tasks": 1, "epochs": 2, "update_every": 20, "growth": "gradient"}
    return paper_run().changed({"network": network} | short | settings)


def random_data(
    images: int, size: int, channels: int, tasks: int = 2, classes: int = CLASSES
) -> Prepared:
    """Images of tasks of so many classes each; pixels do not matter for speed.

    Args:
        images: of each task, the last tenth of them for testing.
        size: pixels of a side.
        channels: of each image.
        tasks: whose classes are those of `task_classes`.
        classes: of each task.
    """
    each = torch.arange(images)
    offsets = torch.arange(tasks).repeat_interleave(images) * classes
    data = Prepared(
        images=torch.randint(256, (tasks * images, channels, size, size), dtype=torch.uint8),
        labels=(each % classes).repeat(tasks) + offsets,
        is_test=(each >= images - images // 10).repeat(tasks),
        class_names=[str(label) for label in range(tasks * classes)],
        mean=[0.5] * channels,
        std=[0.25] * channels,
        digest="",
    )
    return replace(data, digest=content_digest(data))


def task_classes(tasks: int, classes: int = CLASSES) -> list[list[int]]:
    """The classes of each task."""
    return [list(range(task * classes, (task + 1) * classes)) for task in range(tasks)]


def write_data(folder: Path, data: Prepared, tasks: list[list[int]]) -> tuple[Path, Path]:
    """A prepared file and a split into tasks, as a training reads them; their paths."""
    prepared, split = folder / "data.safetensors", folder / "tasks.json"
    tensors = {"images": data.images, "labels": data.labels, "is_test": data.is_test}
    names = ("class_names", "mean", "std", "digest")
    write_tensors(prepared, tensors, {name: getattr(data, name) for name in names})
    content = {"data_digest": data.digest, "order": "seed0", "tasks": tasks}
    write_json(split, content | {"digest": split_digest(content)})
    return prepared, split


def default_width(network: str) -> int | None:
    """Channels of the first layers, where they can be others (`of_width`); None elsewhere."""
    width = signature(network_function(network)).parameters.get("width")
    return width.default if width else None


def of_width(network: str, width: int | None) -> str:
    """The name of a network whose first layers have so many channels, known from now on to this
    process; None for the network as it is."""
    if width is None:
        return network
    name = f"{network}, width {width}"
    made = NETWORKS[network]
    NETWORKS[name] = made._replace(arguments={**made.arguments, "width": width})
    return name
