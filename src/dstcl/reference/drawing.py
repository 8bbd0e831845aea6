"""The figure of docs/paper-forensics.md: four findings, a panel each."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator

from dstcl.figures.panels import REFERENCE
from dstcl.figures.style import GREY, MM, applied_style, growth_looks, rendered, width_mm
from dstcl.reference.forensics import adaptive_leads, alone, interval_means

NAME = "paper-forensics"
SHOWN = "init == 'uniform' and density == 0.2"
"""The panel of Figure A whose intervals differ most."""
INTERVALS = {50: "#56B4E9", 100: "#009E73", 200: "#E69F00", 400: "#CC79A7"}
GROWTHS = ("random", "unfired", "gradient", "momentum")
TABLES = {"1": "Table 1\n20 tasks", "3": "Table 3\n10 tasks", "2": "Table 2\nminiImageNet"}
TABLES |= {"4": "Table 4\n5 tasks"}


def draw(tables: pd.DataFrame, curves: pd.DataFrame, dpi: int = 150) -> dict[str, bytes]:
    """The figure by file suffix (svg, pdf, png); the same tables give the same bytes."""
    with applied_style():
        figure = Figure(figsize=(width_mm() * MM, 132 * MM))
        figure.set_layout_engine("constrained", h_pad=0.06, w_pad=0.06)
        panels = figure.subplots(2, 2)
        _intervals(panels[0, 0], curves)
        _alone(panels[0, 1], curves)
        _adaptive(panels[1, 0], curves)
        _forward(panels[1, 1], tables)
        return rendered(figure, dpi)


def _intervals(panel: Axes, curves: pd.DataFrame) -> None:
    own = curves[curves.figure == "A"].query(SHOWN)
    for every, color in INTERVALS.items():
        rows = own[own.update_every == every]
        panel.plot(
            rows.task, rows.accuracy_percent, color=color, linewidth=1, label=f"every {every}"
        )
    means = interval_means(curves).query(SHOWN)
    panel.plot(means.task, means["mean"], **REFERENCE, label="mean of the four")
    panel.plot(
        means.task,
        means.figure_4,
        color="black",
        linestyle="none",
        marker="o",
        markerfacecolor="none",
        markersize=6,
        label="Figure 4, random growth",
    )
    _words(
        panel,
        "Uniform, sparsity 80%: the mean of four update\n"
        "intervals is the curve given as a mean of seeds",
    )
    panel.set(xlabel="tasks learned", ylabel="accuracy (%)")
    panel.legend(title="Figure A, update every (iterations)", loc="lower left", alignment="left")


def _alone(panel: Axes, curves: pd.DataFrame) -> None:
    single = alone(curves).query("figure == 'B' and init == 'uniform' and density == 0.01")
    looks = growth_looks(GROWTHS)
    for growth in GROWTHS:
        rows = single[single.growth == growth]
        panel.plot(rows.task, rows.alone_percent, **looks[growth], label=growth)
    panel.axhline(10, **REFERENCE)
    panel.text(10, 11, "chance among the 10 classes of a task", ha="right", va="bottom")
    panel.text(10, 2.5, "0.0% in tasks 2 to 10, all four growths", ha="right", va="bottom")
    _words(
        panel, "Uniform, sparsity 99%: every later task is at\nzero, below chance within the task"
    )
    panel.set(xlabel="task", ylabel="accuracy on this task alone (%)")
    panel.set_ylim(-4, 75)
    panel.legend(title="Figure B, growth", loc="upper right", alignment="left")


def _adaptive(panel: Axes, curves: pd.DataFrame) -> None:
    leads = adaptive_leads(curves)
    panel.axvspan(0.5, 5.5, color="#ececec", linewidth=0, zorder=0)
    panel.axhline(0, color=GREY, linewidth=0.6)
    panel.bar(
        leads.task, leads.alone_over_random, color="#56B4E9", width=0.6, label="this task alone"
    )
    panel.plot(
        leads.task, leads.over_random, color="#D55E00", marker="o", label="mean over tasks so far"
    )
    panel.text(3, 2.3, "same growth in both\n(random): paired runs\nwould differ by 0", ha="center")
    panel.text(5.7, 4.0, "gradient against\nrandom growth")
    _words(panel, "Figure 6: 'adaptive' is ahead before it differs\nfrom random growth")
    panel.set(xlabel="task", ylabel="adaptive minus random growth (points)")
    panel.set_xlim(0.5, 10.5)
    panel.set_ylim(-0.5, 5.6)
    panel.legend(loc="upper left", bbox_to_anchor=(0.0, 0.98))


def _forward(panel: Axes, tables: pd.DataFrame) -> None:
    for place, table in enumerate(TABLES):
        own = tables[tables.table == table]
        spread = [place + (index - (len(own) - 1) / 2) * 0.025 for index in range(len(own))]
        panel.plot(
            spread,
            own.fwt,
            color="#0072B2",
            linestyle="none",
            marker="o",
            markersize=3,
            markerfacecolor="white",
            label="" if place else "a cell of the table",
        )
        chance = own.tasks.iloc[0]
        label = "" if place else "chance within a task"
        panel.hlines(
            chance, place - 0.42, place + 0.42, colors="#D55E00", linewidth=1.6, label=label
        )
    panel.set_xticks(range(len(TABLES)), list(TABLES.values()))
    panel.tick_params(axis="x", length=0)
    _words(panel, "Forward transfer (FWT) is at what guessing\ngives, or below")
    panel.set(ylabel="FWT (%)")
    panel.set_ylim(0, 22)
    panel.yaxis.set_major_locator(MultipleLocator(5))
    panel.legend(loc="upper right")


def _words(panel: Axes, title: str) -> None:
    panel.set_title(title, loc="left", fontweight="bold")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
