"""Every number of the paper that a study has too, beside the study's.

Ours are aggregated as the paper's are: a mean over update intervals with their standard deviation,
within each seed. Where there are several seeds, the 95 % interval is over seeds; with one seed and
several intervals it is over intervals. The two are different things and never one column: ``unit``
says what ``low_percent`` and ``high_percent`` are over, ``sd_intervals`` is always over intervals.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import pandas as pd

from dstcl.evaluation.axes import CELL, is_varied, varied_axes
from dstcl.evaluation.paper.catalog import TABLES, family, unlike_intervals
from dstcl.evaluation.paper.reference import CONFIGURATION, CURVE, METRICS, READING_ERROR
from dstcl.evaluation.replication import INTERVAL, Unit, by_unit, unit_of
from dstcl.evaluation.statistics import mean_interval

TOLERANCE = 3.0
"""Points within which a number counts as the paper's: a seventh of the range in which its curves
for 10 tasks end (56 to 77), and several times the spread of seeds."""
FEWEST = 3
"""Repetitions below which nothing is called reproduced or not."""
TOGETHER = ", "
"""Between the values of a varied setting that a number is the mean over."""
OURS = ("ours_percent", "sd_intervals", "intervals", "low_percent", "high_percent")
JUDGED = (*OURS, "unit", "n", "reproduced", "unlike")
CURVE_NUMBERS = ("task", "paper_percent", "paper_low", "paper_high", *JUDGED)
TABLE_NUMBERS = ("metric", "learned", "compared_with", "paper_percent", "paper_pm", *JUDGED)
CURVE_COLUMNS = ("figure", *CELL, *CURVE_NUMBERS)
TABLE_COLUMNS = ("table", *CELL, *TABLE_NUMBERS)
FWT = "fwt_by_position"
"""FWT as the paper's code defines it; the FWT of Lopez-Paz and Ranzato is another quantity."""
MEASURES = {"acc": "acc", "bwt": "bwt", "fwt": FWT}
Row = dict[Any, Any]


@dataclass(frozen=True)
class Runs:
    """The runs of one configuration that a number of the paper is compared with.

    Attributes:
        cell: its axes but the seed, and the values of varied settings that a mean is over.
        rows: a row a run, with the axes, ``update_every``, ``unlike`` and ``learned``.
    """

    cell: Row
    rows: pd.DataFrame

    def have(self, column: Hashable) -> bool:
        """Whether all of them have a value there."""
        return column in self.rows and bool(self.rows[column].notna().all())


class Study:
    """A study's runs of dynamic sparse training, ready to be looked up.

    Args:
        summary: a row a run: axes and measures; ``tasks_learned`` where only a prefix was learned.
        accuracy: of every run, after each task on each task.
        settings: ``update_every`` and ``unlike`` (`catalog.unlike`), by digest.
    """

    def __init__(
        self, summary: pd.DataFrame, accuracy: pd.DataFrame, settings: pd.DataFrame
    ) -> None:
        self.varied = varied_axes(summary)
        # By name: the paper is about this one method.
        runs = summary[summary["method"] == "dst"].join(settings, on="digest")
        learned = runs["tasks_learned"] if "tasks_learned" in runs else runs["tasks"]
        runs = runs.assign(learned=learned.fillna(runs["tasks"]).astype(int))
        runs = runs.assign(family=runs["network"].map(family))
        self.runs = runs.join(seen_means(accuracy), on="digest")
        keys = ["dataset", "tasks", "family", *CONFIGURATION]
        self._groups = dict(list(self.runs.groupby(keys, sort=False)))

    def find(self, network: str, wanted: Row, interval: float = nan) -> Iterator[Runs]:
        """Runs beside one configuration of the paper, by protocol and network.

        Args:
            network: the paper's.
            wanted: dataset, tasks, init, density and growth.
            interval: the update interval, where a single one is wanted.
        """
        names = (wanted[name] for name in CONFIGURATION)
        runs = self._groups.get((wanted["dataset"], wanted["tasks"], network, *names))
        if runs is None:
            return
        if pd.notna(interval):
            runs = runs[runs["update_every"] == interval]
        for _, rows in runs.groupby(["protocol", "network"], sort=False):
            cell = {axis: rows[axis].iloc[0] for axis in CELL}
            cell |= {axis: TOGETHER.join(dict.fromkeys(rows[axis])) for axis in self.varied}
            yield Runs(cell, rows)

    def columns(self, columns: Sequence[str]) -> list[str]:
        """These columns of a table, with the varied settings after growth."""
        place = columns.index("growth") + 1
        return [*columns[:place], *self.varied, *columns[place:]]


