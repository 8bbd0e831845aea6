"""What tasks would use and share if their masks were independent: the null of the mask figures.

Masks that know nothing of each other still put the same share of weights into each layer, so the
null draws every task's weights at random *within layers*, as many as the task has there. Layers
that every task fills (ERK makes such) are shared by all tasks without any of them choosing so.
"""

from __future__ import annotations

import numpy as np
import pandas as pd


def expected_use(layers: pd.DataFrame) -> pd.DataFrame:
    """Share of the weights used so far, and of a task's weights that were used before it.

    Args:
        layers: one row per run, task and layer: digest, task, layer, size, active.

    Returns:
        One row per run and task, in order of task: digest, task, ``expected_used`` (of all weights,
        after the task) and ``expected_reused`` (of the task's active weights), in per cent.
    """
    rows = layers.sort_values("task", kind="stable")
    of_layer = [rows.digest, rows.layer]
    unused = (1 - rows.active / rows["size"]).groupby(of_layer, sort=False).cumprod()
    before = unused.groupby(of_layer, sort=False).shift(fill_value=1.0)
    rows = rows.assign(used=rows["size"] * (1 - unused), reused=rows.active * (1 - before))
    sums = rows.groupby(["digest", "task"], sort=False, as_index=False)[
        ["size", "active", "used", "reused"]
    ].sum()
    sums["expected_used"] = 100 * sums.used / sums["size"]
    sums["expected_reused"] = 100 * sums.reused / sums.active
    return sums[["digest", "task", "expected_used", "expected_reused"]]


def expected_overlap(layers: pd.DataFrame) -> pd.DataFrame:
    """What two tasks share of all that either uses: expected shared over expected used weights.

    Args:
        layers: as in `expected_use`.

    Returns:
        One row per run and pair, ``other`` before ``task``: digest, task, other, expected_percent.
    """
    found = []
    for digest, rows in layers.groupby("digest", sort=False):
        active = rows.pivot(index="task", columns="layer", values="active")
        size = rows.drop_duplicates("layer").set_index("layer")["size"][active.columns]
        counts = active.to_numpy(float)
        both = counts @ (counts / size.to_numpy(float)).T
        total = counts.sum(1)
        either = total[:, None] + total - both
        later, earlier = np.tril_indices(len(active), -1)
        tasks = active.index.to_numpy()
        pairs = {"digest": digest, "task": tasks[later], "other": tasks[earlier]}
        percent = 100 * both[later, earlier] / either[later, earlier]
        found.append(pd.DataFrame(pairs | {"expected_percent": percent}))
    return pd.concat(found, ignore_index=True)
