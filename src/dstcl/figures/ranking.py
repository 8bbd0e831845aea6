"""Configurations in the order of their ranks, and how sure that order is."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from dstcl.evaluation.axes import METHOD_BLOCK, cell_axes
from dstcl.evaluation.spelling import spelled
from dstcl.evaluation.tables import Title
from dstcl.figures.means import named, over_seeds, together
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
NO_SEED = "not ranked, as the configurations have no seed in common"
ONE = "not ranked, as there is one configuration"
OTHER_SEEDS = "not ranked, as most have another number of seeds"
NOT_ALL = "seeds left out, as not all configurations have them"


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers: mean rank within a seed (1 is best), ACC in per cent."""
    runs, note = _ranked(tables.shown, tables.title)
    if runs.empty:
        raise NotDrawnError(note)
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
    figure, subfigures = stacked([3.9 * min(len(rows), MOST) + 20 for _, rows in parts], note=note)
    for (title, rows), subfigure in zip(parts, subfigures):
        _draw_block(title, rows.reset_index(drop=True), subfigure)
    names = {"mean": "mean_rank", "low": "low_rank", "high": "high_rank"}
    return figure, pd.concat([rows for _, rows in parts]).rename(columns=names)


def _ranked(runs: pd.DataFrame, title: Title) -> tuple[pd.DataFrame, str]:
    """The runs of every block that `_complete` chooses, and a note that says what is left out."""
    kept, cell, left = [runs.iloc[:0]], cell_axes(runs), dict[str, list[str]]()
    for name, block in blocks(runs, title):
        full = _complete(block, cell)
        if full.empty:
            alone = len(block.drop_duplicates(cell)) == 1
            left.setdefault(ONE if alone else NO_SEED, []).append(name)
            continue
        kept.append(full)
        own = block.groupby(cell).ngroup()
        others = ~own.isin(own[full.index])
        if labels := _labels(block[others].drop_duplicates(cell)):
            left.setdefault(OTHER_SEEDS, []).append(f"{named(labels)} ({name})")
        if lost := sorted(set(block.seed[~others]) - set(full.seed)):
            left.setdefault(NOT_ALL, []).append(f"{named([*map(str, lost)])} ({name})")
    note = together(f"{reason}: {', '.join(what)}" for reason, what in left.items())
    return pd.concat(kept), note


def _complete(block: pd.DataFrame, cell: list[str]) -> pd.DataFrame:
    """The cells with as many seeds as most, in the seeds that all of these have.

    If there are not two such cells or no such seed, all cells in the seeds that all have; none if
    there are not two or no such seed either.
    """
    seeds = block.groupby(cell).seed.transform("nunique")
    for cells in (block[seeds == seeds.mode().max()], block):
        number = cells.groupby(cell).ngroup()
        of_seed = number.groupby(cells.seed).transform("nunique")
        full = cells[of_seed == number.nunique()]
        if number.nunique() > 1 and len(full):
            return full
    return block.iloc[:0]


def _labels(rows: pd.DataFrame) -> list[str]:
    return [
        " · ".join(
            [spelled(row["init"]), sparsity(row["density"]), row["growth"], *varied_words(row)]
        )
        for _, row in rows.iterrows()
    ]


def _draw_block(title: str, rows: pd.DataFrame, subfigure: SubFigure) -> None:
    more = "" if len(rows) <= MOST else f"\nthe best {MOST} of {len(rows)} configurations"
    subfigure.suptitle(f"{title}{more}", fontweight="bold")
    total, rows = len(rows), rows.head(MOST)
    panel = subfigure.subplots()
    dots(panel, rows.assign(place=rows.index), color="#0072B2", marker="o")
    name_rows(panel, _labels(rows))
    ends = rows[["mean", "low", "high"]]
    panel.set_xlim(ends.min().min() - 0.5, ends.max().max() + 0.5)
    panel.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    for place, row in enumerate(rows.itertuples()):
        text = f"rank {row.mean:.1f} · {row.accuracy_percent:.1f}%"
        panel.annotate(text, (1.01, place), xycoords=("axes fraction", "data"), va="center")
    seeds = rows.seeds.max()
    panel.set_xlabel(
        f"rank among {total} configurations, mean of {seeds} seeds with 95% interval"
        if seeds > 1
        else f"rank among {total} configurations (1 seed, so no interval)"
    )
