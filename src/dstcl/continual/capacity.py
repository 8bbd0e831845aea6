"""What tasks take of a network, as plain functions of their masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dstcl.study.columns import PLASTICITY

TaskMasks = Sequence[Mapping[str, Tensor]]
"""For each task, in order: boolean masks by layer."""


def capacity_rows(tasks: TaskMasks) -> list[dict[str, int | str]]:
    """For each task and layer: size, active, new, shared and (afterwards) free weights.

    *shared*: active and used by an earlier task; *new*: active and used by none; *free*: used by no
    task so far.
    """
    rows: list[dict[str, int | str]] = []
    used: dict[str, Tensor] = {}
    for task, masks in enumerate(tasks, start=1):
        for name, mask in masks.items():
            before = used.get(name, torch.zeros_like(mask))
            shared, active = int((mask & before).count_nonzero()), int(mask.count_nonzero())
            used[name] = before | mask
            rows.append(
                {
                    "task": task,
                    "layer": name,
                    "size": mask.numel(),
                    "active": active,
                    "new": active - shared,
                    "shared": shared,
                    "free": mask.numel() - int(used[name].count_nonzero()),
                }
            )
    return rows


def with_plasticity(
    capacity: Sequence[Mapping[str, Any]], plasticity: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Rows of `capacity_rows`, each with what was seen of its layer as its task began; None where
    nothing was."""
    seen = {(row["task"], row["layer"]): row for row in plasticity}
    nothing = dict.fromkeys(PLASTICITY)
    return [{**nothing, **row, **seen.get((row["task"], row["layer"]), {})} for row in capacity]


def used_fraction(tasks: TaskMasks) -> float:
    """Share of the maskable weights that some task uses."""
    if not tasks:
        return 0.0
    total = used = 0
    for name, first in tasks[0].items():
        union = first
        for masks in tasks[1:]:
            union = union | masks[name]
        total += union.numel()
        used += int(union.count_nonzero())
    return used / total


def overlap_rows(tasks: TaskMasks) -> list[dict[str, int | float]]:
    """For each pair of tasks: weights that both use, and their Jaccard index.

    The Jaccard index is shared / (used by either), over all maskable weights; independent masks of
    density d have an expected index of about d / (2 - d).
    """
    both = _used_by_both(tasks)
    rows: list[dict[str, int | float]] = []
    for later in range(len(tasks)):
        for earlier in range(later):
            shared = both[later][earlier]
            either = both[later][later] + both[earlier][earlier] - shared
            rows.append(
                {
                    "task": later + 1,
                    "other": earlier + 1,
                    "shared": shared,
                    "jaccard": shared / either if either else 0.0,
                }
            )
    return rows


def _used_by_both(tasks: TaskMasks) -> list[list[int]]:
    """For each task, by each task up to itself: weights that both use.

    Layer by layer, as packed masks take eight times as much once unpacked.
    """
    both = [[0] * (task + 1) for task in range(len(tasks))]
    for name in tasks[0] if tasks else ():
        layer = [masks[name] for masks in tasks]
        for later, row in enumerate(both):
            for earlier in range(later + 1):
                row[earlier] += int((layer[later] & layer[earlier]).count_nonzero())
    return both
