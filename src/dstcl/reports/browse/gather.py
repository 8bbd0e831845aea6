"""What is recorded, as the page holds it: runs, configurations with their curves, verdicts.

Only tables are read, those that `dstcl collect`, `claims` and `record` write, and older forms of
them. A study needs no more than summary.csv: what else it has is shown, what it has not is said.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dstcl.evaluation.axes import CELL, cell_axes, varied_axes
from dstcl.evaluation.axes import NOT_READ as NOT_READ
from dstcl.evaluation.paper.beside import seen_means
from dstcl.evaluation.spelling import percent_signs
from dstcl.evaluation.statistics import mean_interval
from dstcl.evaluation.tables import TABLES, Needs, Title, dataset_titles, read_columns, read_table
from dstcl.reports.browse.details import Details
from dstcl.reports.browse.paper_curves import PaperCurves
from dstcl.reports.browse.plain import plain_rows, short

AXES = ("study", "data", "protocol", "network", "method", "density", "init", "growth", "settings")
"""What a configuration is told apart by, as columns of the page; ``settings`` are varied ones."""
SHARES = ("acc", "learning_accuracy", "forgetting", "bwt", "used_fraction")
OLD_UNITS = "seeds"
"""What the column ``units`` of claims.csv was called before update intervals could be units."""
OLD_CLAIMS = Needs(
    ("claim", "statement", "verdict", "protocol", "dataset", "tasks", "network", "effect"),
    ("tasks", "effect", "low", "high", "p_holm"),
    ("effect", "low", "high", "p_holm"),
)
Curve = list[list[float | None]]
"""Points: tasks learned, mean and both ends of the interval in per cent, number of seeds."""


@dataclass(frozen=True)
class Source:
    """A folder with tables of runs.

    Attributes:
        name: what the page calls it.
        folder: where it is.
        recorded: whether it is kept in reference/, and not among results.
    """

    name: str
    folder: Path
    recorded: bool


def recorded_studies(reference: Path) -> list[Source]:
    """Every folder below ``reference`` with a summary.csv."""
    folders = sorted(path.parent for path in reference.glob("**/summary.csv"))
    return [Source(folder.relative_to(reference).as_posix(), folder, True) for folder in folders]


def other_studies(folders: Iterable[Path]) -> list[Source]:
    """Studies among the results, called as they are, in words that tell them from recorded ones.

    Raises:
        ValueError: two have the same name.
    """
    found = [Source(f"{folder.resolve().name} (results)", folder, False) for folder in folders]
    names = Counter(source.name.partition(" (")[0] for source in found)
    if twice := [name for name, number in names.items() if number > 1]:
        raise ValueError(f"two studies are called {twice[0]}; the page tells them apart by name")
    return found


def gathered(sources: Sequence[Source], paper: pd.DataFrame, page: Path) -> dict[str, Any]:
    """All that the page holds, as JSON can hold it.

    Args:
        sources: the studies, in the order in which they are shown.
        paper: the paper's curves (`dstcl.evaluation.paper.reference.read_curves`).
        page: where the page will be; links are relative to it.

    Raises:
        ValueError: a table of a study is missing or wrong; the line names it.
    """
    curves = PaperCurves(paper)
    found: dict[str, Any] = {"axes": AXES, "studies": [], "cells": [], "runs": [], "claims": []}
    details = Details()
    for source in sources:
        study = _Study(source)
        first = len(found["runs"])
        found["runs"] += study.runs()
        study.add_details(details, first)
        found["cells"] += study.cells(first, curves)
        found["claims"] += study.claims()
        found["studies"].append(_about(source, study, page))
    return found | {"details": details.plain(), "paper": curves.shown, "not_read": NOT_READ}


def _about(source: Source, study: _Study, page: Path) -> dict[str, Any]:
    """A study's line in the list of studies."""
    place = Path(os.path.relpath(source.folder, page.parent)).as_posix()
    there = sorted(path.name for path in source.folder.iterdir() if path.suffix in (".csv", ".md"))
    # A study among the results may be at work on others.
    files = (
        there if source.recorded else [f"{name}.csv" for name in TABLES if f"{name}.csv" in there]
    )
    return {
        "name": source.name,
        "recorded": source.recorded,
        "runs": len(study.summary),
        "seeds": int(study.summary["seed"].nunique()),
        "data": list(dict.fromkeys(study.axes["data"])),
        "folder": place,
        "files": files,
    }


