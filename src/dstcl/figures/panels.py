"""What several figures share: blocks of comparable runs, panels of lines."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Affine2DBase, ScaledTranslation

from dstcl.evaluation.axes import BLOCK, METHOD_BLOCK, NOT_READ, is_varied
from dstcl.evaluation.spelling import spelled
from dstcl.evaluation.tables import Title
from dstcl.figures import NOT_DRAWN
from dstcl.figures.means import APART
from dstcl.figures.style import GREY, MM, Look, handle, sparsity, width_mm
from dstcl.figures.tables import NotDrawnError

BAND_FROM = 5
"""Seeds for which a line has the band of its interval; with fewer, which make an interval that can
fill a panel, the seeds themselves are shown."""
SIDE = 1.1 * MM
"""Between the single seeds of two growths, in inches."""
REFERENCE: dict[str, Any] = {"color": "black", "linestyle": (0, (3, 2)), "linewidth": 0.9}


@dataclass(frozen=True)
class Part:
    """Panels, init (rows) by density (columns), of one quantity of one block.

    ``points`` has columns density, init, growth, task and those of `over_seeds` with ``by_seed``;
    and `APART` where it tells lines apart.
    ``limits`` are those of the y axis. ``reference``, a column of ``points``, is a dashed line: its
    mean over growths.
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
        f"network {row.network} · method {spelled(row.method)}"
    )


