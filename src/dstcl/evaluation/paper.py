"""The paper's own numbers beside a study's: which points of its figure come out again."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dstcl.evaluation.axes import varied_axes
from dstcl.evaluation.statistics import mean_interval
from dstcl.evaluation.tables import read_columns

TOLERANCE = 3.0
"""Points of accuracy within which a number counts as the paper's: a seventh of the range that its
curves end in (56 to 76.5), a few times the spread of seeds, and more than most reading errors."""
FEWEST_SEEDS = 3
TOGETHER = ", "
"""Between the values of a varied setting that a number is the mean over."""
POINT = ["dataset", "tasks", "density", "init", "growth", "task"]
READINGS = [*POINT, "accuracy_percent", "reading_error", "marker"]
NUMBERS = ["tasks", "density", "task", "accuracy_percent", "reading_error"]
CURVE = [
    *("dataset", "tasks", "network", "protocol", "method", "density", "init", "growth"),
]
NUMBERS_BESIDE = [
    *("task", "paper_percent", "reading_error", "marker"),
    *("ours_percent", "sd", "low_percent", "high_percent", "seeds", "reproduced"),
]
COLUMNS = [*CURVE, *NUMBERS_BESIDE]


class PaperError(ValueError):
    """A file of the paper's numbers that cannot be used; the message names file and place."""


def read_paper(path: Path) -> pd.DataFrame:
    """The paper's curves: mean accuracy over the tasks seen so far, in per cent, one row per point.

    Raises:
        PaperError: naming the file and what is wrong with it.
    """
    try:
        table = read_columns(path, READINGS, NUMBERS)
    except FileNotFoundError:
        raise PaperError(f"{path}: no such file") from None
    except ValueError as error:
        raise PaperError(str(error)) from None
    if (repeated := table.duplicated(POINT)).any():
        row = table[repeated].iloc[0]
        raise PaperError(f"{path}: {' '.join(str(row[name]) for name in POINT)} twice")
    return table


def compare_with_paper(
    summary: pd.DataFrame, accuracy: pd.DataFrame, paper: pd.DataFrame
) -> pd.DataFrame:
    """Each point of the paper's figure beside the study's mean over seeds: `COLUMNS`.

    The measure is the paper's: mean accuracy over the tasks seen so far, after each task. Only
    runs of dynamic sparse training on the paper's data are in the table; it is empty for others.
    As in the paper, a mean over the values of a varied setting is taken within each seed, of the
    seeds that have all of them. A column for each such setting, after growth, has these values.
    """
    # By name: the paper's figure is about this one method.
    runs = summary[summary["method"] == "dst"]
    runs = runs.merge(paper[POINT[:-1]].drop_duplicates(), on=POINT[:-1])
    varied = varied_axes(summary)
    columns = [*CURVE, *varied, *NUMBERS_BESIDE]
    if runs.empty:
        return pd.DataFrame(columns=columns)
    rows = accuracy[accuracy["after_task"] >= accuracy["task"]]
    rows = rows[rows["digest"].isin(runs["digest"])]
    seen = rows.groupby(["digest", "after_task"], as_index=False)[["accuracy"]].mean()
    values = runs.merge(seen.rename(columns={"after_task": "task"}), on="digest")
    points = []
    for key, group in values.groupby([*CURVE, "task"], sort=False):
        means = _means_of_seeds(group, varied)
        if means.empty:
            continue
        found = mean_interval((100 * means).tolist())
        over = [TOGETHER.join(dict.fromkeys(group[axis])) for axis in varied]
        numbers = (found.mean, found.sd, found.low, found.high, len(means))
        points.append((*key, *over, *numbers))
    names = [*CURVE, "task", *varied, "ours_percent", "sd", "low_percent", "high_percent", "seeds"]
    table = pd.DataFrame(points, columns=names).merge(paper, on=POINT)
    table = table.rename(columns={"accuracy_percent": "paper_percent"})
    table["reproduced"] = [
        reproduced(
            row["paper_percent"],
            row["reading_error"],
            row["low_percent"],
            row["high_percent"],
            row["seeds"],
        )
        for row in table.to_dict("records")
    ]
    return table[columns]


def _means_of_seeds(group: pd.DataFrame, varied: list[str]) -> pd.Series[float]:
    """A configuration's accuracy by seed, over all values of varied settings."""
    if not varied:
        return group["accuracy"]
    runs = group.groupby("seed", sort=False)["accuracy"]
    complete = runs.size() == len(group.drop_duplicates(varied))
    return runs.mean()[complete]


def averaged_over(table: pd.DataFrame) -> str:
    """Over which varied settings the means of a paper.csv are taken, in words; "" if over none."""
    words = [
        f"{axis} {found}"
        for axis in varied_axes(table)
        for found in table[axis].unique()
        if TOGETHER in found
    ]
    return f"mean over {' and '.join(words)}" if words else ""


def reproduced(paper: float, error: float, low: float, high: float, seeds: int) -> str:
    """Whether a number of the paper came out again: ``yes``, ``no`` or ``open``.

    All in per cent. The difference from the paper lies somewhere in our 95 % interval, widened
    on both sides by the error of reading the figure. ``yes`` if all of it is within `TOLERANCE`,
    ``no`` if none of it is, else ``open``; with fewer than three seeds always ``open``.
    """
    if seeds < FEWEST_SEEDS:
        return "open"
    least, most = low - error - paper, high + error - paper
    if least >= -TOLERANCE and most <= TOLERANCE:
        return "yes"
    return "no" if most < -TOLERANCE or least > TOLERANCE else "open"


def rank_agreement(finals: pd.DataFrame) -> float:
    """Spearman's correlation of the paper's final accuracies with ours, over configurations.

    NaN below three configurations or where all are equal.
    """
    if len(finals) < 3:
        return float("nan")
    return float(finals["paper_percent"].corr(finals["ours_percent"], method="spearman"))
