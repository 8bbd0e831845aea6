"""Dynamic sparse training beside other ways to learn one task after the other."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure, SubFigure

from dstcl.evaluation.axes import BLOCK, SUBNETWORK
from dstcl.figures.means import APART, over_seeds, same_cells
from dstcl.figures.panels import (
    dots,
    method_label,
    name_rows,
    of_several_methods,
    say,
    stacked,
)
from dstcl.figures.tables import Tables

CAPTION = (
    "Comparison of methods on the same tasks: final accuracy and forgetting. Values are means "
    "over growths and seeds with 95% intervals over seeds. Blue circles are methods that grow new "
    "weights during training, green squares are other methods with masks, and grey diamonds are "
    "dense methods. Method separate has one network per task, and joint learns all tasks at once, "
    "so they indicate what can be reached."
)

ROW = ["method", *SUBNETWORK]


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers, in per cent; `NotDrawnError` where there is only one method."""
    runs = tables.without_switches(tables.measured("acc", "forgetting"))
    averaged = same_cells(of_several_methods(runs), BLOCK, ROW)
    parts = {}
    for measure in ("acc", "forgetting"):
        values = averaged.rows.assign(value=100 * averaged.rows[measure]).dropna(subset="value")
        parts[measure] = over_seeds(values, [*BLOCK, *ROW, *averaged.apart], "value")
    found = list(parts["acc"].groupby(list(BLOCK), sort=False))
    heights = [4.6 * len(rows) + 18 for _, rows in found]
    figure, subfigures = stacked(heights, note=averaged.note)
    for (key, rows), subfigure in zip(found, subfigures):
        lost = parts["forgetting"]
        lost = lost[(lost[list(BLOCK)] == list(key)).all(axis=1)]
        order = rows.sort_values("mean", ascending=False, kind="stable").reset_index(drop=True)
        _draw_block(tables, key, order, lost, subfigure)
    numbers = pd.concat(parts, names=["measure"]).reset_index("measure")
    names = {"mean": "percent", "low": "low_percent", "high": "high_percent"}
    return figure, numbers.rename(columns=names)


def _draw_block(
    tables: Tables, key: Any, rows: pd.DataFrame, lost: pd.DataFrame, part: SubFigure
) -> None:
    dataset, tasks, protocol, network = key
    part.suptitle(
        f"{tables.title.setting(dataset, tasks)} · protocol {protocol} · network {network}",
        fontweight="bold",
    )
    left, right = part.subplots(1, 2, sharey=True, width_ratios=[3, 2])
    names = [name for name in (*ROW, APART) if name in rows]
    place = {key: index for index, key in enumerate(zip(*(rows[name] for name in names)))}
    name_rows(left, [method_label(*key) for key in place])
    for panel, table in ((left, rows), (right, lost)):
        keys = zip(*(table[name] for name in names))
        table = table.assign(place=[place[key] for key in keys])
        for method, line in table.groupby("method", sort=False):
            dots(panel, line, **tables.method_looks[str(method)])
    if lost.empty:
        say(right, "not measured")
    low, high = left.get_xlim()
    left.set_xlim(max(0, low), min(100, high))
    left.set_xlabel("accuracy over all tasks at the end (%)")
    right.set_xlabel("forgetting (points)")
    right.axvline(0, color="black", linewidth=0.7)
    right.tick_params(axis="y", length=0)
