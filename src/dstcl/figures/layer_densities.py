"""Where each init puts its weights: realised density of every layer."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from dstcl.figures.panels import REFERENCE, blocks, densities, legend_above, stacked
from dstcl.figures.style import init_style, sparsity
from dstcl.figures.tables import BLOCK, Tables


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers, in per cent."""
    layer = [*BLOCK, "density", "init", "layer", "size"]
    capacity = tables.capacity
    capacity["percent"] = 100 * capacity.active / capacity["size"]
    numbers = capacity.groupby(layer, sort=False, as_index=False).percent.mean()
    parts = blocks(numbers)
    figure, subfigures = stacked([4.2 * rows.layer.nunique() + 26 for _, rows in parts], head=8)
    for (title, rows), subfigure in zip(parts, subfigures):
        _draw_block(title, rows, subfigure)
    handles = [Line2D([], [], label=init, **init_style(init)) for init in numbers.init.unique()]
    handles.append(Line2D([], [], **REFERENCE, label="density of the network"))
    legend_above(figure, handles)
    return figure, numbers
