"""What the paper's own tables and figures show of how they were made.

Every function takes the paper's tables or curves, as `dstcl.evaluation.paper.reference` reads them,
and returns a table. Accuracies and their differences are in per cent and in points.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from dstcl.evaluation.paper.catalog import ADAPTIVE
from dstcl.reference.tables import FIGURE_OF_TABLE

PANEL = ["init", "density"]
CELL = [*PANEL, "growth"]
CURVE = ["figure", "dataset", "tasks", "network", *CELL, "update_every"]
TEST_IMAGES = 10_000
"""Of CIFAR-100; that miniImageNet is split alike shows in the grid of Figure 3."""
READ = 0.0002
"""Points within which an accuracy was read, as the points of Figure A on their grid show."""
PRINTED = 0.0101
"""Points within which a printed number is that of a figure: rounding of the paper, and slack."""


def interval_means(curves: pd.DataFrame, growth: str = "random") -> pd.DataFrame:
    """The four update intervals of Figure A beside a growth's curve in Figure 4.

    Returns:
        A row for each init, density and task: ``runs`` and ``mean`` over intervals, ``figure_4``,
        ``difference`` of the two; ``spread`` over intervals (population standard deviation),
        ``band`` of Figure 4 (half its width), ``band_difference`` of these two.
    """
    values = _figure(curves, "A").groupby([*PANEL, "task"], sort=False).accuracy_percent
    both = pd.DataFrame(
        {"runs": values.size(), "mean": values.mean(), "spread": values.std(ddof=0)}
    )
    drawn = _figure(curves, "4").query("growth == @growth").set_index([*PANEL, "task"])
    both["figure_4"] = drawn.accuracy_percent
    both["band"] = (drawn.band_high - drawn.band_low) / 2
    both["difference"] = (both["mean"] - both.figure_4).abs()
    both["band_difference"] = (both.spread - both.band).abs()
    return both.reset_index()


def interval_spreads(tables: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Sample standard deviation over Figure A's intervals, and the +- of Table 3's random growth.

    Returns:
        A row for each init and density: ``sd``, ``printed``, ``difference``.
    """
    ends = final(_figure(curves, "A"))
    both = ends.groupby(PANEL, sort=False).accuracy_percent.std(ddof=1).rename("sd").to_frame()
    both["printed"] = tables.query("table == '3' and growth == 'random'").set_index(PANEL).acc_pm
    both["difference"] = (both.sd - both.printed).abs()
    return both.reset_index()


def runs_by_spread(tables: pd.DataFrame, curves: pd.DataFrame, most: int = 12) -> pd.DataFrame:
    """How many runs stand behind each cell, from the band of a figure and the +- of its table.

    If the band is the population standard deviation of n runs and the +- their sample standard
    deviation, then band / +- is sqrt((n - 1) / n).

    Args:
        tables: of the paper.
        curves: of the paper.
        most: the largest number of runs that is tried.

    Returns:
        A row a cell: ``band`` (half its width), ``printed`` +-, their ``ratio``, and ``runs``: the
        numbers of runs that give the +- to two decimals, joined by commas.
    """
    both = beside(tables, curves)
    both["band"] = (both.band_high - both.band_low) / 2
    both["printed"] = both.acc_pm
    both["ratio"] = both.band / both.printed
    both["runs"] = [
        ",".join(
            str(n)
            for n in range(2, most + 1)
            if abs(band * np.sqrt(n / (n - 1)) - printed) <= PRINTED
        )
        for band, printed in zip(both.band, both.printed)
    ]
    return both[["table", *CELL, "band", "printed", "ratio", "runs"]]


def on_grid(curves: pd.DataFrame, most: int = 6) -> pd.DataFrame:
    """How many accuracies on task 1 a mean over n runs could have.

    A run's accuracy is a number of correct images, so a mean over n runs is a multiple of
    1 / (n x test images of a task). Other numbers of runs reach few of the points by chance.

    Returns:
        A row for each figure and n: ``runs``, ``step`` of the grid in points, ``on_grid`` of
        ``points``.
    """
    rows = []
    first = curves[curves.task == 1]
    for figure, own in first.groupby("figure", sort=False):
        for runs in range(1, most + 1):
            step = 100 * own.tasks.iloc[0] / TEST_IMAGES / runs
            off = own.accuracy_percent - step * (own.accuracy_percent / step).round()
            rows.append((figure, runs, step, int((off.abs() <= READ).sum()), len(own)))
    return pd.DataFrame(rows, columns=["figure", "runs", "step", "on_grid", "points"])


def alone(curves: pd.DataFrame) -> pd.DataFrame:
    """The curves with a column ``alone_percent``: the accuracy of the last task learned, alone.

    A curve is the mean A_k over k tasks, so the k-th task alone has k A_k - (k - 1) A_(k-1).
    """
    ordered = curves.reset_index(drop=True).sort_values("task", kind="stable")
    sums = ordered.task * ordered.accuracy_percent
    groups = [
        ordered[name].fillna(0) if name == "update_every" else ordered[name] for name in CURVE
    ]
    before = sums.groupby(groups, sort=False).shift(fill_value=0.0)
    return curves.assign(alone_percent=(sums - before).sort_index().to_numpy())


