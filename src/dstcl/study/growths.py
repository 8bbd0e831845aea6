"""Names of growths, and what they stand for; standard library only.

``gradient``: one criterion. ``random-then-gradient``: a switch within each task, at
``topology.switch_at``. ``5xrandom+5xgradient``: a plan over the tasks, the first five with random
growth and the last five with gradient growth, as in the paper's adaptive experiment (Figure 6).
``0.5xrandom+0.5xgradient``: the same by shares, for any number of tasks.
"""

from __future__ import annotations

import re
from itertools import accumulate
from math import isclose

GROWTH_CRITERIA = ("random", "unfired", "gradient", "momentum", "momentum_neuron")
"""Built-in ones, by name."""
THEN = "-then-"
"""Between the two criteria of a switch within a task."""
AND = "+"
"""Between the parts of a plan over the tasks."""
PART = r"(?P<count>\d+|\d+\.\d+)x(?P<growth>.+)"
"""A part of a plan: a number of tasks, or with a point a share of them, and their growth."""


def parts_of(growth: str) -> list[tuple[int | float, str]]:
    """The parts of a plan over the tasks, as (count or share, growth); empty for other growths.

    Raises:
        ValueError: it begins like a plan and goes on otherwise.
    """
    if not growth[:1].isdigit():
        return []
    parts = []
    for part in growth.split(AND):
        if not (found := re.fullmatch(PART, part)):
            raise ValueError(
                f"{part!r} is no part of a plan over tasks; one is 5xrandom, or 0.5xrandom for half"
            )
        count = found["count"]
        parts.append((float(count) if "." in count else int(count), found["growth"]))
    return parts


def is_plan(growth: str) -> bool:
    """Whether a growth is a plan over the tasks."""
    return bool(parts_of(growth))


def growth_names(growth: str) -> list[str]:
    """The criteria that a growth is made of, each once, in order."""
    parts = [part for _, part in parts_of(growth)] or [growth]
    return list(dict.fromkeys(name for part in parts for name in part.split(THEN)))


def growth_by_task(growth: str, tasks: int) -> list[str]:
    """The growth of each of the tasks.

    Shares are cut where they end, rounded to whole tasks.

    Raises:
        ValueError: a plan that does not add up, or has a part without tasks.
    """
    parts = parts_of(growth)
    if not parts:
        return [growth] * tasks
    counts = [count for count, _ in parts]
    if all(isinstance(count, int) for count in counts):
        if sum(counts) != tasks:
            raise ValueError(f"{growth!r} is a plan for {sum(counts)} tasks; there are {tasks}")
        ends = list(accumulate(counts))
    elif any(isinstance(count, int) for count in counts):
        raise ValueError(f"{growth!r} has both numbers of tasks and shares; use one of them")
    elif not isclose(sum(counts), 1):
        raise ValueError(f"{growth!r}: shares add up to {sum(counts):g}, not to 1")
    else:
        ends = [int(tasks * share + 0.5) for share in accumulate(counts)]
    by_task: list[str] = []
    for end, (_, name) in zip(ends, parts):
        if end <= len(by_task):
            raise ValueError(f"{growth!r}: {name} has none of {tasks} tasks")
        by_task += [name] * int(end - len(by_task))
    return by_task
