"""Dynamic sparse training beside other ways to learn one task after the other."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure, SubFigure

from dstcl.evaluation.titles import Title
from dstcl.figures.panels import dots, name_rows, over_seeds, say, stacked
from dstcl.figures.style import GREY
from dstcl.figures.tables import NotDrawnError, Tables

SETTING = ["dataset", "tasks", "protocol", "network"]
ROW = ["method", "density", "init"]
COLORS = {"dst": "#0072B2", "static": "#009E73", "gradual": "#009E73", "packnet": "#009E73"}
MARKERS = {"dst": "o", "static": "s", "gradual": "s", "packnet": "s"}


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers, in per cent; `NotDrawnError` where there is only one method."""
    runs = tables.without_switches(tables.measured("acc", "forgetting"))
    several = runs.groupby(SETTING).method.transform("nunique") > 1
    runs = runs[several]
    if runs.empty:
        raise NotDrawnError("the study has one method only; others are named under methods")
    parts = {}
    for measure in ("acc", "forgetting"):
        values = runs.assign(value=100 * runs[measure]).dropna(subset="value")
        seeds = values.groupby([*SETTING, *ROW, "seed"], sort=False, as_index=False)[
            ["value"]
        ].mean()
        parts[measure] = over_seeds(seeds, [*SETTING, *ROW], "value")
    settings = list(parts["acc"].groupby(SETTING, sort=False))
    figure, subfigures = stacked([4.6 * len(rows) + 18 for _, rows in settings])
    for (key, rows), subfigure in zip(settings, subfigures):
        lost = parts["forgetting"]
        lost = lost[(lost[SETTING] == list(key)).all(axis=1)]
        order = rows.sort_values("mean", ascending=False, kind="stable").reset_index(drop=True)
        _draw_setting(tables.title, key, order, lost, subfigure)
    numbers = pd.concat(parts, names=["measure"]).reset_index("measure")
    names = {"mean": "percent", "low": "low_percent", "high": "high_percent"}
    return figure, numbers.rename(columns=names)


def label(method: str, density: float, init: str) -> str:
    """A method's row; a dense one has neither density nor init."""
    return method if init == "none" else f"{method} · density {density:g} · {init}"


def _draw_setting(
    title: Title, key: Any, rows: pd.DataFrame, lost: pd.DataFrame, part: SubFigure
) -> None:
    dataset, tasks, protocol, network = key
    part.suptitle(
        f"{title(dataset)}, {tasks} tasks · protocol {protocol} · network {network}",
        fontweight="bold",
    )
    left, right = part.subplots(1, 2, sharey=True, width_ratios=[3, 2])
    place = {key: index for index, key in enumerate(zip(*(rows[name] for name in ROW)))}
    name_rows(left, [label(*key) for key in place])
    for panel, table in ((left, rows), (right, lost)):
        keys = zip(*(table[name] for name in ROW))
        table = table.assign(place=[place[key] for key in keys])
        for method, line in table.groupby("method", sort=False):
            color, marker = COLORS.get(str(method), GREY), MARKERS.get(str(method), "D")
            dots(panel, line, color=color, marker=marker)
    if lost.empty:
        say(right, "not measured")
    left.set_xlabel("accuracy over all tasks at the end (%)")
    right.set_xlabel("forgetting (points)")
    right.axvline(0, color="black", linewidth=0.7)
    right.tick_params(axis="y", length=0)
