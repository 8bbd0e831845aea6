"""What a method costs: time, arithmetic, and bytes of masks."""

from __future__ import annotations

from math import sqrt
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

from dstcl.evaluation.titles import Title
from dstcl.figures.baselines import COLORS, MARKERS, ROW, SETTING, label
from dstcl.figures.panels import dots, name_rows, over_seeds, say, stacked
from dstcl.figures.style import GREY
from dstcl.figures.tables import NotDrawnError, Tables

MEASURES = {
    "seconds": ("training of a run (s)", False),
    "training_flops": ("training of a run\n(FLOPs, logarithmic)", True),
    "inference_flops": ("one image\n(FLOPs, logarithmic)", True),
    "mask_bytes": ("masks of a task\n(bytes)", False),
}
"""Words for the axis, and whether it is logarithmic."""


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers, in the units of summary.csv."""
    runs = tables.without_switches(tables.measured(*MEASURES))
    long = runs.melt([*SETTING, *ROW, "seed"], list(MEASURES), "measure").dropna(subset="value")
    if long.empty:
        raise NotDrawnError("no run has recorded what it cost")
    by = [*SETTING, *ROW, "measure"]
    seeds = long.groupby([*by, "seed"], sort=False, as_index=False)[["value"]].mean()
    numbers = over_seeds(seeds, by, "value")
    settings = list(numbers.groupby(SETTING, sort=False))
    rows = [len(part.drop_duplicates(ROW)) for _, part in settings]
    figure, subfigures = stacked([4.6 * count + 22 for count in rows])
    for (key, part), subfigure in zip(settings, subfigures):
        _draw_setting(tables.title, key, part, subfigure)
    return figure, numbers


def _draw_setting(title: Title, key: Any, rows: pd.DataFrame, part: SubFigure) -> None:
    dataset, tasks, protocol, network = key
    part.suptitle(
        f"{title(dataset)}, {tasks} tasks · protocol {protocol} · network {network}",
        fontweight="bold",
    )
    keys = sorted(
        set(zip(*(rows[name] for name in ROW))),
        key=lambda row: (row[2] == "none", row[0], -row[1], row[2]),
    )
    place = {row: index for index, row in enumerate(keys)}
    axes = part.subplots(1, len(MEASURES), sharey=True)
    name_rows(axes[0], [label(*row) for row in keys])
    for (measure, (words, logarithmic)), panel in zip(MEASURES.items(), axes):
        here = rows[rows.measure == measure]
        here = here.assign(place=[place[row] for row in zip(*(here[name] for name in ROW))])
        if logarithmic and (here["mean"] > 0).any():
            _logarithmic(panel, here["mean"][here["mean"] > 0])
        else:
            panel.set_xlim(0, max(1e-9, 1.15 * here[["mean", "high"]].max().max()))
            panel.xaxis.set_major_locator(MaxNLocator(3))
        if measure != "seconds":
            panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        panel.set_xlabel(words)
        panel.tick_params(axis="y", length=0)
        if here.empty:
            say(panel, "not\nrecorded")
        for method, line in here.groupby("method", sort=False):
            color, marker = COLORS.get(str(method), GREY), MARKERS.get(str(method), "D")
            dots(panel, line, color=color, marker=marker)
            for row in line[line["mean"] == 0].itertuples():
                panel.annotate(
                    "none",
                    (0.03, row.place),
                    xycoords=("axes fraction", "data"),
                    va="center",
                    color=GREY,
                )


def _logarithmic(panel: Axes, values: pd.Series[float]) -> None:
    """A scale of at least a decade, labelled at full decades and halves."""
    panel.set_xscale("log")
    middle, reach = sqrt(values.min() * values.max()), sqrt(values.max() / values.min())
    reach = 1.4 * max(reach, sqrt(10))
    panel.set_xlim(middle / reach, middle * reach)
    panel.xaxis.set_major_locator(LogLocator(subs=(1.0,) if reach > 20 else (1.0, 3.0)))
    panel.xaxis.set_minor_locator(NullLocator())
