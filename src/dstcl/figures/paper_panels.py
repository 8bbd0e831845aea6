"""Every figure of the paper that the study has runs of, and ours below it on the same scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from dstcl.evaluation.axes import CELL, varied_axes
from dstcl.evaluation.paper.beside import averaged_over
from dstcl.evaluation.paper.catalog import FIGURES, TITLES, Part
from dstcl.evaluation.replication import INTERVAL, SEEDS
from dstcl.evaluation.spelling import spelled
from dstcl.evaluation.tables import tasks_in_words
from dstcl.figures.panels import densities, legend_above, say, stacked
from dstcl.figures.style import GREY, Look, handle, sparsity
from dstcl.figures.tables import NotDrawnError, Tables

CAPTION = (
    "The paper's figures, with ours below each on the same scale: mean accuracy over the tasks "
    "seen so far. The shaded band is the standard deviation over update intervals, one run each "
    "(divisor n, as in the paper). It is not a spread over seeds: the paper has none. Thin lines "
    "around our curves are the 95% interval over seeds, if the study has several. Compare the "
    "height of the curves, their order, and the task at which they fall."
)

PROTOCOLS = ("published", "corrected")
PAPER = "the paper"
FEW_PANELS = 2
ROW, HEAD, KEY = 25, 19, 7
"""Heights in mm: of a row of panels; of a block's title, labels and panel titles; of its legend."""
INTERVAL_LOOKS: Sequence[Look] = (
    {"color": "#D55E00", "linestyle": "-", "marker": "o"},
    {"color": "#E69F00", "linestyle": (0, (4, 1.2)), "marker": "s"},
    {"color": "#56B4E9", "linestyle": (0, (6, 1, 1, 1)), "marker": "^"},
    {"color": "#0072B2", "linestyle": (0, (1.5, 0.8)), "marker": "D"},
)
"""Of update intervals in their order."""


