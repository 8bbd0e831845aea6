"""What a method costs: time, arithmetic, bytes of masks, and of all that is kept."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import EngFormatter, MaxNLocator

from dstcl.evaluation.axes import BLOCK, NOT_READ, SUBNETWORK, varied_axes
from dstcl.evaluation.tables import read_table
from dstcl.figures.means import APART, over_seeds, same_cells
from dstcl.figures.panels import (
    dots,
    logarithmic,
    method_label,
    name_rows,
    say,
    stacked,
)
from dstcl.figures.style import GREY
from dstcl.figures.tables import NotDrawnError, Tables

CAPTION = (
    "Costs of each method: wall time of a run, arithmetic of training and per image, and bytes of "
    "one task's masks on disk and of everything that must be kept for all tasks (masks in a "
    "Huffman code). Markers are means over growths and seeds with 95% intervals over seeds. "
    "Arithmetic counts only active weights, as on hardware for sparse networks. Times are those "
    "of dense kernels, on a machine that may have been shared."
)

ROW = ["method", *SUBNETWORK]
MEASURES = {
    "seconds": ("training of a run (s)", False),
    "training_flops": ("training of a run\n(FLOPs, logarithmic)", True),
    "inference_flops": ("one image\n(FLOPs, logarithmic)", True),
    "mask_bytes": ("masks of a task\n(bytes)", False),
    "memory_bytes": ("kept of all tasks\n(bytes)", False),
}
"""Words for the axis, and whether it is logarithmic."""


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers, in the units of summary.csv."""
    # Runs of code that did not count a measure yet show the others.
    summary = read_table(tables.study, "summary")
    counted = [name for name in MEASURES if name in summary]
    runs = tables.without_switches(tables.measured(*(counted or MEASURES)))
    axes = [*BLOCK, *ROW, "growth", *varied_axes(runs), "seed"]
    long = runs.melt(axes, counted, "measure").dropna(subset="value")
    if long.empty:
        raise NotDrawnError("no run has recorded what it cost")
    averaged = same_cells(long, [*BLOCK, "measure"], ROW)
    numbers = over_seeds(averaged.rows, [*BLOCK, *ROW, *averaged.apart, "measure"], "value")
    found = list(numbers.groupby(list(BLOCK), sort=False))
    rows = [*ROW, *averaged.apart]
    heights = [4.6 * len(part.drop_duplicates(rows)) + 22 for _, part in found]
    figure, subfigures = stacked(heights, note=averaged.note)
    for (key, part), subfigure in zip(found, subfigures):
        _draw_block(tables, key, part, subfigure)
    return figure, numbers


def _draw_block(tables: Tables, key: Any, rows: pd.DataFrame, part: SubFigure) -> None:
    dataset, tasks, protocol, network = key
    part.suptitle(
        f"{tables.title.setting(dataset, tasks)} · protocol {protocol} · network {network}",
        fontweight="bold",
    )
    names = [name for name in (*ROW, APART) if name in rows]
    keys = sorted(
        set(zip(*(rows[name] for name in names))),
        key=lambda row: (row[2] == NOT_READ, row[0], -row[1], *row[2:]),
    )
    place = {row: index for index, row in enumerate(keys)}
    axes = part.subplots(1, len(MEASURES), sharey=True)
    name_rows(axes[0], [method_label(*row) for row in keys])
    for (measure, (words, by_decades)), panel in zip(MEASURES.items(), axes):
        here = rows[rows.measure == measure]
        here = here.assign(place=[place[row] for row in zip(*(here[name] for name in names))])
        if by_decades and (here["mean"] > 0).any():
            logarithmic(panel, here["mean"][here["mean"] > 0])
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
            dots(panel, line, **tables.method_looks[str(method)])
            for row in line[line["mean"] == 0].itertuples():
                panel.annotate(
                    "none",
                    (0.03, row.place),
                    xycoords=("axes fraction", "data"),
                    va="center",
                    color=GREY,
                )
