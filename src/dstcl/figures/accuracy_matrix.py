"""The accuracy matrix R[i, j] of the best and the worst configuration at each density."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure

from dstcl.evaluation.axes import cell_axes, varied_axes
from dstcl.evaluation.compare import in_every_seed
from dstcl.evaluation.spelling import spelled
from dstcl.evaluation.tables import Title
from dstcl.figures.means import named, together
from dstcl.figures.panels import blocks, densities, stacked, varied_words
from dstcl.figures.style import sparsity, width_mm
from dstcl.figures.tables import NotDrawnError, Tables

CAPTION = (
    "Test accuracy on every seen task (columns) after each learned task (rows). Shown are the "
    "configurations with the best and the worst mean accuracy at each sparsity, over the seeds "
    "that all have. Each is shown with the lowest of these seeds only, so without an interval. "
    "Read down a column: falling numbers mean forgetting. A column that is low from the start "
    "belongs to a task that was never learned well."
)

Layout = list[list[tuple[str, float]]]
RANKS = ("best", "worst")
NO_SEED = "no best and worst, as the configurations have no seed in common"
COMMON = "compared over the seeds that all have, not over all runs"
COLORS = colormaps["cividis"]
CELL_MM = 4.8
"""Room for "100" in 7 pt."""
LABEL_MM = 15
"""Width of the axis label, which cells cannot use."""


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers, in per cent."""
    chosen, note = _chosen(tables.shown, tables.title)
    if chosen.empty:
        raise NotDrawnError(note)
    matrices = tables.accuracy[["digest", "after_task", "task", "accuracy"]]
    numbers = chosen.merge(matrices, on="digest").drop(columns="digest")
    numbers["accuracy_percent"] = 100 * numbers.pop("accuracy")
    parts = blocks(numbers, tables.title)
    layouts = [_layout(rows) for _, rows in parts]
    figure, subfigures = stacked(
        [_height(panels, rows) for panels, (_, rows) in zip(layouts, parts)], note=note
    )
    for panels, (title, rows), subfigure in zip(layouts, parts, subfigures):
        _draw_block(title, rows, panels, subfigure)
    return figure, numbers


def _usable_mm() -> float:
    return width_mm() - LABEL_MM


def _chosen(runs: pd.DataFrame, title: Title) -> tuple[pd.DataFrame, str]:
    """Best and worst of every block at each density, and a note that says what is left out."""
    chosen, left = [], dict[str, list[str]]()
    for name, block in blocks(runs, title):
        for density in densities(block):
            own = block[block.density == density]
            compared = _compared(own)
            place = f"{sparsity(density)} ({name})"
            if compared.empty:
                left.setdefault(NO_SEED, []).append(place)
                continue
            chosen.append(_best_and_worst(compared))
            if len(compared) < len(own):
                left.setdefault(COMMON, []).append(place)
    note = together(f"{reason}: {named(places)}" for reason, places in left.items())
    return pd.concat(chosen) if chosen else runs.iloc[:0], note


def _compared(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of the same seeds in every cell."""
    number = runs.groupby(cell_axes(runs)).ngroup()
    found = in_every_seed(runs.assign(_cell=number).pivot_table("acc", "seed", "_cell"))
    return runs[runs.seed.isin(found.index) & number.isin(found.columns)]


def _best_and_worst(runs: pd.DataFrame) -> pd.DataFrame:
    """The lowest seed of the cells with the highest and the lowest mean ACC."""
    cell = cell_axes(runs)
    means = runs.groupby(cell, sort=False, as_index=False)[["acc"]].mean()
    means = means.rename(columns={"acc": "mean_acc"}).assign(of=len(means))
    means = means.sort_values("mean_acc", kind="stable")
    worst = means.head(len(means) - 1).head(1)
    picked = pd.concat([means.tail(1).assign(rank="best"), worst.assign(rank="worst")])
    chosen = picked.merge(runs.sort_values("seed").drop_duplicates(cell), on=cell)
    chosen["acc_percent"], chosen["mean_acc_percent"] = 100 * chosen.acc, 100 * chosen.mean_acc
    return chosen.drop(columns=["acc", "mean_acc"])


def _layout(rows: pd.DataFrame) -> Layout:
    """Where which (rank, density) stands: ranks are rows if all densities fit into one."""
    ranks = [rank for rank in RANKS if (rows["rank"] == rank).any()]
    columns = densities(rows)
    if len(columns) <= 3 and len(columns) * (CELL_MM * rows.tasks.iloc[0] + 8) <= _usable_mm():
        return [[(rank, density) for density in columns] for rank in ranks]
    return [[(rank, density) for rank in ranks] for density in columns]


def _height(panels: Layout, rows: pd.DataFrame) -> float:
    """Millimetres for square cells of a legible but not a wasteful size, titles and labels."""
    size = min(1.25 * CELL_MM * rows.tasks.iloc[0], _usable_mm() / len(panels[0]) - 8)
    return len(panels) * (size + 20 + 3 * len(varied_axes(rows))) + 12


def _draw_block(title: str, rows: pd.DataFrame, panels: Layout, subfigure: SubFigure) -> None:
    axes = subfigure.subplots(len(panels), len(panels[0]), squeeze=False)
    subfigure.suptitle(f"{title}\nAccuracy (%) on each task seen so far", fontweight="bold")
    subfigure.supxlabel("tested on task")
    subfigure.supylabel("after learning task")
    norm = Normalize(rows.accuracy_percent.min(), rows.accuracy_percent.max() + 1e-9)
    for panel_row, axes_row in zip(panels, axes):
        for (rank, density), panel in zip(panel_row, axes_row):
            run = rows[(rows["rank"] == rank) & (rows.density == density)]
            if run.empty:
                panel.set_axis_off()
            else:
                _draw_matrix(panel, run, norm)


def _draw_matrix(panel: Axes, run: pd.DataFrame, norm: Normalize) -> None:
    first = run.iloc[0]
    cell = "\n".join([f"{spelled(first.init)}, {first.growth}", *varied_words(first)])
    panel.set_title(
        f"{sparsity(first.density)}: {first['rank']} of {first.of}\n{cell}\n"
        f"ACC {first.acc_percent:.1f}% (seed {first.seed}), mean {first.mean_acc_percent:.1f}%"
    )
    tasks = int(run.after_task.max())
    grid = np.full((tasks, tasks), np.nan)
    for after, task, value in zip(run.after_task, run.task, run.accuracy_percent):
        grid[after - 1, task - 1] = value
        red, green, blue, _ = COLORS(norm(value))
        text = f"{value:.0f}"
        panel.text(
            task,
            after,
            text,
            ha="center",
            va="center",
            color="black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white",
            fontsize=7 if len(text) < 3 or tasks <= 12 else 5.5,
        )
    edges = (0.5, tasks + 0.5)
    panel.imshow(grid, cmap=COLORS, norm=norm, extent=(*edges, *edges[::-1]))
    panel.grid(False)
    ticks = range(1, tasks + 1)
    panel.set_xticks(ticks)
    panel.set_yticks(ticks)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
