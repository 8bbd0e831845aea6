"""Which classes form which task, and which images are held out, stored as data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dstcl.data.made_by import SPLIT_MODULES, write_made_by
from dstcl.data.orders import parse_order, size_problem
from dstcl.data.readers.source import SPLIT_SEED
from dstcl.data.superclasses import SUPERCLASSES
from dstcl.seeds import generator
from dstcl.storage import write_json

if TYPE_CHECKING:
    from dstcl.data.stored import Prepared

VALIDATION_STREAM = 1


def split_classes(
    classes: int,
    tasks: int,
    order: str,
    *,
    sizes: Sequence[int] = (),
    superclasses: Sequence[int] = (),
) -> list[list[int]]:
    """Cut the classes into tasks.

    Args:
        order: "natural" for 0, 1, 2, ..., "seed<k>" for a shuffle that depends on k alone, or
            "superclass" for the classes of a superclass side by side.
        sizes: classes of each task; without them tasks are equal.
        superclasses: of each class the number of its superclass, for that order.

    Returns:
        For each task, its classes; the position of a class is its label within the task.
    """
    named = parse_order(order)
    sizes = sizes or named.sizes
    if sizes and (problem := size_problem(sizes, classes, tasks)):
        raise ValueError(f"sizes {'+'.join(map(str, sizes))}: {problem}")
    if not sizes:
        if tasks < 1 or classes % tasks:
            raise ValueError(f"{tasks} tasks do not divide {classes} classes")
        sizes = [classes // tasks] * tasks
    sequence = _sequence(classes, named.classes, superclasses)
    ends = np.cumsum(sizes).tolist()
    return [sequence[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def _sequence(classes: int, order: str, superclasses: Sequence[int]) -> list[int]:
    if order == "natural":
        return list(range(classes))
    if order == "superclass":
        if len(superclasses) != classes:
            raise ValueError(
                "order 'superclass': this data set has none; " + ", ".join(SUPERCLASSES) + " has"
            )
        return sorted(range(classes), key=lambda label: (superclasses[label], label))
    shuffle = generator(int(order.removeprefix("seed")), "class order")
    return torch.randperm(classes, generator=shuffle).tolist()


def superclasses_of(dataset: str, class_names: Sequence[str]) -> list[int]:
    """The number of each class's superclass; empty if the data set has none or other names."""
    number = {
        name: index
        for index, names in enumerate(SUPERCLASSES.get(dataset, {}).values())
        for name in names
    }
    return [number[name] for name in class_names] if set(class_names) == number.keys() else []


def held_out(data: Prepared, fraction: float) -> list[int]:
    """Training images for validation: of each class the same fraction, at least one.

    They depend on the images of the class, the fraction and the fixed split seed alone: every
    order, number of tasks and seed of a study holds out the same ones, and a larger fraction holds
    out those of a smaller one and more. None is a test image.

    Raises:
        ValueError: a class that would have no training image left.
    """
    labels, is_test = data.labels.numpy(), data.is_test.numpy()
    chosen: list[int] = []
    for label, name in enumerate(data.class_names):
        members = np.flatnonzero((labels == label) & ~is_test)
        count = max(1, round(fraction * len(members)))
        if count >= len(members):
            raise ValueError(f"validation: {fraction:g}; class {name} has {len(members)} images")
        random = np.random.default_rng([SPLIT_SEED, label, VALIDATION_STREAM])
        chosen += members[random.permutation(len(members))[:count]].tolist()
    return sorted(chosen)


def write_tasks(data: Path, dataset: str, tasks: int, order: str, out: Path) -> None:
    """Write the split of a prepared data set, with its digest and the data's, and, beside it, which
    code made it.

    Args:
        order: see `dstcl.data.orders`.
    """
    from dstcl.data.stored import load_prepared, split_digest

    prepared = load_prepared(data)
    if prepared.dataset not in ("", dataset):
        raise ValueError(f"{data}: {prepared.dataset}, not {dataset}")
    superclasses = superclasses_of(dataset, prepared.class_names)
    split = split_classes(len(prepared.class_names), tasks, order, superclasses=superclasses)
    description: dict[str, Any] = {
        "dataset": dataset,
        "data_digest": prepared.digest,
        "order": order,
        "tasks": split,
        "class_names": [[prepared.class_names[label] for label in task] for task in split],
    }
    if fraction := parse_order(order).validation:
        description["validation"] = held_out(prepared, fraction)
    digest = split_digest(description)
    write_json(out, description | {"digest": digest})
    write_made_by(out, digest, SPLIT_MODULES)
