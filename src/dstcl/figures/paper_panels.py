"""The paper's six panels, and ours below each of them on the same scale."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from dstcl.evaluation.axes import CELL, SETTING
from dstcl.evaluation.paper import averaged_over
from dstcl.figures.panels import densities, legend_above, say, stacked
from dstcl.figures.style import Look, handle, sparsity
from dstcl.figures.tables import NotDrawnError, Tables

CAPTION = (
    "The curves of the paper's figure above, ours below them on the same scale, for each init "
    "and sparsity. The paper's curves were digitised; their band is the reading error. Ours are "
    "the mean accuracy over the tasks seen so far; their band is the 95 % interval over seeds. "
    "Look whether the curves have the same order and fall at the same task. Heights may differ, "
    "because the paper does not say which network and how many epochs it used."
)

PROTOCOLS = ("published", "corrected")


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers, in per cent; `NotDrawnError` where the paper has no curve."""
    points = tables.paper
    if points.empty:
        first = tables.summary.iloc[0]
        raise NotDrawnError(
            f"the paper's figure has no curve for {tables.title(first.dataset)} with "
            f"{first.tasks} tasks; accuracy_over_tasks shows ours"
        )
    known = [name for name in PROTOCOLS if name in set(points.protocol)]
    points = points[points.protocol.isin(known or points.protocol.unique()[:2])]
    parts = [rows for _, rows in points.groupby([*SETTING, "method"], sort=False)]
    lines = [len(_rows(rows)) for rows in parts]
    heights, note = [31 * count + 14 for count in lines], averaged_over(points)
    figure, subfigures = stacked(heights, head=9, note=f"ours: {note}" if note else "")
    for rows, subfigure in zip(parts, subfigures):
        _draw_setting(tables, rows, subfigure)
    looks = tables.growth_looks
    handles = [handle(growth, looks[growth]) for growth in points.growth.unique()]
    legend_above(figure, handles, "growth; band: paper, reading error; ours, 95 % interval")
    names = [*CELL, "task", "paper_percent", "reading_error", "ours_percent"]
    return figure, points[[*names, "low_percent", "high_percent", "reproduced"]]


def _rows(points: pd.DataFrame) -> list[tuple[str, str]]:
    """Init and source (the paper, or one of our protocols) of each row of panels."""
    here = list(points.protocol.unique())
    sources = ["paper", *sorted(here, key=lambda name: name != PROTOCOLS[0])]
    return [(init, source) for init in points.init.unique() for source in sources]


def _draw_setting(tables: Tables, points: pd.DataFrame, subfigure: SubFigure) -> None:
    first = points.iloc[0]
    subfigure.suptitle(
        f"{tables.title(first.dataset)}, {first.tasks} tasks · our network {first.network}",
        fontweight="bold",
    )
    subfigure.supxlabel("number of tasks learned")
    subfigure.supylabel("accuracy over tasks seen so far (%)")
    columns, rows = densities(points), _rows(points)
    axes = subfigure.subplots(len(rows), len(columns), sharex=True, sharey=True, squeeze=False)
    values = points[["paper_percent", "ours_percent"]]
    axes[0, 0].set_ylim(values.min().min() - 2, values.max().max() + 2)
    for (init, source), line in zip(rows, axes):
        for density, panel in zip(columns, line):
            name = "the paper" if source == "paper" else f"ours, {source}"
            panel.set_title(f"{name}: {init}, {sparsity(density)}")
            here = points[(points.init == init) & (points.density == density)]
            _draw_curves(panel, here, source, tables.growth_looks)


def _draw_curves(panel: Axes, points: pd.DataFrame, source: str, looks: Mapping[str, Look]) -> None:
    paper = source == "paper"
    rows = points.drop_duplicates(["growth", "task"]) if paper else points
    rows = rows if paper else rows[rows.protocol == source]
    if rows.empty:
        say(panel, "no runs of ours")
    for growth, line in rows.groupby("growth", sort=False):
        mean = line.paper_percent if paper else line.ours_percent
        low = mean - line.reading_error if paper else line.low_percent
        high = mean + line.reading_error if paper else line.high_percent
        style = looks[str(growth)]
        panel.fill_between(line.task, low, high, color=style["color"], alpha=0.13, linewidth=0)
        panel.plot(line.task, mean, **style)
