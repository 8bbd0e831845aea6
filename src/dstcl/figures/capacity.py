"""How fast tasks use up the network, and how much they share."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dstcl.figures.panels import Part, blocks, legend_title, line_panels, over_seeds
from dstcl.figures.tables import CELL, Tables

PERCENT = (-2.0, 102.0)


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers, in per cent."""
    sums = ["size", "active", "shared", "free"]
    runs = tables.capacity.groupby([*CELL, "seed", "task"], sort=False, as_index=False)[sums].sum()
    runs["used"] = 100 * (1 - runs.free / runs["size"])
    runs["reused"] = 100 * runs.shared / runs.active
    used, reused = (over_seeds(runs, [*CELL, "task"], name) for name in ("used", "reused"))
    parts = []
    for (title, block), (_, reused_block) in zip(blocks(used), blocks(reused)):
        parts += [
            Part(
                f"{title}\nWeights used by any task so far",
                "share of the network's weights (%)",
                block,
                PERCENT,
                expected_used,
            ),
            Part(
                "Active weights that earlier tasks use too",
                "share of the task's active weights (%)",
                reused_block,
                PERCENT,
                expected_reused,
            ),
        ]
    figure = line_panels(parts, legend_title(used))
    names = {"mean": "percent", "low": "low_percent", "high": "high_percent"}
    table = pd.concat({"used": used, "reused": reused}, names=["share"]).reset_index("share")
    return figure, table.rename(columns=names)


def expected_used(density: float, task: np.ndarray) -> np.ndarray:
    """Weights used after so many tasks if masks are independent and uniform, in per cent."""
    return 100 * (1 - (1 - density) ** task)


def expected_reused(density: float, task: np.ndarray) -> np.ndarray:
    """Active weights of this task that such masks share with earlier ones, in per cent."""
    return expected_used(density, task - 1)
