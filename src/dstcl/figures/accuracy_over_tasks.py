"""The paper's figure: mean accuracy over the tasks seen so far, as more tasks are learned."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from dstcl.evaluation.axes import CELL
from dstcl.figures.means import over_seeds, same_cells_of_growths
from dstcl.figures.panels import (
    Part,
    accuracy_limits,
    blocks,
    legend_title,
    line_panels,
)
from dstcl.figures.tables import Tables

CAPTION = (
    "Mean test accuracy over the tasks seen so far, after each learned task. One panel per init "
    "and sparsity, one line per growth. Lines are means over seeds; the band is the 95% interval "
    "(Student's t) and may extend beyond the panel. With fewer than five seeds, each seed is a "
    "small point instead. Each protocol has its own scale. Look for lines that separate as tasks "
    "are added or as sparsity rises. Use comparisons.csv to judge single differences: seeds share "
    "their tasks, so bands can overlap even if every seed agrees."
)


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers, in per cent."""
    averaged = same_cells_of_growths(tables.accuracy)
    seen = averaged.rows.rename(columns={"task": "seen_task", "after_task": "task"})
    by = [*CELL, *averaged.apart, "task"]
    runs = seen.groupby([*by, "seed"], sort=False, as_index=False)[["accuracy"]].mean()
    runs["accuracy"] *= 100
    points = over_seeds(runs, by, "accuracy", by_seed=True)
    parts = [
        Part(title, "accuracy over tasks seen so far (%)", rows, accuracy_limits(rows, 0.3))
        for title, rows in blocks(points, tables.title)
    ]
    figure = line_panels(parts, legend_title(points), tables.growth_looks, averaged.note)
    names = {"mean": "accuracy_percent", "low": "low_percent", "high": "high_percent"}
    return figure, points.rename(columns=names)
