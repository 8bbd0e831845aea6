"""The paper's figure: mean accuracy over the tasks seen so far, as more tasks are learned."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from dstcl.figures.panels import Part, blocks, legend_title, line_panels, over_seeds
from dstcl.figures.tables import CELL, Tables


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers, in per cent."""
    seen = tables.accuracy.rename(columns={"task": "seen_task", "after_task": "task"})
    runs = seen.groupby([*CELL, "seed", "task"], sort=False, as_index=False)[["accuracy"]].mean()
    runs["accuracy"] *= 100
    points = over_seeds(runs, [*CELL, "task"], "accuracy")
    benchmark = points.groupby(["dataset", "tasks"], sort=False)["mean"]
    points["bottom"], points["top"] = benchmark.transform("min"), benchmark.transform("max")
    parts = [
        Part(title, "mean accuracy over the tasks seen so far (%)", rows, _limits(rows))
        for title, rows in blocks(points)
    ]
    figure = line_panels(parts, legend_title(points))
    names = {"mean": "accuracy_percent", "low": "low_percent", "high": "high_percent"}
    return figure, points.drop(columns=["bottom", "top"]).rename(columns=names)


def _limits(rows: pd.DataFrame) -> tuple[float, float]:
    """From below the lowest mean to above the highest, over all blocks of the same tasks."""
    bottom, top = rows.bottom.iloc[0], rows.top.iloc[0]
    margin = 1 + 0.3 * (top - bottom)
    return max(-1.0, bottom - margin), min(101.0, top + margin)
