"""How fast tasks use up the network, and how much they share."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from dstcl.evaluation.axes import CELL
from dstcl.figures.independent_masks import expected_use
from dstcl.figures.means import over_seeds, same_cells_of_growths
from dstcl.figures.panels import Part, blocks, legend_title, line_panels
from dstcl.figures.tables import Tables

CAPTION = (
    "How fast tasks use up the network. Above: the share of maskable weights used by any task so "
    "far; below: the share of the newest task's active weights that earlier tasks use too. Lines "
    "are means over seeds, and bands are 95% intervals (Student's t); with fewer than five seeds, "
    "each seed is a small point instead. The dashed line is the expectation for independent masks "
    "with the same number of weights in each layer, per init, mean over growths. A line below it "
    "in the upper panels, or above it in the lower panels, means that tasks choose the same "
    "weights more often than by chance, which saves capacity."
)

PERCENT = (-2.0, 102.0)
SHARES = ("used", "reused")


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers, in per cent."""
    averaged = same_cells_of_growths(tables.capacity)
    by, sums = [*CELL, *averaged.apart, "task"], ["size", "active", "shared", "free"]
    runs = averaged.rows.groupby([*by, "seed", "digest"], sort=False, as_index=False)[sums].sum()
    runs["used"] = 100 * (1 - runs.free / runs["size"])
    runs["reused"] = 100 * runs.shared / runs.active
    runs = runs.merge(expected_use(tables.capacity), on=["digest", "task"])
    used, reused = (_with_chance(runs, by, share) for share in SHARES)
    parts = []
    for (title, block), (_, reused_block) in zip(
        blocks(used, tables.title), blocks(reused, tables.title)
    ):
        parts += [
            Part(
                f"{title}\nWeights used by any task so far",
                "share of the network's weights (%)",
                block,
                PERCENT,
                "expected",
            ),
            Part(
                "Active weights that earlier tasks use too",
                "share of the task's active weights (%)",
                reused_block,
                PERCENT,
                "expected",
            ),
        ]
    figure = line_panels(parts, legend_title(used), tables.growth_looks, averaged.note)
    table = pd.concat({"used": used, "reused": reused}, names=["share"]).reset_index("share")
    names = ("mean", "percent"), *((n, f"{n}_percent") for n in ("low", "high", "expected"))
    return figure, table.rename(columns=dict(names))


def _with_chance(runs: pd.DataFrame, by: list[str], share: str) -> pd.DataFrame:
    """Mean over seeds of this share, and in ``expected`` what independent masks would give."""
    chance = runs.groupby(by, sort=False)[f"expected_{share}"].mean().rename("expected")
    return over_seeds(runs, by, share, by_seed=True).merge(chance.reset_index(), on=by)
