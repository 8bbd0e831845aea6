"""How well a task is learned with so much of the network still free."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from dstcl.evaluation.axes import CELL, NOT_READ
from dstcl.figures.means import over_seeds, same_cells_of_growths
from dstcl.figures.panels import (
    Part,
    accuracy_limits,
    blocks,
    legend_title,
    line_panels,
)
from dstcl.figures.tables import NotDrawnError, Tables

CAPTION = (
    "Accuracy on a task right after it is learned, against the share of weights that were free "
    "when it began. Time runs from left to right: each point is a task, each line a growth. Lines "
    "are means over seeds, and bands are 95% intervals; with fewer than five seeds, each seed is "
    "a small point instead. A line that collapses on the right means that tasks fail when free "
    "weights run out. Tasks differ in difficulty, so compare lines with each other."
)


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers, in per cent."""
    averaged = same_cells_of_growths(tables.capacity[tables.capacity.init != NOT_READ])
    by = [*CELL, *averaged.apart, "task"]
    runs = _tasks(averaged.rows, [*by, "seed", "digest"], tables.accuracy)
    if runs.empty:
        raise NotDrawnError("no run learned tasks one after the other in masks of their own")
    learned = over_seeds(runs, by, "accuracy", by_seed=True)
    free = runs.groupby(by, sort=False, as_index=False)[["free"]].mean()
    points = learned.merge(free, on=by)
    parts = []
    for title, rows in blocks(points, tables.title):
        limits = accuracy_limits(rows, 0.2)
        moved = rows.drop(columns="task").rename(columns={"free": "task"})
        label = "weights free when the task begins (%)"
        y_label = "accuracy on the task when learned (%)"
        parts.append(Part(title, y_label, moved, limits, x_label=label, falling=True))
    names = {"mean": "accuracy_percent", "low": "low_percent", "high": "high_percent"}
    numbers = points.rename(columns=names | {"free": "free_percent"})
    figure = line_panels(parts, legend_title(points), tables.growth_looks, averaged.note)
    return figure, numbers


def _tasks(masked: pd.DataFrame, of: list[str], accuracy: pd.DataFrame) -> pd.DataFrame:
    """One row per run and task: accuracy when learned and free weights before, in per cent.

    Args:
        masked: of each run, task and layer: size, free.
        of: columns of a run and a task.
        accuracy: of each run, after each task on each task.
    """
    sums = masked.groupby(of, sort=False, as_index=False)[["size", "free"]].sum()
    before = sums.assign(free=100 * sums.free / sums["size"], task=sums.task + 1)
    first = sums[sums.task == 1].assign(free=100.0)
    free = pd.concat([first, before]).drop(columns="size")
    rows = accuracy[accuracy.task == accuracy.after_task]
    learned = rows[["digest", "task"]].assign(accuracy=100 * rows.accuracy)
    return learned.merge(free, on=["digest", "task"])
