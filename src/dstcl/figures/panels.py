"""What several figures share: blocks of comparable runs, means over seeds, panels of lines."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from dstcl.evaluation.axes import METHOD_BLOCK, NOT_READ, is_varied
from dstcl.evaluation.statistics import mean_interval
from dstcl.evaluation.tables import Title
from dstcl.figures import NOT_DRAWN
from dstcl.figures.style import GREY, MM, WIDTH, Look, handle, sparsity

REFERENCE: dict[str, Any] = {"color": "black", "linestyle": (0, (3, 2)), "linewidth": 0.9}


@dataclass(frozen=True)
class Part:
    """Panels, init (rows) by density (columns), of one quantity of one block.

    ``points`` has columns density, init, growth, task, mean, low, high. ``limits`` are those of
    the y axis. ``reference``, a column of ``points``, is a dashed line: its mean over growths.
    """

    title: str
    y_label: str
    points: pd.DataFrame
    limits: tuple[float, float]
    reference: str | None = None
    x_label: str = "number of tasks learned"
    falling: bool = False
    """Whether x is a percentage that falls from left to right; ``task`` is x in any case."""


def blocks(table: pd.DataFrame, title: Title) -> list[tuple[str, pd.DataFrame]]:
    """Title and rows of each (dataset, tasks, protocol, network, method): never mixed."""
    return [
        (_block_title(rows.iloc[0], title), rows)
        for _, rows in table.groupby(list(METHOD_BLOCK), sort=False)
    ]


def _block_title(row: pd.Series[Any], title: Title) -> str:
    return (
        f"{title.setting(row.dataset, row.tasks)} · protocol {row.protocol} · "
        f"network {row.network} · method {row.method}"
    )


def over_seeds(values: pd.DataFrame, by: list[str], column: str) -> pd.DataFrame:
    """Mean of a column over seeds with its 95 % interval: ``by``, seeds, mean, low, high.

    Several values of a seed count as their mean.
    """
    rows, per_seed = [], values.groupby([*by, "seed"], sort=False, as_index=False)[[column]].mean()
    for key, group in per_seed.groupby(by, sort=False):
        estimate = mean_interval(group[column].tolist())
        rows.append((*key, len(group), estimate.mean, estimate.low, estimate.high))
    return pd.DataFrame(rows, columns=[*by, "seeds", "mean", "low", "high"])


def densities(table: pd.DataFrame) -> list[float]:
    """Densities from high to low."""
    return sorted(table.density.unique(), reverse=True)


def legend_title(points: pd.DataFrame) -> str:
    """What lines and bands are: how many seeds a mean has, and whether there is an interval."""
    fewest, most = points.seeds.min(), points.seeds.max()
    if most == 1:
        return "growth (1 seed, so no interval)"
    number = str(most) if fewest == most else f"{fewest} to {most}"
    return f"growth (mean of {number} seeds, band: 95 % interval)"


def line_panels(
    parts: Sequence[Part], title: str, looks: Mapping[str, Look], note: str = ""
) -> Figure:
    """A figure of parts one below the other, with one legend on top.

    Args:
        parts: what to draw.
        title: of the legend.
        looks: of every growth.
        note: as of `stacked`.
    """
    heights = [38 * part.points.init.nunique() + 16 for part in parts]
    figure, subfigures = stacked(heights, head=12, note=note)
    for part, subfigure in zip(parts, subfigures):
        _draw_part(part, looks, subfigure)
    growths = pd.concat([part.points.growth for part in parts]).unique()
    handles = [handle(growth, looks[growth]) for growth in growths]
    if any(part.reference for part in parts):
        handles.append(Line2D([], [], **REFERENCE, label="independent masks"))
    legend_above(figure, handles, title)
    return figure


def stacked(
    heights: Sequence[float], head: float = 0, note: str = ""
) -> tuple[Figure, list[SubFigure]]:
    """A figure of sub-figures one below the other.

    Args:
        heights: of the sub-figures, in mm.
        head: room for a legend, in mm.
        note: a small line below all of them, as what means are taken over.
    """
    lines = textwrap.wrap(note, 120)
    heights = [*heights, 3.5 * len(lines) + 2] if lines else heights
    figure = Figure(figsize=(WIDTH, (sum(heights) + head) * MM))
    figure.set_layout_engine("constrained", h_pad=0.03, w_pad=0.03)
    grid = list(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    if lines:
        words = "\n".join(lines)
        grid.pop().text(0.5, 0.5, words, ha="center", va="center", color=GREY, fontsize=7)
    return figure, grid


def legend_above(figure: Figure, handles: Sequence[Artist], title: str | None = None) -> None:
    """The one legend of a figure, above its panels, in as many columns as surely fit."""
    lengths = sorted((len(str(handle.get_label())) for handle in handles), reverse=True)
    widths = np.cumsum([14 + 1.5 * length for length in lengths])
    columns = max(1, int((widths <= WIDTH / MM - 10).sum()))
    figure.legend(handles=handles, title=title, loc="outside upper center", ncols=columns)


def say(panel: Axes, text: str) -> None:
    """Words in the middle of a panel that has nothing to show."""
    panel.text(0.5, 0.5, text, transform=panel.transAxes, ha="center", va="center", color=GREY)


def dots(panel: Axes, rows: pd.DataFrame, **style: Any) -> None:
    """A dot and its interval a row: columns ``place`` (y), ``mean``, ``low``, ``high``."""
    panel.hlines(rows.place, rows.low, rows.high, color=style["color"], linewidth=1.0)
    panel.plot(rows["mean"], rows.place, **{"linestyle": "none", **style})


def name_rows(panel: Axes, labels: Sequence[str]) -> None:
    """Labels of rows 0, 1, ... from top to bottom."""
    panel.set_yticks(range(len(labels)), labels)
    panel.set_ylim(len(labels) - 0.5, -0.5)
    panel.tick_params(axis="y", length=0)


def varied_words(row: Any) -> list[str]:
    """The varied settings of a row that its method reads, each with its value."""
    return [f"{axis} {v}" for axis, v in row.items() if is_varied(axis) and v != NOT_READ]


def method_label(method: str, density: float, init: str) -> str:
    """A method's row; a dense one has neither density nor init."""
    return method if init == NOT_READ else f"{method} · density {density:g} · {init}"


