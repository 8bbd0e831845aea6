"""The name of a task split, which says all that decides it; standard library only.

``seed3``: classes shuffled by 3; ``natural``: 0, 1, 2, ...; ``superclass``: classes of a superclass
side by side. ``-sizes50+5x10`` after it: a task of 50 classes and five of 10, instead of equal
ones. ``-val0.1``: a tenth of the training images of each class is held out for validation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

PATTERN = r"(?:natural|superclass|seed[0-9]+)(?:-sizes[0-9x+]+)?(?:-val0\.[0-9]+)?"
"""Of the whole name; for Snakemake's wildcard."""


class Order(NamedTuple):
    """What a name says.

    Attributes:
        classes: "natural", "superclass" or "seed<k>".
        sizes: classes of each task; empty for equal tasks.
        validation: fraction of each class's training images, 0 for none.
    """

    classes: str
    sizes: tuple[int, ...] = ()
    validation: float = 0.0


def order_name(order: Order) -> str:
    """The name that `parse_order` reads."""
    runs = [(size, len(list(group))) for size, group in groupby(order.sizes)]
    sizes = "+".join(f"{count}x{size}" if count > 1 else str(size) for size, count in runs)
    return (
        order.classes
        + (f"-sizes{sizes}" if sizes else "")
        + (f"-val{order.validation:g}" if order.validation else "")
    )


def parse_order(name: str) -> Order:
    """The inverse of `order_name`.

    Raises:
        ValueError: a name of another form.
    """
    if not re.fullmatch(PATTERN, name):
        raise ValueError(
            f"order {name!r}; allowed: natural, superclass, or seed and a number, as seed0; "
            "then -sizes50+5x10 for unequal tasks, then -val0.1 for a validation part"
        )
    classes, *options = name.split("-")
    sizes: list[int] = []
    validation = 0.0
    for option in options:
        if option.startswith("sizes"):
            sizes = _sizes(name, option.removeprefix("sizes"))
        else:
            validation = float(option.removeprefix("val"))
    return Order(classes, tuple(sizes), validation)


def _sizes(name: str, text: str) -> list[int]:
    sizes: list[int] = []
    for part in text.split("+"):
        if not re.fullmatch(r"(\d+x)?\d+", part):
            raise ValueError(f"order {name!r}: sizes {text!r}; as 50+5x10: 50, then five times 10")
        count, _, size = part.rpartition("x")
        sizes += [int(size)] * int(count or 1)
    return sizes


def size_problem(sizes: Sequence[int], classes: int, tasks: int) -> str:
    """What is wrong with unequal tasks, or ""."""
    if len(sizes) != tasks:
        return f"{len(sizes)} sizes for {tasks} tasks"
    if sum(sizes) != classes:
        return f"they add up to {sum(sizes)}, there are {classes} classes"
    if min(sizes) < 1:
        return "a task without classes"
    return ""
