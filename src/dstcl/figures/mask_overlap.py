"""Which tasks share weights with which."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure

from dstcl.figures.panels import blocks, densities, say, stacked
from dstcl.figures.style import sparsity
from dstcl.figures.tables import BLOCK, NotDrawnError, Tables

COLORS = colormaps["cividis"]


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers, in per cent."""
    masked = tables.overlap[tables.overlap.init != "none"]
    if masked.empty:
        raise NotDrawnError("no run has masks of several tasks")
    cells = [*BLOCK, "density", "init", "task", "other"]
    numbers = masked.groupby(cells, sort=False, as_index=False)[["jaccard"]].mean()
    numbers["jaccard_percent"] = 100 * numbers.pop("jaccard")
    parts = blocks(numbers)
    figure, subfigures = stacked([50 * rows.init.nunique() + 16 for _, rows in parts])
    for (title, rows), subfigure in zip(parts, subfigures):
        _draw_block(title, rows, subfigure)
    return figure, numbers


def _draw_block(title: str, rows: pd.DataFrame, subfigure: SubFigure) -> None:
    inits, columns = rows.init.unique(), densities(rows)
    axes = subfigure.subplots(len(inits), len(columns), squeeze=False)
    subfigure.suptitle(
        f"{title}\nWeights shared by two tasks, of all that either uses (%)", fontweight="bold"
    )
    subfigure.supxlabel("earlier task")
    subfigure.supylabel("task")
    for init, line in zip(inits, axes):
        for density, panel in zip(columns, line):
            here = rows[(rows.init == init) & (rows.density == density)]
            chance = 100 * density / (2 - density)
            panel.set_title(f"{init}, {sparsity(density)}\n(independent: {chance:.0f} %)")
            if here.empty:
                panel.set_axis_off()
                say(panel, "no runs")
            else:
                _draw_grid(panel, here)


def _draw_grid(panel: Axes, rows: pd.DataFrame) -> None:
    """A panel has a scale of its own: what is common to all pairs follows from the density."""
    last = int(rows.task.max())
    grid = np.full((last - 1, last - 1), np.nan)
    norm = Normalize(rows.jaccard_percent.min(), rows.jaccard_percent.max() + 1e-9)
    for task, other, value in zip(rows.task, rows.other, rows.jaccard_percent):
        grid[task - 2, other - 1] = value
        red, green, blue, _ = COLORS(norm(value))
        light = 0.3 * red + 0.59 * green + 0.11 * blue > 0.5
        if last <= 12:
            panel.text(
                other,
                task,
                f"{value:.0f}",
                ha="center",
                va="center",
                fontsize=7 if last <= 8 else 5.5,
                color="black" if light else "white",
            )
    panel.imshow(grid, cmap=COLORS, norm=norm, extent=(0.5, last - 0.5, last + 0.5, 1.5))
    panel.grid(False)
    step = 1 if last <= 12 else 2
    panel.set_xticks(range(1, last, step))
    panel.set_yticks(range(2, last + 1, step))
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