def of_several_methods(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs of the blocks that have several methods.

    Raises:
        NotDrawnError: there are none.
    """
    several = runs.groupby(list(BLOCK)).method.transform("nunique") > 1
    if not several.any():
        raise NotDrawnError("the study has one method only; others are named under methods")
    return runs[several]


def seed_points(line: pd.DataFrame) -> list[tuple[float, float]]:
    """Places (task, value) of the single seeds, of rows with fewer than `BAND_FROM` of them.

    Args:
        line: rows of `over_seeds` with ``by_seed``.
    """
    few = line[line.seeds.between(2, BAND_FROM - 1)]
    return [
        (task, float(value))
        for task, values in zip(few.task, few.by_seed)
        for value in values.split()
    ]


def accuracy_limits(points: pd.DataFrame, room: float) -> tuple[float, float]:
    """Ends of an axis of accuracies in %: room for all that is drawn, but never beyond 0 and 100.

    Bands may run off the panel.

    Args:
        points: of a block, as `Part` has them.
        room: on either side, as a share of the range of the means.
    """
    single = [value for _, value in seed_points(points.assign(task=0))]
    drawn = [*points["mean"], *single]
    margin = 1 + room * (points["mean"].max() - points["mean"].min())
    return max(0.0, min(drawn) - margin), min(100.0, max(drawn) + margin)


def densities(table: pd.DataFrame) -> list[float]:
    """Densities from high to low."""
    return sorted(table.density.unique(), reverse=True)


def numbers_of_seeds(points: pd.DataFrame) -> str:
    """``10``, or ``5 to 10`` where not every mean is of as many."""
    fewest, most = int(points.seeds.min()), int(points.seeds.max())
    return str(most) if fewest == most else f"{fewest} to {most}"


def legend_title(points: pd.DataFrame) -> str:
    """What lines and bands are: how many seeds a mean has, and whether there is an interval."""
    fewest, most = int(points.seeds.min()), int(points.seeds.max())
    if most == 1:
        return "growth (1 seed, so no interval)"
    shown = ["band: 95% interval"] * (most >= BAND_FROM)
    if fewest < BAND_FROM:
        where = f" where fewer than {BAND_FROM}" if shown else ""
        shown.append(f"small points: single seeds{where}")
    return f"growth (mean of {numbers_of_seeds(points)} seeds, {', '.join(shown)})"


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
    lines = textwrap.wrap(note, int(width_mm() / 1.5))
    heights = [*heights, 3.5 * len(lines) + 2] if lines else heights
    figure = Figure(figsize=(width_mm() * MM, (sum(heights) + head) * MM))
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
    columns = max(1, int((widths <= width_mm() - 10).sum()))
    figure.legend(handles=handles, title=title, loc="outside upper center", ncols=columns)


def say(panel: Axes, text: str) -> None:
    """Words in the middle of a panel that has nothing to show."""
    panel.text(0.5, 0.5, text, transform=panel.transAxes, ha="center", va="center", color=GREY)


def dots(panel: Axes, rows: pd.DataFrame, **style: Any) -> None:
    """A dot and its interval a row: columns ``place`` (y), ``mean``, ``low``, ``high``."""
    panel.hlines(rows.place, rows.low, rows.high, color=style["color"], linewidth=1.0)
    panel.plot(rows["mean"], rows.place, **{"linestyle": "none", **style})


def logarithmic(panel: Axes, values: pd.Series[float]) -> None:
    """A scale of at least a decade, labelled at full decades and halves."""
    panel.set_xscale("log")
    middle, reach = sqrt(values.min() * values.max()), sqrt(values.max() / values.min())
    reach = 1.4 * max(reach, sqrt(10))
    panel.set_xlim(middle / reach, middle * reach)
    panel.xaxis.set_major_locator(LogLocator(subs=(1.0,) if reach > 20 else (1.0, 3.0)))
    panel.xaxis.set_minor_locator(NullLocator())


def name_rows(panel: Axes, labels: Sequence[str]) -> None:
    """Labels of rows 0, 1, ... from top to bottom."""
    panel.set_yticks(range(len(labels)), labels)
    panel.set_ylim(len(labels) - 0.5, -0.5)
    panel.tick_params(axis="y", length=0)


def varied_words(row: Any) -> list[str]:
    """The varied settings of a row that its method reads, each with its value."""
    return [f"{axis} {v}" for axis, v in row.items() if is_varied(axis) and v != NOT_READ]


def method_label(method: str, density: float, init: str, apart: str = "") -> str:
    """A method's row; a dense one has neither density nor init."""
    words = [spelled(method), *([] if init == NOT_READ else [sparsity(density), spelled(init)])]
    return " · ".join(filter(None, [*words, apart]))


def name_settings(panel: Axes, line: pd.DataFrame, end: tuple[float, float], color: Any) -> None:
    """Write `APART` of a line's rows at its end, if they have that."""
    if APART in line and (words := line[APART].iloc[-1]):
        place: dict[str, Any] = {"xytext": (0, 2), "textcoords": "offset points", "ha": "right"}
        panel.annotate(words, end, **place, color=color, fontsize=6)


def figure_of_words(reason: str) -> tuple[Figure, pd.DataFrame]:
    """Why there is nothing to draw, as a figure and as a table of the column ``not_drawn``."""
    figure = Figure(figsize=(width_mm() * MM, 24 * MM))
    text = textwrap.fill(f"Not drawn for this study: {reason}.", int(width_mm() / 1.875))
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
            panel.set_title(f"{spelled(init)}, {sparsity(density)}")
            panel.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
            here = part.points[(part.points.init == init) & (part.points.density == density)]
            if part.reference:
                line = here.groupby("task")[part.reference].mean()
                panel.plot(line.index, line, **REFERENCE)
            _draw_lines(panel, here, looks)


def _scale(panel: Axes) -> Affine2DBase:
    """From inches to the figure's pixels."""
    figure = panel.get_figure(root=True)
    assert figure is not None
    return figure.dpi_scale_trans


def _draw_lines(panel: Axes, points: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    if points.empty:
        say(panel, "no runs")
    names = [name for name in ("growth", APART) if name in points]
    lines = list(points.groupby(names, sort=False))
    for number, (key, line) in enumerate(lines):
        style = looks[str(key[0])]
        color = style["color"]
        banded = line[line.seeds >= BAND_FROM]
        panel.fill_between(
            banded.task, banded.low, banded.high, color=color, alpha=0.12, linewidth=0
        )
        for edge in (banded.low, banded.high):
            panel.plot(banded.task, edge, color=color, alpha=0.45, linewidth=0.5)
        every = max(1, len(line) // 8)
        if single := seed_points(line.iloc[::every]):
            # Side by side, so that the seeds of one growth do not hide those of another.
            aside = ScaledTranslation(SIDE * (number - (len(lines) - 1) / 2), 0, _scale(panel))
            beside: dict[str, Any] = {"transform": panel.transData + aside, "zorder": 3}
            x, y = zip(*single)
            panel.scatter(x, y, s=6, color=color, alpha=0.75, linewidths=0, **beside)
        panel.plot(line.task, line["mean"], markevery=every, **style)
        name_settings(panel, line, (line.task.iloc[-1], line["mean"].iloc[-1]), color)
