"""The paper's claims as a forest plot: effect, interval, boundary and verdict of each."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import StrMethodFormatter

from dstcl.evaluation.axes import BLOCK
from dstcl.evaluation.replication import UNITS
from dstcl.evaluation.tables import Title
from dstcl.figures.panels import legend_above, name_rows, stacked
from dstcl.figures.style import GREY, VERDICTS
from dstcl.figures.tables import NotDrawnError, Tables

CAPTION = (
    "The paper's claims, tested on this study. The dot is the effect of a claim in points of "
    "accuracy, and the line is its 95% interval; positive effects support the claim. The grey "
    "tick is the boundary that the effect must exceed. A verdict needs three seeds (or update "
    "intervals, if these are the repetitions) and p < 0.05 after Holm's correction over the "
    "claims of a block. So an interval may exclude the boundary while the verdict is still "
    "inconclusive. Claims that cannot be tested are omitted. Protocols that flip one switch are "
    "in the figure ablation. docs/claims.md explains the tests."
)


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers, in points; `NotDrawnError` where no claim could be tested."""
    claims = tables.claims.copy()
    for name in ("effect", "low", "high", "more_than"):
        claims[name] = 100 * pd.to_numeric(claims[name])
    if (claims.verdict == "not tested").all():
        raise NotDrawnError("the study has the cells of none of the claims; claims.csv says which")
    tested = claims[claims.verdict != "not tested"]
    tested = tables.without_switches(tested)
    parts = [rows for _, rows in tested.groupby(list(BLOCK), sort=False)]
    figure, subfigures = stacked([5.2 * len(rows) + 17 for rows in parts], head=8)
    for rows, subfigure in zip(parts, subfigures):
        _draw_block(tables.title, rows.reset_index(drop=True), subfigure)
    handles = [_handle(name, look["color"], look["marker"]) for name, look in VERDICTS.items()]
    handles[-1] = Line2D([], [], color=GREY, marker="|", linestyle="none", label="boundary")
    legend_above(figure, handles)
    names = {name: f"{name}_points" for name in ("effect", "low", "high", "more_than")}
    return figure, claims.rename(columns=names)


def _handle(label: str, color: str, marker: str) -> Line2D:
    return Line2D([], [], label=label, color=color, marker=marker, linewidth=1)


def _draw_block(title: Title, rows: pd.DataFrame, subfigure: SubFigure) -> None:
    first = rows.iloc[0]
    subfigure.suptitle(
        f"{title.setting(first.dataset, first.tasks)} · protocol {first.protocol} · "
        f"network {first.network}",
        fontweight="bold",
    )
    panel = subfigure.subplots()
    panel.set_xscale("symlog", linthresh=1, linscale=0.6)
    ticks = [-50, -20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50, 100]
    panel.set_xticks(ticks)
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    panel.minorticks_off()
    values = rows[["effect", "low", "high", "more_than"]]
    panel.set_xlim(min(-2, 1.3 * values.min().min()), max(2, 1.3 * values.max().max()))
    panel.axvline(0, color="black", linewidth=0.7)
    for place, row in enumerate(rows.to_dict("records")):
        _draw_claim(panel, place, row)
    name_rows(panel, list(rows.claim))
    panel.set_xlabel(
        "effect in points, positive as claimed; 95% interval; scale logarithmic beyond ±1"
    )


def _draw_claim(panel: Axes, place: int, row: dict[Any, Any]) -> None:
    look = VERDICTS[str(row["verdict"])]
    words = f"{look['sign']} {row['verdict']}"
    if row["units"]:
        words += f" · {UNITS[row['unit']].count(row['units'])}"
    panel.annotate(
        words, (1.01, place), xycoords=("axes fraction", "data"), va="center", color=look["color"]
    )
    if row["verdict"] == "not tested":
        return
    if row["more_than"] == row["more_than"]:
        panel.plot(row["more_than"], place, color=GREY, marker="|", markersize=9)
    panel.hlines(place, row["low"], row["high"], color=look["color"], linewidth=1.3)
    panel.plot(row["effect"], place, color=look["color"], marker=look["marker"], markersize=4.5)
