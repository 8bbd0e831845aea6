"""What a claim compares, for each run: a column of summary.csv, or derived from other tables.

Measures of tasks, each with the number k of ``after_task``:

- ``late_minus_early``: accuracy on tasks beyond k minus that on tasks up to k, each measured right
  after the task was learned;
- ``used_after``: share of the weights that the first k tasks use;
- ``narrow_used_after``: the same for narrow layers, those with fewer weights than the median layer;
  the mean of their shares, since each of them can be the bottleneck.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from dstcl.evaluation.claim_grid import NotTested
from dstcl.evaluation.claim_kinds import Claim, Saturation


@dataclass(frozen=True)
class Tables:
    """What a study measured: one row per run, and long tables by the run's digest."""

    summary: pd.DataFrame
    accuracy: pd.DataFrame
    capacity: pd.DataFrame
    randomness: Mapping[str, str] = field(default_factory=dict)
    """By digest: settings under which tests draw random numbers; runs without any may be left out
    (`dstcl.evaluation.judge.test_randomness`)."""


@dataclass(frozen=True)
class Phases:
    """The tasks of a saturation: up to a task in two halves, and those beyond it.

    Attributes:
        first, until, beyond: first and last task of each; ``until`` is empty for a single task.
    """

    first: tuple[int, int]
    until: tuple[int, int]
    beyond: tuple[int, int]

    @classmethod
    def around(cls, task: int, last: int) -> Phases:
        """The phases around ``task``, of ``last`` tasks that were learned."""
        half = max(1, task // 2)
        return cls((1, half), (half + 1, task), (task + 1, last))


def learned_tasks(runs: pd.DataFrame) -> pd.Series[int]:
    """How many tasks each run learned: all, unless the table says that it was a prefix."""
    if "tasks_learned" not in runs:
        return runs["tasks"]
    return runs["tasks_learned"].fillna(runs["tasks"]).astype(int)


def measured(claim: Claim, runs: pd.DataFrame, tables: Tables) -> dict[str, pd.Series[float]]:
    """The claim's measure for each of the runs; a saturation has two, its falls.

    Raises:
        NotTested: the study has no such measure.
    """
    if isinstance(claim, Saturation):
        phases = Phases.around(claim.after_task, int(learned_tasks(runs).min()))
        falls = {"beyond": phases.beyond, "until": phases.until}
        return {
            name: _accuracy_when_learned(runs, tables, *phases.first)
            - _accuracy_when_learned(runs, tables, *tasks)
            for name, tasks in falls.items()
            if tasks[0] <= tasks[1]
        }
    name = str(getattr(claim, "measure", "acc"))
    task = int(getattr(claim, "after_task", None) or 0)
    if name == "late_minus_early":
        late = _accuracy_when_learned(runs, tables, task + 1, int(runs["tasks"].max()))
        return {name: late - _accuracy_when_learned(runs, tables, 1, task)}
    if name in ("used_after", "narrow_used_after"):
        return {name: _used(runs, tables, task, narrow=name != "used_after")}
    if after := getattr(claim, "after", None):
        rows = tables.accuracy
        rows = rows[rows["after_task"].eq(after) & rows["task"].le(after)]
        return {name: _by_run(runs, rows.groupby("digest")["accuracy"].mean())}
    if name not in runs:
        raise NotTested(f"not measured: {name}")
    return {name: runs[name].astype(float)}


def _by_run(runs: pd.DataFrame, by_digest: pd.Series[float]) -> pd.Series[float]:
    return runs["digest"].map(by_digest).astype(float)


def _accuracy_when_learned(
    runs: pd.DataFrame, tables: Tables, first: int, last: int
) -> pd.Series[float]:
    """Mean accuracy of each run on these tasks, each right after it was learned."""
    rows = tables.accuracy
    rows = rows[rows["after_task"].eq(rows["task"]) & rows["task"].between(first, last)]
    return _by_run(runs, rows.groupby("digest")["accuracy"].mean())


def _used(runs: pd.DataFrame, tables: Tables, task: int, narrow: bool) -> pd.Series[float]:
    """Share of weights in use after a task."""
    rows = tables.capacity
    rows = rows[rows["task"].eq(task) & rows["digest"].isin(runs["digest"])]
    if not narrow:
        sums = rows.groupby("digest")[["free", "size"]].sum()
        return _by_run(runs, 1 - sums["free"] / sums["size"])
    rows = rows[rows["size"] < rows.groupby("digest")["size"].transform("median")]
    return _by_run(runs, (1 - rows["free"] / rows["size"]).groupby(rows["digest"]).mean())
