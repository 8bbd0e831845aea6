"""What figures make of a study's tables: read when first asked for, joined with axes, narrowed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from dstcl.evaluation.axes import NOT_READ, all_axes
from dstcl.evaluation.made_from import RESULTS, TIMES
from dstcl.evaluation.tables import Needs, Title, dataset_titles, read_table
from dstcl.figures.style import Look, growth_looks, init_looks, method_looks
from dstcl.storage import read_json


class NotDrawnError(Exception):
    """Why a study has nothing that a figure could show."""


@dataclass(frozen=True)
class Tables:
    """Tables of the study in this folder, with the columns that figures need.

    Attributes:
        study: the folder.
        read: files of the tables that were asked for; `RESULTS` in place of summary.csv if no times
            were.
    """

    study: Path
    read: set[str] = field(default_factory=set)

    @cached_property
    def title(self) -> Title:
        """What a reader sees for the name of a data set."""
        return dataset_titles(self.study)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row per run: its axes, ACC and digest."""
        runs = self._filled("summary")
        return runs[[*all_axes(runs), "acc", "digest"]]

    @cached_property
    def accuracy(self) -> pd.DataFrame:
        """Accuracy on the tasks seen so far, after each learned task, with the axes of its run."""
        rows = self._filled("accuracy")[["digest", "after_task", "task", "accuracy"]]
        return self._with_axes("accuracy", rows[rows.after_task >= rows.task])

    @cached_property
    def capacity(self) -> pd.DataFrame:
        """Weights of each layer by task: active, shared, free; channels with free ones, where runs
        have recorded them; with the axes of its run."""
        columns = ["digest", "task", "layer", "size", "active", "shared", "free"]
        rows = self._filled("capacity")
        columns += [name for name in ("channels",) if name in rows]  # not of older runs
        return self._with_axes("capacity", rows[columns])

    @cached_property
    def overlap(self) -> pd.DataFrame:
        """Share of weights that two tasks have in common, with the axes of the run."""
        rows = self._kept("overlap")
        if rows.empty:
            raise NotDrawnError("no run has recorded which weights tasks share (overlap.csv)")
        return self._with_axes("overlap", rows)

    @cached_property
    def decisions(self) -> pd.DataFrame:
        """What controllers decided, with the axes of the run."""
        rows = self._kept("decisions")
        if rows.empty:
            raise NotDrawnError("no run has a controller that decides anything")
        return self._with_axes("decisions", rows.fillna({"layer": ""}))

    @cached_property
    def history(self) -> pd.DataFrame:
        """Explored fraction by task and epoch, with the axes of the run."""
        rows = self._kept("history")
        if rows.empty:
            raise NotDrawnError("no run has recorded which weights it explored (history.csv)")
        return self._with_axes("history", rows)

    @cached_property
    def claims(self) -> pd.DataFrame:
        """One row per claim and block."""
        columns = {
            "claim",
            "statement",
            "effect",
            "low",
            "high",
            "p_holm",
            "units",
            "unit",
            "verdict",
        }
        columns |= {"verdict", "protocol", "dataset", "tasks", "network", "more_than", "kind"}
        columns |= {"detail"}
        rows = self._read("claims")
        return rows[[name for name in rows if name in columns]]

    @cached_property
    def paper(self) -> pd.DataFrame:
        """The points of the paper's figures that this study has too; may be empty."""
        return self._read("paper")

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

    @cached_property
    def growth_looks(self) -> dict[str, Look]:
        """The look of every growth of the study."""
        return growth_looks(self.summary.growth.unique())

    @cached_property
    def init_looks(self) -> dict[str, Look]:
        """The look of every init of the study."""
        return init_looks(self.summary.init.unique())

    @cached_property
    def method_looks(self) -> dict[str, Look]:
        """The look of every method of the study: of its kind."""
        return method_looks(self.summary)

    def measured(self, *measures: str) -> pd.DataFrame:
        """One row per run: its axes, digest and these measures, NaN where a run has none.

        Raises:
            NotDrawnError: naming the measures that no run has.
        """
        if not TIMES.isdisjoint(measures):
            self.read.add("summary.csv")
        rows = self._read("summary")
        if lacking := [name for name in measures if name not in rows]:
            raise NotDrawnError(f"summary.csv has no {', '.join(lacking)}")
        needs = Needs(("digest", *measures), measures, measures)
        values = self._read("summary", needs)[["digest", *measures]]
        return self.summary.drop(columns="acc").merge(values, on="digest")

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

        Protocols that flip one switch have the figure ``ablation``, and methods that do not grow
        ``baselines``; they are left out elsewhere unless there is nothing else.
        """
        return growing(self.without_switches(self.summary))

    def without_switches(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows of protocols that do not just flip one switch; all, if there are no others."""
        kept = rows[~rows.protocol.isin(self.single_switches)]
        return kept if len(kept) else rows

    def _with_axes(self, name: str, rows: pd.DataFrame) -> pd.DataFrame:
        axes = self.shown.drop(columns="acc")
        known = axes.merge(rows, on="digest", validate="one_to_many")
        if known.empty:
            raise ValueError(f"{self.study}: {name}.csv has no run of summary.csv")
        return known

    def _read(self, name: str, needs: Needs | None = None) -> pd.DataFrame:
        # Figures that show no times are the same after runs are made again.
        self.read.add(RESULTS if name == "summary" else f"{name}.csv")
        return read_table(self.study, name, needs)

    def _kept(self, name: str) -> pd.DataFrame:
        """A table that a recorded study need not keep.

        Raises:
            NotDrawnError: it does not. It has no runs either, of which the table could be made.
        """
        if not (self.study / f"{name}.csv").exists() and not (self.study / "runs").exists():
            raise NotDrawnError(f"this recorded study has no {name}.csv")
        return self._read(name)

    def _filled(self, name: str) -> pd.DataFrame:
        """A table that has rows.

        Raises:
            ValueError: naming the file, if it has none.
        """
        table = self._read(name)
        if table.empty:
            raise ValueError(f"{self.study / name}.csv: has no rows")
        return table


def growing(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs of methods that grow weights while they train; all, if there are none."""
    own = runs[runs.method.isin(runs.method[runs.growth != NOT_READ])]
    return own if len(own) else runs


def _word(value: Any) -> str:
    """A switch's value as params.yaml has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
