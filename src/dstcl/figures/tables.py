"""The tables that figures are drawn from, read when first asked for and checked by column."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from dstcl.runs import AXES

BLOCK = ["dataset", "tasks", "protocol", "network", "method"]
CELL = [axis for axis in AXES if axis != "seed"]
TYPES: dict[str, type] = {name: str for name in (*AXES, "digest", "layer")} | {
    "tasks": int,
    "density": float,
    "seed": int,
}


@dataclass(frozen=True)
class Tables:
    """Tables of the study in this folder, with the columns that figures need."""

    study: Path

    @cached_property
    def summary(self) -> pd.DataFrame:
        """A row a run: its axes, ACC and digest."""
        return self._read("summary", [*AXES, "acc", "digest"])

    @cached_property
    def accuracy(self) -> pd.DataFrame:
        """Accuracy on the tasks seen so far, after each learned task, with the axes of its run."""
        rows = self._read("accuracy", ["digest", "after_task", "task", "accuracy"])
        return self._with_axes("accuracy", rows[rows.after_task >= rows.task])

    @cached_property
    def capacity(self) -> pd.DataFrame:
        """Weights of each layer by task: active, shared, free; with the axes of its run."""
        columns = ["digest", "task", "layer", "size", "active", "shared", "free"]
        return self._with_axes("capacity", self._read("capacity", columns))

    def _with_axes(self, name: str, rows: pd.DataFrame) -> pd.DataFrame:
        axes = self.summary[[*AXES, "digest"]]
        known = axes.merge(rows, on="digest", validate="one_to_many")
        if known.empty:
            raise ValueError(f"{self.study}: {name}.csv has no run of summary.csv")
        return known

    def _read(self, name: str, columns: list[str]) -> pd.DataFrame:
        """These columns of a table; names stay text even where they look like numbers.

        Raises:
            ValueError: naming the file, and the column if that is what is missing.
        """
        path = self.study / f"{name}.csv"
        try:
            header = pd.read_csv(path, nrows=0).columns
            for column in columns:
                if column not in header:
                    raise ValueError(f"{path}: column {column!r} is missing")
            types = {column: TYPES[column] for column in columns if column in TYPES}
            table = pd.read_csv(path, usecols=columns, dtype=types, keep_default_na=False)
        except FileNotFoundError:
            raise ValueError(f"{path}: no such file") from None
        except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise ValueError(f"{path}: not a table ({error})") from None
        if table.empty:
            raise ValueError(f"{path}: has no rows")
        return table
