"""The tables that figures are drawn from, read when first asked for and checked by column."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from dstcl.evaluation.titles import Title, dataset_titles
from dstcl.storage import read_json
from dstcl.study.run import AXES

BLOCK = ["dataset", "tasks", "protocol", "network", "method"]
CELL = [axis for axis in AXES if axis != "seed"]
TYPES: dict[str, type] = {name: str for name in (*AXES, "digest", "layer")} | {
    "tasks": int,
    "density": float,
    "seed": int,
}
TEXT = ("claim", "statement", "verdict", "kind", "detail", "reproduced")


class NotDrawnError(Exception):
    """Why a study has nothing that a figure could show."""


@dataclass(frozen=True)
class Tables:
    """Tables of the study in this folder, with the columns that figures need."""

    study: Path

    @cached_property
    def title(self) -> Title:
        """What a reader sees for the name of a data set."""
        return dataset_titles(self.study)

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

    @cached_property
    def overlap(self) -> pd.DataFrame:
        """Share of weights that two tasks have in common, with the axes of the run."""
        rows = self._read("overlap", ["digest", "task", "other", "shared", "jaccard"], full=False)
        if rows.empty:
            raise NotDrawnError("no run has recorded which weights tasks share (overlap.csv)")
        return self._with_axes("overlap", rows)

    @cached_property
    def history(self) -> pd.DataFrame:
        """Explored fraction by task and epoch, with the axes of the run."""
        rows = self._read("history", ["digest", "task", "epoch", "explored"], full=False)
        if rows.empty:
            raise NotDrawnError("no run has recorded which weights it explored (history.csv)")
        return self._with_axes("history", rows)

    @cached_property
    def claims(self) -> pd.DataFrame:
        """A row a claim and block."""
        columns = ["claim", "statement", "effect", "low", "high", "p_holm", "seeds", "verdict"]
        more = ["protocol", "dataset", "tasks", "network", "more_than", "kind", "detail"]
        return self._read("claims", columns + more, full=False)

    @cached_property
    def paper(self) -> pd.DataFrame:
        """The points of the paper's figure that this study has too; may be empty."""
        numbers = ["paper_percent", "reading_error", "ours_percent", "low_percent", "high_percent"]
        return self._read("paper", [*CELL, "task", *numbers, "reproduced"], full=False)

    @cached_property
    def protocols(self) -> dict[str, dict[str, Any]]:
        """The switches of each protocol, as the study's params.json has them.

        Raises:
            NotDrawnError: there is no such file.
        """
        try:
            return dict(read_json(self.study / "params.json")["protocols"])
        except (ValueError, KeyError, TypeError):
            raise NotDrawnError("params.json of this study does not list its protocols") from None

    def measured(self, *measures: str) -> pd.DataFrame:
        """A row a run: its axes, digest and these measures, NaN where a run has none.

        Raises:
            NotDrawnError: naming the measures that no run has.
        """
        header = pd.read_csv(self.study / "summary.csv", nrows=0).columns
        lacking = [name for name in measures if name not in header]
        if lacking:
            raise NotDrawnError(f"summary.csv has no {', '.join(lacking)}")
        values = self._read("summary", ["digest", *measures], full=False)
        for name in measures:
            values[name] = pd.to_numeric(values[name])
        return self.summary[[*AXES, "digest"]].merge(values, on="digest")

    @property
    def single_switches(self) -> dict[str, str]:
        """Protocols that differ from ``corrected`` in one switch: name and ``switch = value``.

        ``logits: all`` counts with the ``head: shared`` that it cannot do without. Empty where
        params.json is missing.
        """
        try:
            protocols = self.protocols
        except NotDrawnError:
            return {}
        base, found = protocols.get("corrected"), {}
        for name, values in protocols.items():
            changed = [key for key in values if base and values[key] != base.get(key)]
            if len(changed) == 1 or set(changed) == {"logits", "head"}:
                found[name] = ", ".join(f"{key} = {_word(values[key])}" for key in changed)
        return found

    @cached_property
    def shown(self) -> pd.DataFrame:
        """The runs that figures of single configurations show.

        Protocols that flip one switch have the figure ``ablation``, and methods beside dynamic
        sparse training ``baselines``; they are left out elsewhere unless there is nothing else.
        """
        runs = self.without_switches(self.summary)
        own = runs[runs.method == "dst"]
        return own if len(own) else runs

    def without_switches(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows of protocols that do not just flip one switch; all, if there are no others."""
        kept = rows[~rows.protocol.isin(self.single_switches)]
        return kept if len(kept) else rows

    def _with_axes(self, name: str, rows: pd.DataFrame) -> pd.DataFrame:
        axes = self.shown[[*AXES, "digest"]]
        known = axes.merge(rows, on="digest", validate="one_to_many")
        if known.empty:
            raise ValueError(f"{self.study}: {name}.csv has no run of summary.csv")
        return known

    def _read(self, name: str, columns: list[str], full: bool = True) -> pd.DataFrame:
        """These columns of a table; names stay text even where they look like numbers.

        Args:
            name: of the table.
            columns: to read.
            full: whether a table without rows is a mistake.

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
            text = [c for c in columns if TYPES.get(c) is str or c in TEXT]
            blank = {c: [""] for c in columns if c not in text}
            table = pd.read_csv(
                path, usecols=columns, dtype=types, keep_default_na=False, na_values=blank
            )
        except FileNotFoundError:
            raise ValueError(f"{path}: no such file") from None
        except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise ValueError(f"{path}: not a table ({error})") from None
        if full and table.empty:
            raise ValueError(f"{path}: has no rows")
        return table


def _word(value: Any) -> str:
    """A switch's value as params.yaml has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
