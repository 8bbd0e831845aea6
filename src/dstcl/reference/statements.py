"""What the paper's own numbers say of what its text says.

Every function takes the curves of `data` and returns a table; accuracies are those after the last
task, in per cent, and their differences in points.
"""

from __future__ import annotations

import pandas as pd

from dstcl.reference.forensics import CURVE, PANEL, alone, final, means

FIGURE = ["figure", "network", "tasks"]
GUIDED = ["gradient", "momentum"]
BLIND = ["random", "unfired"]


def erk_leads(curves: pd.DataFrame) -> pd.DataFrame:
    """ERK minus uniform after the last task.

    Returns:
        A row for each figure, density and growth: ``uniform``, ``erk``, ``lead``.
    """
    ends = final(means(curves))
    wide = ends.pivot(
        index=[*FIGURE, "density", "growth"], columns="init", values="accuracy_percent"
    )
    wide = wide.dropna().reset_index().rename_axis(columns=None)
    return wide.assign(lead=wide.erk - wide.uniform)


def growth_ranges(curves: pd.DataFrame) -> pd.DataFrame:
    """How far the growths of a panel end from each other.

    Returns:
        A row for each figure, init and density: ``best`` growth, ``range`` from the worst to the
        best, and ``guided_lead``: mean of gradient and momentum minus mean of random and unfired.
    """
    ends = final(means(curves))
    wide = ends.pivot(index=[*FIGURE, *PANEL], columns="growth", values="accuracy_percent")
    wide = wide[[*BLIND, *GUIDED]].dropna()
    return pd.DataFrame(
        {
            "best": wide.idxmax(axis=1),
            "range": wide.max(axis=1) - wide.min(axis=1),
            "guided_lead": wide[GUIDED].mean(axis=1) - wide[BLIND].mean(axis=1),
        }
    ).reset_index()


def best_intervals(curves: pd.DataFrame) -> pd.DataFrame:
    """The update interval that ends best in each panel of Figure A; one run each.

    Returns:
        A row for each init and density: ``best`` interval, ``second``, ``lead`` over it, and the
        ``range`` over all intervals.
    """
    rows = []
    for panel, own in final(curves[curves.figure == "A"]).groupby(PANEL, sort=False):
        ranked = own.sort_values("accuracy_percent", ascending=False, kind="stable")
        every, values = ranked.update_every.astype(int).tolist(), ranked.accuracy_percent.tolist()
        rows.append((*panel, *every[:2], values[0] - values[1], values[0] - values[-1]))
    return pd.DataFrame(rows, columns=[*PANEL, "best", "second", "lead", "range"])


def learned(curves: pd.DataFrame, share: float = 0.75) -> pd.DataFrame:
    """How many tasks are learned before the first that is not.

    Args:
        curves: of the paper.
        share: of the first task's accuracy that a learned task reaches.

    Returns:
        A row a curve: ``learned`` tasks; all of them where each reaches that share.
    """
    rows = []
    for curve, own in alone(curves).groupby(CURVE, sort=False, dropna=False):
        values = own.sort_values("task").alone_percent.tolist()
        short = [place for place, value in enumerate(values) if value < share * values[0]]
        rows.append((*curve, min(short, default=len(values))))
    return pd.DataFrame(rows, columns=[*CURVE, "learned"])
