"""How much of the network a task tries while it is trained."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from dstcl.evaluation.axes import CELL, NOT_READ
from dstcl.figures.means import over_seeds, same_cells_of_growths
from dstcl.figures.panels import Part, blocks, legend_title, line_panels
from dstcl.figures.tables import NotDrawnError, Tables

CAPTION = (
    "Share of weights that were active at any time since their task began, during the training of "
    "all tasks. Lines are means over seeds, and bands are 95% intervals; with fewer than five "
    "seeds, each seed is a small point instead. A line that rises far above the density has tried "
    "many weights. A flat line means that growth selects the same weights again."
)

PERCENT = (-2.0, 102.0)


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers, in per cent."""
    rows = tables.history[tables.history.growth != NOT_READ]
    if rows.empty:
        raise NotDrawnError("no run changes its masks while it trains")
    averaged = same_cells_of_growths(rows.assign(explored=100 * pd.to_numeric(rows.explored)))
    by = [*CELL, *averaged.apart, "task", "epoch"]
    points = over_seeds(averaged.rows, by, "explored", by_seed=True)
    parts = []
    for title, block in blocks(points, tables.title):
        time = block.task - 1 + block.epoch / block.epoch.max()
        label = "weights active at any time in the task (%)"
        parts.append(Part(title, label, block.assign(task=time), PERCENT, x_label="tasks trained"))
    names = {"mean": "explored_percent", "low": "low_percent", "high": "high_percent"}
    figure = line_panels(parts, legend_title(points), tables.growth_looks, averaged.note)
    return figure, points.rename(columns=names)
