"""One switch of the protocol at a time: what each does to accuracy and to the paper's contrasts."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure, SubFigure

from dstcl.evaluation.axes import SETTING, cell_axes, mean_over
from dstcl.evaluation.spelling import spelled
from dstcl.evaluation.statistics import mean_interval
from dstcl.evaluation.tables import Title
from dstcl.figures.panels import dots, name_rows, say, stacked
from dstcl.figures.style import GREY
from dstcl.figures.tables import NotDrawnError, Tables, growing

CAPTION = (
    "Effect of each switch of the protocol, flipped alone away from corrected, on accuracy (left) "
    "and on two of the paper's contrasts (right): gradient against random growth, and ERK against "
    "uniform. Each value is flipped minus corrected, paired by seed over the cells that both "
    "have; mean with 95% interval. A contrast with an interval far from zero depends on that "
    "switch. With this many intervals, about one in 20 excludes zero by chance. The effects of "
    "single switches need not add up to the effect of all switches."
)

BASE, ALL = "corrected", "published"
PART = [*SETTING, "method"]
EFFECTS: dict[str, tuple[str, str, str] | None] = {
    "accuracy": None,
    "gradient - random": ("growth", "gradient", "random"),
    "erk - uniform": ("init", "erk", "uniform"),
}
"""By name: an axis and the two values whose difference in ACC is the effect; None: ACC itself."""


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers, in points.

    Raises:
        NotDrawnError: no protocol of the study differs from ``corrected`` in one switch.
    """
    switches, runs = tables.single_switches, growing(tables.summary)
    there = set(runs.protocol)
    used = [name for name in switches if name in there]
    if not used or BASE not in there:
        raise NotDrawnError(f"no protocol with runs differs from {BASE} in a single switch")
    labels = {name: switches[name] for name in used}
    labels |= {ALL: f"all switches ({ALL})"} if ALL in there else {}
    numbers = pd.concat(
        [_changes(rows, key, labels) for key, rows in runs.groupby(PART, sort=False)]
    )
    several = numbers.method.nunique() > 1
    parts = list(numbers.groupby(PART, sort=False))
    heights = [5.2 * rows.protocol.nunique() + 22 for _, rows in parts]
    figure, subfigures = stacked(heights, note=mean_over(runs))
    for (key, rows), subfigure in zip(parts, subfigures):
        _draw_setting(tables.title, key if several else key[:3], rows, subfigure)
    return figure, numbers if several else numbers.drop(columns="method")


def _changes(runs: pd.DataFrame, key: Any, labels: dict[str, str]) -> pd.DataFrame:
    """One row per protocol and effect: the effect under both and its change, paired by seed."""
    cell = [axis for axis in cell_axes(runs) if axis not in (*PART, "protocol")]
    under = {name: rows.pivot_table("acc", "seed", cell) for name, rows in runs.groupby("protocol")}
    rows = []
    for name, label in labels.items():
        if name not in under or BASE not in under:
            continue
        cells = under[name].columns.intersection(under[BASE].columns)
        for effect, contrast in EFFECTS.items():
            flipped, base = (_effect(under[p][cells], contrast) for p in (name, BASE))
            found = _paired(flipped, base)
            named = {"protocol": name, "switch": label, "effect": effect}
            rows.append(dict(zip(PART, key)) | named | found)
    columns = [*PART, "protocol", "switch", "effect", "cells", "seeds", BASE, "flipped"]
    return pd.DataFrame(rows, columns=[*columns, "mean", "low", "high"])


def _effect(cells: pd.DataFrame, contrast: tuple[str, str, str] | None) -> pd.DataFrame:
    """ACC of cells (columns) by seed (rows), or its difference where a cell has both values."""
    if contrast is None:
        return cells
    axis, this, that = contrast
    sides = [
        cells.loc[:, cells.columns.get_level_values(axis) == value].droplevel(axis, axis=1)
        for value in (this, that)
    ]
    both = sides[0].columns.intersection(sides[1].columns)
    return sides[0][both] - sides[1][both]


def _paired(flipped: pd.DataFrame, base: pd.DataFrame) -> dict[str, Any]:
    """Means over cells and seeds, in points, of the seeds that have every cell of both."""
    change = 100 * (flipped - base)
    change = change.dropna(axis="columns", how="all").dropna(axis="index", how="any")
    per_seed = change.mean(axis="columns").tolist() if change.size else []
    estimate = mean_interval(per_seed)
    same = change.index, change.columns
    return {
        "cells": change.shape[1],
        "seeds": len(per_seed),
        BASE: 100 * base.loc[same].to_numpy().mean() if per_seed else None,
        "flipped": 100 * flipped.loc[same].to_numpy().mean() if per_seed else None,
        "mean": estimate.mean,
        "low": estimate.low,
        "high": estimate.high,
    }


def _draw_setting(title: Title, key: Any, rows: pd.DataFrame, part: SubFigure) -> None:
    dataset, tasks, network, *method = key
    words = [f"{title.setting(dataset, tasks)}", f"network {network}"]
    words += [f"method {spelled(name)}" for name in method]
    part.suptitle(" · ".join(words), fontweight="bold")
    panels = part.subplots(1, len(EFFECTS), sharey=True)
    names = rows.drop_duplicates("protocol")
    place = {name: index for index, name in enumerate(names.protocol)}
    name_rows(panels[0], list(names.switch))
    part.supxlabel(f"change against {BASE} (points), mean and 95% interval over seeds")
    for panel, effect in zip(panels, EFFECTS):
        here = rows[(rows.effect == effect) & (rows.seeds > 0)]
        here = here.assign(place=here.protocol.map(place))
        panel.set_title(_title(effect, here))
        panel.tick_params(axis="y", length=0)
        panel.axvline(0, color="black", linewidth=0.7)
        if here.empty:
            say(panel, "no cells\nto compare")
            continue
        dots(panel, here, color="#0072B2", marker="o")
        for row in here.to_dict("records"):
            panel.annotate(
                f"{round(row['mean'], 1) + 0.0:+.1f}",  # no "-0.0"
                (1.01, row["place"]),
                xycoords=("axes fraction", "data"),
                va="center",
                color=GREY,
            )
        if ALL in place and len(place) > 1:
            panel.axhline(place[ALL] - 0.5, color=GREY, linewidth=0.6)


def _title(effect: str, rows: pd.DataFrame) -> str:
    """The effect, and what it is under ``corrected`` where all rows have the same cells."""
    words = " - ".join(map(spelled, effect.split(" - ")))
    title = words if EFFECTS[effect] is None else f"effect {words}"
    bases = rows[BASE].round(9).unique()
    unit = "%" if EFFECTS[effect] is None else " points"
    sign = "" if EFFECTS[effect] is None else "+"
    return f"{title}\n({BASE}: {bases[0]:{sign}.1f}{unit})" if len(bases) == 1 else title
