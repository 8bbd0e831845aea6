"""What the paper's code and a careful reading of the paper make of the same configuration."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.figure import Figure, SubFigure

from dstcl.evaluation.axes import CELL, SETTING, mean_over
from dstcl.evaluation.spelling import spelled
from dstcl.evaluation.tables import Title
from dstcl.figures.panels import dots, legend_above, name_rows, over_seeds, stacked
from dstcl.figures.style import GREY, PROTOCOLS, handle, sparsity
from dstcl.figures.tables import NotDrawnError, Tables

CAPTION = (
    "The same configuration as the paper's code runs it (published) and as a careful reader would "
    "expect it (corrected). The marker is the accuracy after the last task, mean over seeds, with "
    "its 95% interval. A long grey bar marks a result that depends on defects of the code. "
    "Compare the order of the squares with that of the circles within an init and sparsity: if "
    "the orders differ, conclusions may depend on these defects too. comparisons.csv has the "
    "differences between growths and inits under each protocol, paired by seed, with intervals."
)

PAIR = ("published", "corrected")
CONFIGURATION = [axis for axis in CELL if axis != "protocol"]


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers, in per cent; `NotDrawnError` without cells of both protocols."""
    runs = tables.summary[tables.summary.protocol.isin(PAIR)]
    runs = runs.assign(percent=100 * runs.acc)
    points = over_seeds(runs, list(CELL), "percent")
    both = points.groupby(CONFIGURATION).protocol.transform("nunique") == 2
    points = points[both]
    if points.empty:
        raise NotDrawnError("no configuration was run under both published and corrected")
    parts = [rows for _, rows in points.groupby([*SETTING, "method"], sort=False)]
    heights = [3.8 * len(rows) / 2 + 18 for rows in parts]
    figure, subfigures = stacked(heights, head=8, note=_note(runs, points))
    for rows, subfigure in zip(parts, subfigures):
        _draw_setting(tables.title, rows, subfigure)
    handles = [handle(name, PROTOCOLS[name]) for name in PAIR]
    legend_above(figure, handles, _legend(points))
    names = {"mean": "accuracy_percent", "low": "low_percent", "high": "high_percent"}
    return figure, points.rename(columns=names)


def _note(runs: pd.DataFrame, points: pd.DataFrame) -> str:
    """Over what the means of these points are taken, beside seeds."""
    return mean_over(runs.merge(points[[*CELL]], on=[*CELL]))


def _legend(points: pd.DataFrame) -> str:
    seeds = points.seeds.max()
    return f"protocol (mean of {seeds} seeds, line: 95% interval)" if seeds > 1 else "protocol"


def _draw_setting(title: Title, points: pd.DataFrame, subfigure: SubFigure) -> None:
    first = points.iloc[0]
    subfigure.suptitle(
        f"{title.setting(first.dataset, first.tasks)} · network {first.network} · "
        f"method {spelled(first.method)}",
        fontweight="bold",
    )
    panel = subfigure.subplots()
    order = points.drop_duplicates(["density", "init", "growth"])
    order = order.sort_values(["density", "init"], ascending=[False, False], kind="stable")
    cells = list(order[["density", "init", "growth"]].itertuples(index=False, name=None))
    place = {cell: index for index, cell in enumerate(cells)}
    keys = points[["density", "init", "growth"]].itertuples(index=False, name=None)
    points = points.assign(place=[place[key] for key in keys])
    ends = points.pivot_table("mean", "place", "protocol")
    panel.hlines(ends.index, ends[PAIR[0]], ends[PAIR[1]], color="#bdbdbd", linewidth=2.2)
    for protocol, rows in points.groupby("protocol", sort=False):
        shift = 0.16 * (1 if protocol == PAIR[0] else -1)
        dots(panel, rows.assign(place=rows.place + shift), **PROTOCOLS[str(protocol)])
    name_rows(panel, [f"{sparsity(d)} · {spelled(init)} · {growth}" for d, init, growth in cells])
    for index in np.flatnonzero([a[0] != b[0] for a, b in pairwise(cells)]):
        panel.axhline(index + 0.5, color=GREY, linewidth=0.6)
    panel.set_xlabel("accuracy over all tasks after the last one (%)")
    low, high = points["mean"].min(), points["mean"].max()
    room = 0.15 * (high - low) + 1
    panel.set_xlim(max(low - room, 0), min(high + room, 100))