class _Study:
    """One study's tables, and its axes in the words of the page."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.title = dataset_titles(source.folder)
        self.summary = read_table(source.folder, "summary")
        self.accuracy = self._optional("accuracy", TABLES["accuracy"])
        self.axes = self._in_words(self.summary)

    def _optional(self, name: str, needs: Needs) -> pd.DataFrame | None:
        try:
            return read_columns(self.source.folder / f"{name}.csv", *needs)
        except FileNotFoundError:
            return None

    def _in_words(self, table: pd.DataFrame) -> pd.DataFrame:
        """`AXES` of every row."""
        words = pd.DataFrame({"study": self.source.name}, index=table.index)
        words["data"] = _data(table, self.title)
        for name in ("protocol", "network", "method"):
            words[name] = table[name]
        words["density"] = table["density"].astype(float)
        words["init"], words["growth"] = table["init"], table["growth"]
        varied = varied_axes(table)
        words["settings"] = [_settings(dict(zip(varied, row))) for row in plain_rows(table[varied])]
        return words[list(AXES)]

    def runs(self) -> list[list[Any]]:
        """A row a run: `AXES`, seed, `SHARES` in per cent, seconds, digest."""
        shares = [
            100 * self.summary[name] if name in self.summary else pd.Series(None, self.axes.index)
            for name in SHARES
        ]
        seconds = self.summary.get("seconds", pd.Series(None, self.axes.index))
        columns = [self.summary["seed"], *shares, seconds, self.summary["digest"]]
        table = pd.concat([self.axes, *columns], axis=1)
        return [[short(value) for value in row] for row in plain_rows(table)]

    def add_details(self, details: Details, first: int) -> None:
        """Add what the study's tables have of single runs.

        Args:
            details: of all runs on the page.
            first: place of the study's first run among them.
        """
        runs = {digest: first + row for row, digest in enumerate(self.summary["digest"])}
        for name, add in (
            ("accuracy", details.add_accuracy),
            ("capacity", details.add_layers),
            ("overlap", details.add_overlap),
        ):
            table = self.accuracy if name == "accuracy" else self._optional(name, TABLES[name])
            if table is not None:
                add(self.source.folder / f"{name}.csv", table, runs)

    def cells(self, first: int, curves: PaperCurves) -> list[dict[str, Any]]:
        """Configurations: axes, place of their runs, ends, curves, and which of the paper's fits.

        Args:
            first: place of the study's first run among all.
            curves: the paper's.
        """
        by_run = self._curves_of_runs()
        printed = self._recorded_means()
        rows = []
        for key, own in self.summary.groupby(cell_axes(self.summary), sort=False):
            cell: dict[str, Any] = dict(zip(cell_axes(self.summary), key))
            end = mean_interval([100 * value for value in own["acc"]])
            row: dict[str, Any] = {"at": list(short(v) for v in self.axes.loc[own.index[0]])}
            row["runs"] = [first + place for place in own.index.tolist()]
            row["end"] = [short(v) for v in (end.mean, end.low, end.high)]
            row["seen"] = _mean_curve(by_run["seen"], own["digest"]) or printed.get(_key(cell), [])
            row["new"] = _mean_curve(by_run["new"], own["digest"])
            row["paper"] = curves.beside(cell)
            learned = own.get("tasks_learned", own["tasks"]).fillna(own["tasks"])
            row["tasks"] = int(learned.min())
            rows.append(row)
        return rows

    def _curves_of_runs(self) -> dict[str, pd.DataFrame]:
        """By digest, a column after each task: means over seen tasks, and the newest task alone."""
        if self.accuracy is None:
            return {"seen": pd.DataFrame(), "new": pd.DataFrame()}
        newest = self.accuracy[self.accuracy["after_task"] == self.accuracy["task"]]
        new = newest.pivot_table(index="digest", columns="after_task", values="accuracy")
        return {"seen": seen_means(self.accuracy), "new": new}

    def _recorded_means(self) -> dict[tuple[Any, ...], Curve]:
        """Means over seeds in paper.csv, of studies whose accuracy.csv was not recorded."""
        if self.accuracy is not None:
            return {}
        numbers = ("tasks", "density", "task", "ours_percent", "low_percent", "high_percent")
        table = self._optional("paper", Needs((*CELL, *numbers[2:]), numbers, numbers[4:]))
        found: dict[tuple[Any, ...], Curve] = {}
        if table is None or varied_axes(table):
            return found
        count = "n" if "n" in table else OLD_UNITS
        for key, own in table.groupby(list(CELL), sort=False):
            points = own[[*numbers[2:], count]].drop_duplicates("task")
            found[_key(dict(zip(CELL, key)))] = [
                [short(v) for v in row] for row in plain_rows(points)
            ]
        return found

    def claims(self) -> list[dict[str, Any]]:
        """A row a claim and block; effects in points."""
        table = self._optional("claims", OLD_CLAIMS)
        if table is None:
            return []
        data = _data(table, self.title)
        rows = []
        for row, words in zip(table.to_dict("records"), data):
            said: dict[str, Any] = {"study": self.source.name, "data": words}
            for name in ("protocol", "network", "claim", "statement", "source", "verdict"):
                said[name] = _text(row.get(name))
            for name in ("effect", "low", "high", "more_than", "paper_effect"):
                said[name] = _points(row.get(name))
            said["p"] = short(row.get("p_holm"))
            said["units"] = _count(row.get("units", row.get(OLD_UNITS)))
            said["unit"] = _text(row.get("unit")) or "seeds"
            said["detail"] = _text(row.get("detail")) or _text(row.get("note"))
            rows.append(said)
        return rows


def _key(cell: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(cell[axis] for axis in CELL)


def _data(table: pd.DataFrame, title: Title) -> list[str]:
    """Data set and tasks in words."""
    return [title.setting(str(name), int(n)) for name, n in zip(table["dataset"], table["tasks"])]


def _settings(varied: dict[str, Any]) -> str:
    """Varied settings that the method reads, in words."""
    read = {name: value for name, value in varied.items() if value != NOT_READ}
    return ", ".join(f"{name.rpartition('.')[2]} {value}" for name, value in read.items())


def _mean_curve(runs: pd.DataFrame, digests: pd.Series[Any]) -> Curve:
    """Mean with its 95 % interval after each task that every one of the runs has learned."""
    if not set(digests) <= set(runs.index):
        return []
    own = (100 * runs.loc[list(digests)]).dropna(axis="columns")
    curve: Curve = []
    for task in own:
        found = mean_interval(own[task].tolist())
        numbers = (found.mean, found.low, found.high)
        curve.append([int(str(task)), *map(short, numbers), len(own)])
    return curve


def _points(value: Any) -> float | None:
    number = pd.to_numeric(value, errors="coerce")
    return None if number is None or not np.isfinite(number) else round(100 * float(number), 3)


def _count(value: Any) -> int:
    number = pd.to_numeric(value, errors="coerce")
    return 0 if number is None or not np.isfinite(number) else int(number)


def _text(value: Any) -> str:
    return "" if value is None or pd.isna(value) else percent_signs(str(value))
