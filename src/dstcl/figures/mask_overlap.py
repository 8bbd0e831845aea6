"""Which tasks share weights with which."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure, SubFigure

from dstcl.evaluation.axes import METHOD_BLOCK, NOT_READ, SUBNETWORK
from dstcl.evaluation.spelling import spelled
from dstcl.figures.independent_masks import expected_overlap
from dstcl.figures.means import same_cells
from dstcl.figures.panels import blocks, densities, say, stacked
from dstcl.figures.style import sparsity
from dstcl.figures.tables import NotDrawnError, Tables

CAPTION = (
    "Weights that two tasks share, in % of all weights that either uses (Jaccard index), mean "
    "over growths and seeds, without an interval. The colour compares this value with the "
    "expectation for independent masks with the same number of weights in each layer, which is "
    "given in the panel. White pairs share as much as by chance, orange pairs more, and purple "
    "pairs less. The scale is the same in all studies."
)

# White is chance, in every study: the range is fixed and its middle is 1.
COLORS, NORM = colormaps["PuOr_r"], LogNorm(1 / 4, 4)
TICKS = {1 / 4: "¼", 1 / 2: "½", 1: "1: chance", 2: "2", 4: "4"}


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers, in per cent."""
    masked = tables.overlap[tables.overlap.init != NOT_READ]
    if masked.empty:
        raise NotDrawnError("no run has masks of several tasks")
    pairs = ["digest", "task", "other"]
    averaged = same_cells(masked, [*METHOD_BLOCK, *SUBNETWORK], [])
    layers = tables.capacity[tables.capacity.digest.isin(averaged.rows.digest)]
    masked = averaged.rows.merge(expected_overlap(layers), on=pairs)
    cells = [*METHOD_BLOCK, *SUBNETWORK, "task", "other"]
    means = ["jaccard", "expected_percent"]
    numbers = masked.groupby(cells, sort=False, as_index=False)[means].mean()
    numbers.insert(len(cells), "jaccard_percent", 100 * numbers.pop("jaccard"))
    numbers["relative"] = numbers.jaccard_percent / numbers.expected_percent
    parts = blocks(numbers, tables.title)
    heights = [50 * rows.init.nunique() + 16 for _, rows in parts]
    figure, subfigures = stacked(heights, note=averaged.note)
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
            panel.set_title(f"{spelled(init)}, {sparsity(density)}")
            if here.empty:
                panel.set_axis_off()
                say(panel, "no runs")
            else:
                chance = _range(here.expected_percent)
                panel.set_title(f"{spelled(init)}, {sparsity(density)}\n(independent: {chance}%)")
                _draw_grid(panel, here)
    bar = subfigure.colorbar(
        ScalarMappable(NORM, COLORS), ax=axes, extend="both", shrink=0.8, pad=0.02
    )
    bar.set_ticks(list(TICKS), labels=list(TICKS.values()))
    bar.minorticks_off()
    bar.set_label("relative to independent masks")


def _range(values: pd.Series[float]) -> str:
    ends = dict.fromkeys(f"{value:.1f}" for value in (values.min(), values.max()))
    return " to ".join(ends)


def _draw_grid(panel: Axes, rows: pd.DataFrame) -> None:
    """Numbers are per cent; colours compare them with independent masks."""
    last = int(rows.task.max())
    grid = np.full((last - 1, last - 1), np.nan)
    for task, other, value, relative in zip(
        rows.task, rows.other, rows.jaccard_percent, rows.relative
    ):
        grid[task - 2, other - 1] = max(relative, NORM.vmin)  # a logarithm of 0 has no colour
        red, green, blue, _ = COLORS(NORM(grid[task - 2, other - 1]))
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
    panel.imshow(grid, cmap=COLORS, norm=NORM, extent=(0.5, last - 0.5, last + 0.5, 1.5))
    panel.grid(False)
    step = 1 if last <= 12 else 2
    panel.set_xticks(range(1, last, step))
    panel.set_yticks(range(2, last + 1, step))
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