def seen_means(accuracy: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy over the tasks seen so far: a row a digest, a column after each task."""
    seen = accuracy[accuracy["after_task"] >= accuracy["task"]]
    return seen.groupby(["digest", "after_task"])["accuracy"].mean().unstack()


def curves_beside(study: Study, curves: pd.DataFrame) -> pd.DataFrame:
    """Each point of the paper's curves that the study has reached: `CURVE_COLUMNS`, in per cent.

    Where only the first tasks were learned, only their points are there.
    """
    rows: list[Row] = []
    for key, points in curves.groupby(list(CURVE), sort=False, dropna=False):
        curve: Row = dict(zip(CURVE, key))
        interval = curve["update_every"]
        for runs in study.find(curve["network"], curve, interval):
            tasks = [task for task in points["task"] if runs.have(task)]
            ours = {row["of"]: row for row in _aggregated(runs, tasks, bool(pd.isna(interval)))}
            for point in points[points["task"].isin(list(ours))].to_dict("records"):
                theirs = {"figure": curve["figure"], "task": point["task"]}
                theirs |= {"paper_percent": point["accuracy_percent"]}
                theirs |= {"paper_low": point["band_low"], "paper_high": point["band_high"]}
                rows.append(_judged(runs.cell | theirs | ours[point["task"]]))
    return pd.DataFrame(rows, columns=study.columns(CURVE_COLUMNS))


def tables_beside(study: Study, tables: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Each number of the paper's tables that the study has too: `TABLE_COLUMNS`, in per cent.

    A row for ACC, BWT and FWT each, the last where the study has `FWT`. Where only the first tasks
    were learned there is ACC alone, beside the point of the figure of the same runs after as many
    tasks; ``compared_with`` says which.
    """
    rows: list[Row] = []
    for theirs in tables.to_dict("records"):
        part = TABLES[theirs["table"]]
        for runs in study.find(part.network, theirs):
            learned = int(runs.rows["learned"].min())
            if learned < part.tasks:
                found = _prefix(runs, learned, curves, part.curves)
            else:
                found = _whole(runs, theirs)
            same = {"table": part.number, "learned": learned}
            rows += [_judged(runs.cell | same | row) for row in found]
    return pd.DataFrame(rows, columns=study.columns(TABLE_COLUMNS))


def _whole(runs: Runs, theirs: Row) -> Iterator[Row]:
    names = {MEASURES[metric]: metric for metric in METRICS}
    there = [name for name in names if runs.have(name)]
    for row in _aggregated(runs, there):
        metric = names[row["of"]]
        row |= {"metric": metric, "compared_with": f"table {theirs['table']}"}
        yield row | {"paper_percent": theirs[metric], "paper_pm": theirs[f"{metric}_pm"]}


def _prefix(runs: Runs, learned: int, curves: pd.DataFrame, figure: str) -> Iterator[Row]:
    points = curves[(curves["figure"] == figure) & (curves["task"] == learned)]
    for name in CONFIGURATION:
        points = points[points[name] == runs.cell[name]]
    for point in points["accuracy_percent"]:
        for row in _aggregated(runs, [learned] if runs.have(learned) else []):
            row |= {"metric": "acc", "compared_with": f"figure {figure} after task {learned}"}
            yield row | {"paper_percent": point, "paper_pm": nan}


def _aggregated(runs: Runs, columns: Sequence[Any], over_intervals: bool = True) -> Iterator[Row]:
    """`OURS`, unit, n and ``unlike`` of each column (``of``), in per cent.

    Args:
        runs: of one configuration.
        columns: with fractions.
        over_intervals: whether the number is a mean over update intervals.
    """
    unit = unit_of(runs.rows)
    values = by_unit(runs.rows, columns, unit)
    if values.empty:
        return
    used = runs.rows[runs.rows[unit.column].isin(values.index)]
    spread, intervals = _over_intervals(used, columns, unit)
    unlike = list(dict.fromkeys(word for word in used["unlike"] if word))
    if over_intervals:
        found = unlike_intervals(set(used["update_every"]), str(runs.cell["dataset"]))
        unlike += [found] * bool(found)
    for column in columns:
        mean = mean_interval(values[column].tolist())
        numbers = (mean.mean, spread[column], mean.low, mean.high)
        names = ("ours_percent", "sd_intervals", "low_percent", "high_percent")
        row = {name: 100 * number for name, number in zip(names, numbers)}
        row |= {"of": column, "intervals": intervals, "unit": unit.many, "n": len(values)}
        yield row | {"unlike": TOGETHER.join(unlike)}


def _over_intervals(
    rows: pd.DataFrame, columns: Sequence[Any], unit: Unit
) -> tuple[pd.Series[float], int]:
    """Sample standard deviation over update intervals within a seed, as a mean over seeds.

    Also the number of intervals; with fewer than two the deviation is NaN.
    """
    if INTERVAL not in rows:
        return pd.Series(nan, index=list(columns)), 1
    seeds = rows.groupby(["seed", INTERVAL], sort=False)[list(columns)].mean()
    spread = seeds.groupby("seed").std(ddof=1).mean()
    return spread, rows[INTERVAL].nunique()


def _judged(row: Row) -> Row:
    answer = reproduced(row["paper_percent"], row["low_percent"], row["high_percent"], row["n"])
    return row | {"reproduced": answer}


def reproduced(paper: float, low: float, high: float, repetitions: int) -> str:
    """Whether a number of the paper came out again: ``yes``, ``no`` or ``open``.

    All in per cent. The difference from the paper lies somewhere in our 95 % interval, widened on
    both sides by `READING_ERROR`. ``yes`` if all of it is within `TOLERANCE`, ``no`` if none of it
    is, else ``open``; with fewer than three repetitions (seeds or intervals) always ``open``.
    """
    if repetitions < FEWEST:
        return "open"
    least, most = low - READING_ERROR - paper, high + READING_ERROR - paper
    if least >= -TOLERANCE and most <= TOLERANCE:
        return "yes"
    return "no" if most < -TOLERANCE or least > TOLERANCE else "open"


def averaged_over(table: pd.DataFrame) -> str:
    """Over which varied settings the means of a table are taken, in words; "" if over none."""
    words = [
        f"{axis} {found}"
        for axis in filter(is_varied, table.columns)
        for found in table[axis].unique()
        if TOGETHER in found
    ]
    return f"mean over {' and '.join(words)}" if words else ""
