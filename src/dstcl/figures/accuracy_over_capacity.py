"""How well a task is learned with so much of the network still free."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from dstcl.evaluation.axes import CELL, NOT_READ, mean_over
from dstcl.figures.panels import (
    Part,
    accuracy_limits,
    blocks,
    legend_title,
    line_panels,
    over_seeds,
)
from dstcl.figures.tables import NotDrawnError, Tables

CAPTION = (
    "Accuracy on a task right after it is learned, against the share of weights that were free "
    "when it began. Time runs from left to right: each point is a task, each line a growth. Lines "
    "are means over seeds, and bands are 95% intervals; with fewer than five seeds, each seed is "
    "a small point instead. A line that collapses on the right means that tasks fail when free "
    "weights run out. Tasks differ in difficulty, so compare lines with each other."
)

RUN = [*CELL, "seed", "digest"]


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers, in per cent."""
    runs = _tasks(tables)
    if runs.empty:
        raise NotDrawnError("no run learned tasks one after the other in masks of their own")
    learned = over_seeds(runs, [*CELL, "task"], "accuracy", by_seed=True)
    free = runs.groupby([*CELL, "task"], sort=False, as_index=False)[["free"]].mean()
    points = learned.merge(free, on=[*CELL, "task"])
    parts = []
    for title, rows in blocks(points, tables.title):
        limits = accuracy_limits(rows, 0.2)
        moved = rows.drop(columns="task").rename(columns={"free": "task"})
        label = "weights free when the task begins (%)"
        y_label = "accuracy on the task when learned (%)"
        parts.append(Part(title, y_label, moved, limits, x_label=label, falling=True))
    names = {"mean": "accuracy_percent", "low": "low_percent", "high": "high_percent"}
    numbers = points.rename(columns=names | {"free": "free_percent"})
    note = mean_over(tables.capacity[tables.capacity.init != NOT_READ])
    return line_panels(parts, legend_title(points), tables.growth_looks, note), numbers


def _tasks(tables: Tables) -> pd.DataFrame:
    """One row per run and task: accuracy when learned and free weights before, in per cent."""
    masked = tables.capacity[tables.capacity.init != NOT_READ]
    sums = masked.groupby([*RUN, "task"], sort=False, as_index=False)[["size", "free"]].sum()
    before = sums.assign(free=100 * sums.free / sums["size"], task=sums.task + 1)
    first = sums[sums.task == 1].assign(free=100.0)
    free = pd.concat([first, before]).drop(columns="size")
    rows = tables.accuracy[tables.accuracy.task == tables.accuracy.after_task]
    accuracy = rows[[*RUN, "task", "accuracy"]].assign(accuracy=100 * rows.accuracy)
    return accuracy.merge(free, on=[*RUN, "task"])