class Panel(NamedTuple):
    """One init and density."""

    init: str
    density: float


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers, in per cent; `NotDrawnError` where the paper has no curve."""
    points = tables.paper
    if points.empty:
        first = tables.summary.iloc[0]
        raise NotDrawnError(
            f"the paper's figures have no curve for {tables.title(first.dataset)} with "
            f"{first.tasks} tasks; accuracy_over_tasks shows ours"
        )
    known = [name for name in PROTOCOLS if name in set(points.protocol)]
    points = points[points.protocol.isin(known or points.protocol.unique()[:2])]
    points = points.assign(line=_lines(points))
    by_part = dict(list(points.groupby(["figure", "network"], sort=False)))
    parts = [
        (part, rows)
        for number, part in FIGURES.items()
        for (figure, _), rows in by_part.items()
        if figure == number
    ]
    heights = [ROW * _shape(rows)[0] + HEAD + KEY * part.single for part, rows in parts]
    figure, subfigures = stacked(heights, head=15, note=_note(parts))
    looks: dict[str, Look] = dict(tables.growth_looks)
    for (part, rows), subfigure in zip(parts, subfigures):
        own = _interval_looks(rows) if part.single else looks
        _draw_part(part, rows, own, tables.title(part.dataset), subfigure)
    growths = points.growth[~points.figure.map(lambda number: FIGURES[number].single)].unique()
    handles: list[Any] = [handle(growth, looks[growth]) for growth in growths]
    legend_above(figure, [*handles, *_band_handles(points)])
    names = ["figure", *CELL, *varied_axes(points), "task", "paper_percent", "paper_low"]
    names += ["paper_high", "ours_percent", "sd_intervals", "low_percent", "high_percent", "unit"]
    return figure, points[[*names, "n", "reproduced"]]


def _lines(points: pd.DataFrame) -> pd.Series:
    """What each line of a panel stands for: a growth, or an update interval."""
    single = points.figure.map(lambda number: FIGURES[number].single)
    every = "every " + points.get(INTERVAL, pd.Series("step", points.index)).astype(str) + " steps"
    return points.growth.where(~single, every)


def _interval_looks(points: pd.DataFrame) -> dict[str, Look]:
    """Of the lines that stand for update intervals, in the order of the intervals."""
    lines = sorted(points.line.unique(), key=lambda line: (len(line), line))
    return dict(zip(lines, INTERVAL_LOOKS))


def _band_handles(points: pd.DataFrame) -> list[Any]:
    handles: list[Any] = [
        Patch(color=GREY, alpha=0.25, linewidth=0, label="standard deviation over update intervals")
    ]
    if (points.unit.eq(SEEDS.many) & points.low_percent.notna()).any():
        handles.append(Line2D([], [], color=GREY, linewidth=0.6, label="95% interval over seeds"))
    return handles


def _note(parts: Sequence[tuple[Part, pd.DataFrame]]) -> str:
    """What the means are over, and what is unlike the paper, figure by figure."""
    words: dict[str, list[str]] = {}
    for part, rows in parts:
        found = [] if part.single else [averaged_over(rows)]
        unlike = [text for text in rows.unlike.dropna().unique() if text]
        found += [f"unlike the paper: {text}" for text in unlike]
        if text := "; ".join(filter(None, found)):
            words.setdefault(text, []).append(part.number)
    return ". ".join(f"Ours in {_figures(numbers)}, {text}" for text, numbers in words.items())


def _figures(numbers: Sequence[str]) -> str:
    return f"figure{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"


def _panels(points: pd.DataFrame) -> list[Panel]:
    there = set(zip(points.init, points.density))
    order = [Panel(init, d) for init in points.init.unique() for d in densities(points)]
    return [panel for panel in order if tuple(panel) in there]


def _sources(points: pd.DataFrame) -> list[str]:
    """The paper, then our protocols."""
    here = list(points.protocol.unique())
    return [PAPER, *sorted(here, key=lambda name: name != PROTOCOLS[0])]


def _shape(points: pd.DataFrame) -> tuple[int, int]:
    """Rows and columns of a block: few panels stand side by side with ours, many above them."""
    panels, sources = len(_panels(points)), len(_sources(points))
    return (panels, sources) if panels <= FEW_PANELS else (sources, panels)


def _draw_part(
    part: Part, points: pd.DataFrame, looks: Mapping[str, Look], title: str, subfigure: SubFigure
) -> None:
    if part.single:
        ratios = [ROW * _shape(points)[0] + HEAD, KEY]
        subfigure, below = subfigure.subfigures(2, 1, squeeze=False, height_ratios=ratios)[:, 0]
    network = str(points.network.iloc[0])
    ours = "" if network == part.network else f" · ours: {network}"
    tasks = tasks_in_words(points.task.max(), part.tasks)
    words = ", ".join(filter(None, (title, tasks, TITLES[part.network], part.about)))
    subfigure.suptitle(f"{part.name} of the paper: {words}{ours}", fontweight="bold")
    subfigure.supxlabel("number of tasks learned")
    subfigure.supylabel("accuracy (%)")
    panels, sources = _panels(points), _sources(points)
    axes = subfigure.subplots(*_shape(points), sharex=True, sharey=True, squeeze=False)
    beside = len(panels) <= FEW_PANELS
    grid = axes if beside else axes.T
    values = points[["paper_percent", "ours_percent"]]
    axes[0, 0].set_ylim(max(0, values.min().min() - 2), min(100, values.max().max() + 2))
    axes[0, 0].xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    for panel, line in zip(panels, grid):
        here = points[(points.init == panel.init) & (points.density == panel.density)]
        name = f"{spelled(panel.init)}, {sparsity(panel.density)}"
        for source, place in zip(sources, line):
            label = source if source == PAPER else f"ours, {source}"
            if place in axes[0]:
                place.set_title(label if beside else name.replace(", ", "\n"))
            if place in axes[:, 0]:
                place.set_ylabel(name if beside else label)
            _draw_curves(place, here, source, looks)
    if part.single:
        handles = [handle(name, look) for name, look in looks.items()]
        below.legend(handles=handles, loc="center", ncols=4)


def _draw_curves(place: Axes, points: pd.DataFrame, source: str, looks: Mapping[str, Look]) -> None:
    paper = source == PAPER
    rows = points.drop_duplicates(["line", "task"]) if paper else points
    rows = rows if paper else rows[rows.protocol == source]
    if rows.empty:
        say(place, "no runs of ours")
    for name, line in rows.groupby("line", sort=False):
        style = looks[str(name)]
        if paper:
            mean, low, high = line.paper_percent, line.paper_low, line.paper_high
        else:
            mean, half = line.ours_percent, _drawn_spread(line)
            low, high = mean - half, mean + half
            seeds = line[line.unit == SEEDS.many]
            for edge in (seeds.low_percent, seeds.high_percent) if len(seeds) else ():
                place.plot(seeds.task, edge, color=style["color"], alpha=0.6, linewidth=0.5)
        place.fill_between(line.task, low, high, color=style["color"], alpha=0.18, linewidth=0)
        marks = {"markevery": max(1, len(line) // 6), "markersize": 3}
        place.plot(line.task, mean, **{**style, **marks, "linewidth": 1.1})


def _drawn_spread(line: pd.DataFrame) -> pd.Series:
    """Half of the band: the standard deviation with the divisor that the paper's figures have."""
    return line.sd_intervals * (1 - 1 / line.intervals).map(sqrt)