def figure_of_words(reason: str) -> tuple[Figure, pd.DataFrame]:
    """Why there is nothing to draw, as a figure and as a table of the column ``not_drawn``."""
    figure = Figure(figsize=(WIDTH, 24 * MM))
    text = textwrap.fill(f"Not drawn for this study: {reason}.", 96)
    figure.text(0.5, 0.5, text, ha="center", va="center", color=GREY)
    return figure, pd.DataFrame({NOT_DRAWN: [reason]})


def _draw_part(part: Part, looks: Mapping[str, Look], subfigure: SubFigure) -> None:
    inits, columns = part.points.init.unique(), densities(part.points)
    axes = subfigure.subplots(len(inits), len(columns), sharex=True, sharey=True, squeeze=False)
    subfigure.suptitle(part.title, fontweight="bold")
    subfigure.supylabel(part.y_label)
    subfigure.supxlabel(part.x_label)
    axes[0, 0].set_ylim(part.limits)
    if part.falling:
        axes[0, 0].set_xlim(103, -3)
    for init, row in zip(inits, axes):
        for density, panel in zip(columns, row):
            panel.set_title(f"{init}, {sparsity(density)}")
            panel.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
            here = part.points[(part.points.init == init) & (part.points.density == density)]
            if part.reference:
                line = here.groupby("task")[part.reference].mean()
                panel.plot(line.index, line, **REFERENCE)
            _draw_lines(panel, here, looks)


def _draw_lines(panel: Axes, points: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    if points.empty:
        say(panel, "no runs")
    for growth, line in points.groupby("growth", sort=False):
        style = looks[str(growth)]
        color = style["color"]
        panel.fill_between(line.task, line.low, line.high, color=color, alpha=0.12, linewidth=0)
        for edge in (line.low, line.high):
            panel.plot(line.task, edge, color=color, alpha=0.45, linewidth=0.5)
        panel.plot(line.task, line["mean"], markevery=max(1, len(line) // 8), **style)
