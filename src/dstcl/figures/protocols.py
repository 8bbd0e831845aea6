"""What the paper's code and a careful reading of the paper make of the same configuration."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.figure import Figure, SubFigure

from dstcl.evaluation.axes import CELL, SETTING, SUBNETWORK
from dstcl.evaluation.spelling import spelled
from dstcl.evaluation.tables import Title
from dstcl.figures.means import APART, over_seeds, same_cells, together
from dstcl.figures.panels import dots, legend_above, name_rows, numbers_of_seeds, stacked
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
    runs = _of_both(runs.assign(percent=100 * runs.acc), CONFIGURATION)
    # Orders of growths are compared between protocols, within an init and density.
    panel = [*SETTING, "method", *SUBNETWORK]
    averaged = same_cells(runs, panel, ["protocol", "growth"])
    found = over_seeds(averaged.rows, [*CELL, *averaged.apart], "percent")
    points = _of_both(found, [*CONFIGURATION, *averaged.apart])
    if points.empty:
        raise NotDrawnError("no configuration was run under both published and corrected")
    alone = len(found) - len(points)
    note = [averaged.note, f"{alone} points of one protocol alone are not drawn" * bool(alone)]
    parts = [rows for _, rows in points.groupby([*SETTING, "method"], sort=False)]
    heights = [3.8 * len(rows) / 2 + 18 for rows in parts]
    figure, subfigures = stacked(heights, head=8, note=together(note))
    for rows, subfigure in zip(parts, subfigures):
        _draw_setting(tables.title, rows, subfigure)
    handles = [handle(name, PROTOCOLS[name]) for name in PAIR]
    legend_above(figure, handles, _legend(points))
    names = {"mean": "accuracy_percent", "low": "low_percent", "high": "high_percent"}
    return figure, points.rename(columns=names)


def _of_both(rows: pd.DataFrame, configuration: list[str]) -> pd.DataFrame:
    """Rows of configurations that were run under both protocols."""
    return rows[rows.groupby(configuration).protocol.transform("nunique") == len(PAIR)]


def _legend(points: pd.DataFrame) -> str:
    if points.seeds.max() == 1:
        return "protocol"
    return f"protocol (mean of {numbers_of_seeds(points)} seeds, line: 95% interval)"


def _draw_setting(title: Title, points: pd.DataFrame, subfigure: SubFigure) -> None:
    first = points.iloc[0]
    subfigure.suptitle(
        f"{title.setting(first.dataset, first.tasks)} · network {first.network} · "
        f"method {spelled(first.method)}",
        fontweight="bold",
    )
    panel = subfigure.subplots()
    names = [name for name in (*SUBNETWORK, "growth", APART) if name in points]
    order = points.drop_duplicates(names)
    order = order.sort_values([*SUBNETWORK], ascending=[False, False], kind="stable")
    cells = list(order[names].itertuples(index=False, name=None))
    place = {cell: index for index, cell in enumerate(cells)}
    keys = points[names].itertuples(index=False, name=None)
    points = points.assign(place=[place[key] for key in keys])
    ends = points.pivot_table("mean", "place", "protocol")
    panel.hlines(ends.index, ends[PAIR[0]], ends[PAIR[1]], color="#bdbdbd", linewidth=2.2)
    for protocol, rows in points.groupby("protocol", sort=False):
        shift = 0.16 * (1 if protocol == PAIR[0] else -1)
        dots(panel, rows.assign(place=rows.place + shift), **PROTOCOLS[str(protocol)])
    name_rows(panel, [_label(*cell) for cell in cells])
    for index in np.flatnonzero([a[0] != b[0] for a, b in pairwise(cells)]):
        panel.axhline(index + 0.5, color=GREY, linewidth=0.6)
    panel.set_xlabel("accuracy over all tasks after the last one (%)")
    low, high = points["mean"].min(), points["mean"].max()
    room = 0.15 * (high - low) + 1
    panel.set_xlim(max(low - room, 0), min(high + room, 100))


def _label(density: float, init: str, growth: str, apart: str = "") -> str:
    return " · ".join(filter(None, [sparsity(density), spelled(init), growth, apart]))
