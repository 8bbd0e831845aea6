"""The paper's own numbers beside a study's: which points of its figure come out again."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dstcl.evaluation.intervals import mean_interval
from dstcl.evaluation.tables import read_columns

TOLERANCE = 3.0
"""Points of accuracy within which a number counts as the paper's: a seventh of the range that its
curves end in (56 to 76.5), a few times the spread of seeds, and more than most reading errors."""
FEWEST_SEEDS = 3
POINT = ["dataset", "tasks", "density", "init", "growth", "task"]
READINGS = [*POINT, "accuracy_percent", "reading_error", "marker"]
NUMBERS = ["tasks", "density", "task", "accuracy_percent", "reading_error"]
COLUMNS = [
    *("dataset", "tasks", "network", "protocol", "method", "density", "init", "growth", "task"),
    *("paper_percent", "reading_error", "marker"),
    *("ours_percent", "sd", "low_percent", "high_percent", "seeds", "reproduced"),
]


class PaperError(ValueError):
    """A file of the paper's numbers that cannot be used; the message names file and place."""


def read_paper(path: Path) -> pd.DataFrame:
    """The paper's curves: mean accuracy over the tasks seen so far, in per cent, a row a point.

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
    """
    runs = summary[summary["method"] == "dst"]
    runs = runs.merge(paper[POINT[:-1]].drop_duplicates(), on=POINT[:-1])
    if runs.empty:
        return pd.DataFrame(columns=COLUMNS)
    rows = accuracy[accuracy["after_task"] >= accuracy["task"]]
    rows = rows[rows["digest"].isin(runs["digest"])]
    seen = rows.groupby(["digest", "after_task"], as_index=False)[["accuracy"]].mean()
    values = runs.merge(seen.rename(columns={"after_task": "task"}), on="digest")
    axes = [*COLUMNS[:9]]
    points = []
    for key, group in values.groupby(axes, sort=False):
        found = mean_interval((100 * group["accuracy"]).tolist())
        numbers = (found.mean, found.sd, found.low, found.high, len(group))
        points.append((*key, *numbers))
    names = [*axes, "ours_percent", "sd", "low_percent", "high_percent", "seeds"]
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
    return table[COLUMNS]


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
