"""Which classes form which task, stored as data."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import torch

from dstcl.seeds import generator
from dstcl.storage import read_json, write_json


def split_classes(classes: int, tasks: int, order: str) -> list[list[int]]:
    """Cut the classes into equal tasks.

    Args:
        order: "natural" for 0, 1, 2, ..., or "seed<k>" for a shuffle that depends on k alone.

    Returns:
        For each task, its classes; the position of a class is its label within the task.
    """
    if tasks < 1 or classes % tasks:
        raise ValueError(f"{tasks} tasks do not divide {classes} classes")
    if not re.fullmatch(r"natural|seed\d+", order):
        raise ValueError(f"order {order!r}; allowed: natural, or seed and a number, as seed0")
    if order == "natural":
        sequence = list(range(classes))
    else:
        shuffle = generator(int(order.removeprefix("seed")), "class order")
        sequence = torch.randperm(classes, generator=shuffle).tolist()
    size = classes // tasks
    return [sequence[start : start + size] for start in range(0, tasks * size, size)]


def write_tasks(data: Path, dataset: str, tasks: int, order: str, out: Path) -> None:
    """Write the split of a prepared data set, with its digest and the data's."""
    from dstcl.data.prepare import load_prepared

    prepared = load_prepared(data)
    if prepared.dataset not in ("", dataset):
        raise ValueError(f"{data}: {prepared.dataset}, not {dataset}")
    split = split_classes(len(prepared.class_names), tasks, order)
    description: dict[str, Any] = {
        "dataset": dataset,
        "data_digest": prepared.digest,
        "order": order,
        "tasks": split,
        "class_names": [[prepared.class_names[label] for label in task] for task in split],
    }
    text = json.dumps(description, sort_keys=True)
    write_json(out, description | {"digest": hashlib.sha256(text.encode()).hexdigest()[:16]})


def read_tasks(path: Path) -> dict[str, Any]:
    """The content of a file of `write_tasks`.

    Raises:
        ValueError: naming the file, if it is missing or no split.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not {"tasks", "data_digest", "digest"} <= content.keys():
        raise ValueError(f"{path}: not a task split")
    return content
