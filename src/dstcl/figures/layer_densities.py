"""Where each init puts its weights: realised density of every layer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from dstcl.evaluation.axes import METHOD_BLOCK, SUBNETWORK
from dstcl.evaluation.spelling import spelled
from dstcl.figures.means import APART, same_cells
from dstcl.figures.panels import (
    REFERENCE,
    blocks,
    densities,
    legend_above,
    name_settings,
    stacked,
)
from dstcl.figures.style import Look, handle, sparsity
from dstcl.figures.tables import Tables

CAPTION = (
    "Share of each layer's weights that a task activates, from input (top) to output (bottom), "
    "with the layer's number of weights. The marker is the mean over tasks, growths and seeds, "
    "without an interval; the pale bar spans the first to the last task. Uniform follows the "
    "dashed line at the network's density. ERK gives more weights to the layers right of the line "
    "and fewer to the layers left of it."
)


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers, in per cent."""
    averaged = same_cells(tables.capacity, [*METHOD_BLOCK, "density"], ["init"])
    layer = [*METHOD_BLOCK, *SUBNETWORK, *averaged.apart, "layer", "size"]
    layers = averaged.rows.assign(percent=100 * averaged.rows.active / averaged.rows["size"])
    numbers = layers.groupby(layer, sort=False, as_index=False)[["percent"]].mean()
    tasks = layers.groupby(list(METHOD_BLOCK)).task
    for name, task in (("first", tasks.transform("min")), ("last", tasks.transform("max"))):
        of_task = layers[layers.task == task].groupby(layer, as_index=False)[["percent"]].mean()
        numbers = numbers.merge(
            of_task.rename(columns={"percent": f"{name}_percent"}), on=layer, how="left"
        )
    parts = blocks(numbers, tables.title)
    heights = [max(26, 4.2 * rows.layer.nunique()) + 26 for _, rows in parts]
    figure, subfigures = stacked(heights, head=8, note=averaged.note)
    for (title, rows), subfigure in zip(parts, subfigures):
        _draw_block(title, rows, tables.init_looks, subfigure)
    handles = [handle(spelled(init), tables.init_looks[init]) for init in numbers.init.unique()]
    handles.append(Line2D([], [], **REFERENCE, label="density of the whole network"))
    legend_above(figure, handles)
    return figure, numbers


def _draw_block(
    title: str, rows: pd.DataFrame, looks: Mapping[str, Look], subfigure: SubFigure
) -> None:
    sizes = rows.drop_duplicates("layer").set_index("layer")["size"]
    places = pd.Series(np.arange(len(sizes)), index=sizes.index)
    columns = densities(rows)
    axes = subfigure.subplots(1, len(columns), sharex=True, sharey=True, squeeze=False)[0]
    subfigure.suptitle(title, fontweight="bold")
    subfigure.supxlabel("active weights of the layer (%), logarithmic")
    axes[0].set_xscale("log", nonpositive="clip")
    lowest = rows.percent[rows.percent > 0].min()
    axes[0].set_xlim(0.6 * lowest, 150)
    axes[0].xaxis.set_major_locator(LogLocator(subs=(1, 3) if lowest > 0.5 else (1,)))
    axes[0].xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes[0].xaxis.set_minor_locator(NullLocator())
    labels = [f"{str(name).removesuffix('.weight')} · {size:,}" for name, size in sizes.items()]
    axes[0].set_yticks(places, labels)
    axes[0].set_ylim(len(sizes) - 0.5, -0.5)
    axes[0].set_ylabel("layer · its number of weights")
    for density, panel in zip(columns, axes):
        _draw_panel(panel, density, rows[rows.density == density], places, looks)


def _draw_panel(
    panel: Axes,
    density: float,
    rows: pd.DataFrame,
    places: pd.Series,
    looks: Mapping[str, Look],
) -> None:
    panel.set_title(sparsity(density))
    panel.axvline(100 * density, **REFERENCE)
    names = [name for name in ("init", APART) if name in rows]
    for key, line in rows.groupby(names, sort=False):
        style, heights = looks[str(key[0])], line.layer.map(places)
        ends = {"color": style["color"], "alpha": 0.35, "linewidth": 3.5}
        panel.hlines(heights, line.first_percent, line.last_percent, **ends)
        panel.plot(line.percent, heights, **style)
        end = line.percent.iloc[-1], heights.iloc[-1]
        name_settings(panel, line, end, style["color"])