def below_chance(curves: pd.DataFrame, share: float = 0.5) -> pd.DataFrame:
    """Later tasks that are predicted worse than chance within the task allows.

    Whoever names a class of the right task without looking is right in one of as many cases as the
    task has classes. A curve whose tasks fall far below that was not made by such a choice.

    Args:
        curves: of the paper.
        share: tasks below this share of chance are counted.

    Returns:
        A row a curve: ``chance``, ``later`` tasks from the second on, how many are ``below``,
        ``lowest`` and ``highest`` of them all.
    """
    later = alone(curves).query("task > 1")
    later = later.assign(chance=later.tasks.astype(float))
    later["low"] = later.alone_percent < share * later.chance
    grouped = later.groupby(CURVE, sort=False, dropna=False)
    return grouped.agg(
        chance=("chance", "first"),
        later=("task", "size"),
        below=("low", "sum"),
        lowest=("alone_percent", "min"),
        highest=("alone_percent", "max"),
    ).reset_index()


def impossible(curves: pd.DataFrame) -> pd.DataFrame:
    """Points that no accuracies can have led to: the last task alone is below 0 or above 100%.

    Returns:
        Rows of the curves, with ``alone_percent``. Curves drawn from numbers with two decimals can
        be off by a hundredth a task, which is not counted.
    """
    table = alone(curves)
    slack = 0.01 * table.task
    return table[(table.alone_percent < -slack) | (table.alone_percent > 100 + slack)]


def forward_transfer(tables: pd.DataFrame) -> pd.DataFrame:
    """FWT of each table against chance among the classes of one task.

    Returns:
        A row a table: ``chance``, ``lowest``, ``mean`` and ``highest`` FWT, the cells ``above``
        chance, and those ``clearly_above`` it: by more than twice their own +-.
    """
    rows = []
    for table, own in tables.groupby("table", sort=False):
        chance = float(own.tasks.iloc[0])
        clear = (own.fwt - chance) > 2 * own.fwt_pm
        above = int((own.fwt > chance).sum())
        numbers = (own.fwt.min(), own.fwt.mean(), own.fwt.max(), above, int(clear.sum()), len(own))
        rows.append((table, chance, *numbers))
    names = ["table", "chance", "lowest", "mean", "highest", "above", "clearly_above", "cells"]
    return pd.DataFrame(rows, columns=names)


def backward_transfer(tables: pd.DataFrame, within: float = 0.5) -> pd.DataFrame:
    """BWT of each table: how many cells are within some points of nothing, and the largest.

    Returns:
        A row a table: ``within``, ``cells``, ``largest`` absolute value, ``positive`` and
        ``negative`` cells.
    """
    rows = [
        (
            table,
            int((own.bwt.abs() <= within).sum()),
            len(own),
            own.bwt.abs().max(),
            int((own.bwt > 0).sum()),
            int((own.bwt < 0).sum()),
        )
        for table, own in tables.groupby("table", sort=False)
    ]
    names = ["table", "within", "cells", "largest", "positive", "negative"]
    return pd.DataFrame(rows, columns=names)


def adaptive_leads(curves: pd.DataFrame) -> pd.DataFrame:
    """Figure 6: by how much the adaptive growth is ahead after each task, and in each task alone.

    Returns:
        A row a task: ``random``, ``gradient``, ``adaptive``, ``over_random``, ``over_gradient``
        after that many tasks, and ``alone_over_random`` in the last of them.
    """
    own = alone(_figure(curves, "6"))
    wide = own.pivot(index="task", columns="growth", values="accuracy_percent")
    single = own.pivot(index="task", columns="growth", values="alone_percent")
    wide, single = (each.rename(columns={ADAPTIVE: "adaptive"}) for each in (wide, single))
    table = wide[["random", "gradient", "adaptive"]].copy()
    table["over_random"] = wide.adaptive - wide.random
    table["over_gradient"] = wide.adaptive - wide.gradient
    table["alone_over_random"] = single.adaptive - single.random
    return table.reset_index().rename_axis(columns=None)


def apart(tables: pd.DataFrame, curves: pd.DataFrame, more_than: float = 0.3) -> pd.DataFrame:
    """Cells whose ACC differs from the end of their own curve by more than some points.

    Returns:
        A row a cell: ``printed``, ``drawn``, and ``difference`` printed - drawn.
    """
    both = beside(tables, curves)
    both["printed"], both["drawn"] = both.acc, both.accuracy_percent
    both["difference"] = both.printed - both.drawn
    wrong = both[both.difference.abs() > more_than]
    return wrong[["table", *CELL, "printed", "drawn", "difference"]].reset_index(drop=True)


def beside(tables: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Each cell of a table with the end of its curve, columns of both."""
    drawn = final(means(curves))[["figure", *CELL, "accuracy_percent", "band_low", "band_high"]]
    named = tables.assign(figure=tables.table.map(FIGURE_OF_TABLE))
    return named.merge(drawn, on=["figure", *CELL], how="left", validate="one_to_one")


def final(curves: pd.DataFrame) -> pd.DataFrame:
    """The last point of every curve."""
    return curves[curves.task == curves.tasks]


def means(curves: pd.DataFrame) -> pd.DataFrame:
    """The curves that are means over runs: all but those of Figure A."""
    return curves[curves.update_every.isna()]


def _figure(curves: pd.DataFrame, name: str) -> pd.DataFrame:
    return curves[curves.figure == name]
