"""Configurations in the order of their ranks, and how sure that order is."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure, SubFigure

from dstcl.evaluation.axes import METHOD_BLOCK, cell_axes
from dstcl.evaluation.spelling import spelled
from dstcl.figures.means import over_seeds
from dstcl.figures.panels import blocks, dots, name_rows, stacked, varied_words
from dstcl.figures.style import sparsity
from dstcl.figures.tables import NotDrawnError, Tables

CAPTION = (
    "Configurations sorted by their mean rank. Runs with the same seed are ranked among each "
    "other (1 is best). The dot is the mean over seeds, and the line is its 95% interval, cut at "
    "the first and the last rank. A long line means that the rank changes from seed to seed. "
    "Overlapping lines do not show whether two configurations differ: comparisons.csv has their "
    "difference in accuracy, paired by seed, with its interval."
)

MOST = 40


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers: mean rank within a seed (1 is best), ACC in per cent."""
    runs = _complete(tables.shown)
    if runs.empty:
        raise NotDrawnError("the configurations of a block have no seed in common")
    block, cell = list(METHOD_BLOCK), cell_axes(runs)
    ranks = runs.groupby([*block, "seed"]).acc.rank(ascending=False)
    numbers = over_seeds(runs.assign(rank=ranks), cell, "rank")
    # An interval of Student's t knows no first and no last rank.
    last = numbers.groupby(block).growth.transform("size")
    for end in ("low", "high"):
        numbers[end] = numbers[end].clip(1, last)
    means = runs.groupby(cell, sort=False, as_index=False)[["acc"]].mean()
    numbers = numbers.merge(means, on=cell)
    numbers["accuracy_percent"] = 100 * numbers.pop("acc")
    parts = [
        (title, rows.sort_values("mean", kind="stable"))
        for title, rows in blocks(numbers, tables.title)
    ]
    figure, subfigures = stacked([3.9 * min(len(rows), MOST) + 20 for _, rows in parts])
    for (title, rows), subfigure in zip(parts, subfigures):
        _draw_block(title, rows.reset_index(drop=True), subfigure)
    names = {"mean": "mean_rank", "low": "low_rank", "high": "high_rank"}
    return figure, pd.concat([rows for _, rows in parts]).rename(columns=names)


def _complete(runs: pd.DataFrame) -> pd.DataFrame:
    """Of each block the cells with as many seeds as most, in the seeds that all of these have.

    Blocks without two such cells, or without such a seed, are left out.
    """
    kept, cell = [], cell_axes(runs)
    for _, block in runs.groupby(list(METHOD_BLOCK), sort=False):
        cells = block.groupby(cell).seed.transform("nunique")
        full = block[cells == cells.mode().max()]
        count = len(full.drop_duplicates(cell))
        shared = full.drop_duplicates([*cell, "seed"]).groupby("seed").seed.transform("size")
        full = full[full.seed.isin(full.seed[shared.index][shared == count])]
        if count > 1 and len(full):
            kept.append(full)
    return pd.concat(kept) if kept else runs.iloc[:0]


def _draw_block(title: str, rows: pd.DataFrame, subfigure: SubFigure) -> None:
    more = "" if len(rows) <= MOST else f"\nthe best {MOST} of {len(rows)} configurations"
    subfigure.suptitle(f"{title}{more}", fontweight="bold")
    total, rows = len(rows), rows.head(MOST)
    panel = subfigure.subplots()
    dots(panel, rows.assign(place=rows.index), color="#0072B2", marker="o")
    labels = [
        " · ".join(
            [spelled(row["init"]), sparsity(row["density"]), row["growth"], *varied_words(row)]
        )
        for _, row in rows.iterrows()
    ]
    name_rows(panel, labels)
    ends = rows[["mean", "low", "high"]]
    panel.set_xlim(ends.min().min() - 0.5, ends.max().max() + 0.5)
    for place, row in enumerate(rows.itertuples()):
        text = f"rank {row.mean:.1f} · {row.accuracy_percent:.1f}%"
        panel.annotate(text, (1.01, place), xycoords=("axes fraction", "data"), va="center")
    seeds = rows.seeds.max()
    panel.set_xlabel(
        f"rank among {total} configurations, mean of {seeds} seeds with 95% interval"
        if seeds > 1
        else f"rank among {total} configurations (1 seed, so no interval)"
    )
