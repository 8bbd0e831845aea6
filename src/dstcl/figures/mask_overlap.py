"""Which tasks share weights with which."""

from __future__ import annotations

from typing import TypeVar

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
T = TypeVar("T", float, "pd.Series[float]")


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
    relative = rows.jaccard_percent / independent(rows.density)
    norm = Normalize(0, max(1.0, relative.max()))
    for init, line in zip(inits, axes):
        for density, panel in zip(columns, line):
            here = rows[(rows.init == init) & (rows.density == density)]
            chance = independent(density)
            panel.set_title(f"{init}, {sparsity(density)}\n(independent: {chance:.1f} %)")
            if here.empty:
                panel.set_axis_off()
                say(panel, "no runs")
            else:
                _draw_grid(panel, here, norm)


def independent(density: T) -> T:
    """What two tasks with independent uniform masks share of all that either uses, in per cent."""
    return 100 * density / (2 - density)


def _draw_grid(panel: Axes, rows: pd.DataFrame, norm: Normalize) -> None:
    """Numbers are per cent; colours compare them with independent masks of that density."""
    last = int(rows.task.max())
    grid = np.full((last - 1, last - 1), np.nan)
    chance = independent(float(rows.density.iloc[0]))
    for task, other, value in zip(rows.task, rows.other, rows.jaccard_percent):
        grid[task - 2, other - 1] = value / chance
        red, green, blue, _ = COLORS(norm(value / chance))
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
