"""What accuracy costs: against memory and against arithmetic, and which methods no other beats."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from dstcl.evaluation.axes import BLOCK, NOT_READ, SUBNETWORK
from dstcl.evaluation.spelling import spelled
from dstcl.evaluation.tables import read_table
from dstcl.figures.labels import place_names
from dstcl.figures.means import APART, over_seeds, same_cells, together
from dstcl.figures.panels import (
    BAND_FROM,
    legend_above,
    logarithmic,
    of_several_methods,
    stacked,
)
from dstcl.figures.style import METHOD_KINDS, handle, sparsity
from dstcl.figures.tables import NotDrawnError, Tables

CAPTION = (
    "Final accuracy over all tasks, against the memory for all tasks and against the arithmetic "
    "of training; labels give method and sparsity. Values are means over growths and seeds with "
    "95% intervals over seeds, or single seeds if there are fewer than five. Configurations on "
    "the Pareto front are those for which no other mean is as accurate at a lower cost."
)

ROW = ["method", *SUBNETWORK]
COSTS = {
    "memory_bytes": "kept for all tasks (bytes, logarithmic)",
    "training_flops": "training of all tasks (FLOPs, logarithmic)",
}
KINDS = {"grows": "grows weights", "masked": "other masks", "dense": "no density is set"}
FRONT: dict[str, Any] = {"color": "#b0b0b0", "linewidth": 2.5, "zorder": 1}
HEIGHT = 82
"""Of a panel, in mm."""


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers: accuracy in per cent, costs in the units of summary.csv."""
    summary = read_table(tables.study, "summary")
    # Runs of code that did not count a cost yet show the other.
    counted = [name for name in COSTS if name in summary]
    runs = tables.without_switches(tables.measured("acc", *(counted or COSTS)))
    runs = of_several_methods(runs)
    parts, notes = zip(*(_numbers(runs, cost) for cost in counted))
    numbers = pd.concat(parts)
    if numbers.empty:
        raise NotDrawnError("no run has recorded what it cost")
    found = list(numbers.groupby([*BLOCK, "cost"], sort=False))
    figure, subfigures = stacked([HEIGHT] * len(found), head=8, note=together(notes))
    panels = []
    for (key, rows), subfigure in zip(found, subfigures):
        panels.append((_draw_panel(tables, key, rows, subfigure), rows))
    handles = [
        handle(KINDS[kind], {**look, "linestyle": "none"}) for kind, look in METHOD_KINDS.items()
    ]
    legend_above(figure, [*handles, Line2D([], [], **FRONT, label="Pareto front")])
    for panel, rows in panels:
        _name(panel, rows)
    return figure, numbers


def on_front(costs: Sequence[float], accuracies: Sequence[float]) -> list[bool]:
    """Which of several are on the Pareto front: no other is at least as good in both, and better in
    one."""
    pairs = list(zip(costs, accuracies))
    return [
        not any(
            other[0] <= cost and other[1] >= accuracy and other != (cost, accuracy)
            for other in pairs
        )
        for cost, accuracy in pairs
    ]


def _numbers(runs: pd.DataFrame, cost: str) -> tuple[pd.DataFrame, str]:
    """One row per method, density and init that has the cost, and whether it is on the front; and
    the note of `Averaged`."""
    have = runs.dropna(subset=cost).assign(percent=100 * runs.acc)
    if have.empty:
        return pd.DataFrame(), ""
    averaged = same_cells(have, BLOCK, ROW)
    by = [*BLOCK, *ROW, *averaged.apart]
    accuracy = over_seeds(averaged.rows, by, "percent", by_seed=True)
    paid = over_seeds(averaged.rows, by, cost, by_seed=True).drop(columns="seeds")
    names = {"mean": "accuracy_percent", "low": "low_percent", "high": "high_percent"}
    rows = accuracy.rename(columns=names | {"by_seed": "percent_by_seed"}).merge(
        paid.rename(columns={name: f"cost_{name}" for name in ("mean", "low", "high", "by_seed")}),
        on=by,
    )
    rows.insert(len(by), "cost", cost)
    front = [
        pd.Series(on_front(own.cost_mean.tolist(), own.accuracy_percent.tolist()), own.index)
        for _, own in rows.groupby(list(BLOCK), sort=False)
    ]
    return rows.assign(on_front=pd.concat(front)), averaged.note


def _draw_panel(tables: Tables, key: Any, rows: pd.DataFrame, part: SubFigure) -> Axes:
    dataset, tasks, protocol, network, cost = key
    part.suptitle(
        f"{tables.title.setting(dataset, tasks)} · protocol {protocol} · network {network}",
        fontweight="bold",
    )
    panel = part.subplots()
    logarithmic(panel, rows.cost_mean)
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    front = rows[rows.on_front].sort_values("cost_mean")
    panel.step(front.cost_mean, front.accuracy_percent, where="post", **FRONT)
    for row in _records(rows):
        look = tables.method_looks[row["method"]]
        cost_mean, percent = row["cost_mean"], row["accuracy_percent"]
        panel.plot(cost_mean, percent, **{**look, "linestyle": "none"}, zorder=3)
        if row["seeds"] >= BAND_FROM:
            ends = {"color": look["color"], "linewidth": 0.9, "zorder": 2}
            panel.vlines(cost_mean, row["low_percent"], row["high_percent"], **ends)
            panel.hlines(percent, row["cost_low"], row["cost_high"], **ends)
        elif row["seeds"] > 1:
            costs, accuracies = (
                [float(value) for value in row[name].split()]
                for name in ("cost_by_seed", "percent_by_seed")
            )
            seeds = {"color": look["color"], "alpha": 0.75, "linewidths": 0, "zorder": 2}
            panel.scatter(costs, accuracies, s=6, **seeds)
    low, high = panel.get_ylim()
    panel.set_ylim(max(0, low), min(100, high))
    panel.set_xlabel(COSTS[cost])
    panel.set_ylabel("accuracy over all tasks at the end (%)")
    return panel


def _name(panel: Axes, rows: pd.DataFrame) -> None:
    inits = rows.init[rows.init != NOT_READ].nunique()
    bars = [
        bar
        for row in _records(rows[rows.seeds >= BAND_FROM])
        for bar in (
            (row["cost_mean"], row["cost_mean"], row["low_percent"], row["high_percent"]),
            (row["cost_low"], row["cost_high"], row["accuracy_percent"], row["accuracy_percent"]),
        )
    ]
    names = [
        _label(row["method"], row["density"], row["init"], inits > 1, row.get(APART, ""))
        for row in _records(rows.fillna({APART: ""}))
    ]
    points = list(zip(rows.cost_mean, rows.accuracy_percent))
    bars += _steps([point for point, on in zip(points, rows.on_front) if on])
    place_names(panel, points, names, rows.on_front.tolist(), bars)


def _steps(front: list[tuple[float, float]]) -> list[tuple[float, float, float, float]]:
    """The line of the front: along at one accuracy, then up to the next."""
    found = []
    for (cost, accuracy), (higher, better) in pairwise(sorted(front)):
        found.append((cost, higher, accuracy, accuracy))
        found.append((higher, higher, accuracy, better))
    return found


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]


def _label(method: str, density: float, init: str, with_init: bool, apart: str) -> str:
    """A point's name; the init only where there are several, none of both for a dense method."""
    words = [spelled(method)]
    if init != NOT_READ:
        words += [sparsity(density).removeprefix("sparsity "), *[spelled(init)] * with_init]
    return " ".join(filter(None, [*words, apart]))
