"""The paper tested by its own data: the claims on its tables and curves, as if they were a study.

A table has one number a configuration, so its effects come without an interval. Figure A has a
curve for each of four update intervals: where a claim can be tested on these alone, an interval is
one observation. docs/claims.md says what that means.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dstcl.evaluation.axes import BLOCK, SETTING
from dstcl.evaluation.claim_grid import NotTested
from dstcl.evaluation.claim_kinds import AnyClaim, Unchanged
from dstcl.evaluation.claim_measures import Tables
from dstcl.evaluation.claim_tests import find
from dstcl.evaluation.paper.reference import read_curves, read_tables
from dstcl.evaluation.replication import INTERVAL, SEEDS, Unit
from dstcl.study.growths import is_plan
from dstcl.study.run import value_text

COLUMNS = (
    *("claim", "group", "statement", *SETTING),
    *("effect", "low", "high", "units", "unit", "more_than", "agrees", "detail"),
)
PRINTED = "printed numbers"
"""What an effect without repetitions is made of."""
CURVES = ("figure", "dataset", "tasks", "network", "init", "density", "growth")
CELLS = ("dataset", "tasks", "init", "density", "growth")
TABLES_NETWORK = "resnet18"
INTERVAL_COLUMN = INTERVAL.rpartition(".")[2]
OVER_INTERVALS, OVER_GROWTH_PLANS = "A", "6"
"""Figures apart: the first has a curve for each interval, the second the plan over tasks."""


def read_paper_study(folder: Path) -> list[Tables]:
    """The paper's numbers as two studies: its update intervals, and its means over them.

    Its measure is the mean accuracy over the tasks seen so far. Nothing is forgotten in it (BWT is
    within half a point in nearly all cells), so that k times the mean after k tasks, less k - 1
    times the mean before, is the accuracy on task k. ACC is that of Tables 1 to 4 where they have
    it.

    Args:
        folder: with ``tables.csv`` and ``curves.csv``.

    Raises:
        ValueError: a file is missing or damaged; one line that names it.
    """
    curves, cells = read_curves(folder / "curves.csv"), read_tables(folder / "tables.csv")
    try:
        runs, accuracy = _runs(curves)
    except ValueError as error:
        raise ValueError(f"{folder / 'curves.csv'}: {error}") from None
    by_interval = runs["figure"] == OVER_INTERVALS
    means = runs[~by_interval].drop(columns=INTERVAL)
    final = cells.assign(network=TABLES_NETWORK).set_index([*CELLS, "network"])["acc"].to_dict()
    key = means[[*CELLS, "network"]].itertuples(index=False, name=None)
    means["acc"] = [final.get(c, 100 * acc) / 100 for c, acc in zip(key, means["acc"])]
    return [_study(runs[by_interval], accuracy), _study(means, accuracy)]


def _study(runs: pd.DataFrame, accuracy: pd.DataFrame) -> Tables:
    """No table of weights: the paper has none."""
    capacity = pd.DataFrame(columns=["digest", "task", "layer", "size", "free"])
    return Tables(runs.drop(columns="figure"), accuracy, capacity)


def _runs(curves: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A run for each curve that no other figure repeats, and accuracies by task, as fractions."""
    runs, accuracy = [], []
    key = [*CURVES, INTERVAL_COLUMN]
    for number, (values, points) in enumerate(curves.groupby(key, sort=False, dropna=False)):
        run: dict[str, Any] = dict(zip(key, values))
        interval = run.pop(INTERVAL_COLUMN)
        name = " ".join(str(value) for value in run.values())
        if run["figure"] == OVER_GROWTH_PLANS and not is_plan(run["growth"]):
            continue
        seen = points.sort_values("task")["accuracy_percent"].to_numpy() / 100
        tasks = np.arange(1, int(run["tasks"]) + 1)
        if sorted(points["task"]) != tasks.tolist():
            raise ValueError(f"figure {name}: tasks 1 to {len(tasks)} are needed, each once")
        learned = np.diff(tasks * seen, prepend=0.0)
        digest = str(number)
        run |= {"protocol": "published", "method": "dst", "seed": 0, "digest": digest}
        run |= {"acc": seen[-1], "learning_accuracy": learned.mean()}
        run[INTERVAL] = value_text(interval) if interval == interval else ""
        runs.append(run)
        after, task = np.tril_indices(len(tasks))
        rows = {"digest": digest, "after_task": after + 1, "task": task + 1}
        accuracy.append(pd.DataFrame(rows | {"accuracy": learned[task]}))
    return pd.DataFrame(runs), pd.concat(accuracy, ignore_index=True)


def judge_paper(
    claims: Sequence[AnyClaim], paper: Sequence[Tables], beside: pd.DataFrame | None = None
) -> pd.DataFrame:
    """A row for each claim and block that the paper has numbers for: `COLUMNS`, as fractions.

    ``agrees`` says whether the paper's numbers, as they are, are on the claim's side of its
    boundary. Nothing is corrected and there is no verdict: most effects are single numbers.

    Args:
        claims: to be tested.
        paper: as `read_paper_study` gives it; the first study that has a claim's cells is used.
        beside: a table with the data sets, numbers of tasks and networks that are wanted; else all.
    """
    rows = []
    blocks = pd.concat([study.summary[list(BLOCK)] for study in paper]).drop_duplicates()
    if beside is not None:
        blocks = blocks.merge(beside[list(SETTING)].drop_duplicates())
    for block in blocks.to_dict("records"):
        for claim in claims:
            if not isinstance(claim, Unchanged) and (found := _found(claim, block, paper)):
                rows.append(found)
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"units": "Int64", "group": "Int64"})


def _found(
    claim: AnyClaim, block: dict[Any, Any], paper: Sequence[Tables]
) -> dict[str, Any] | None:
    for study in paper:
        here = study.summary[list(BLOCK)].eq(pd.Series(block)).all(axis=1)
        if not here.any():
            continue
        try:
            found = find(claim, block, study.summary[here], study)
        except NotTested:
            continue
        evidence = found.evidence
        row: dict[str, Any] = {
            "claim": claim.id,
            "group": claim.group,
            "statement": claim.statement,
        }
        row |= {axis: block[axis] for axis in SETTING}
        row |= {"effect": evidence.effect, "low": evidence.low, "high": evidence.high}
        row |= {"units": evidence.units, "unit": _repeated(found.unit), "detail": found.detail}
        row |= {"more_than": getattr(claim, "more_than", 0.0)}
        return row | {"agrees": "yes" if found.agrees else "no"}
    return None


def _repeated(unit: Unit) -> str:
    """The paper repeats nothing over seeds."""
    return PRINTED if unit is SEEDS else unit.many


def paper_lines(claims: Sequence[AnyClaim], judged: pd.DataFrame) -> list[str]:
    """Every claim in words, with what the paper's own numbers say, in points.

    Args:
        claims: all that are known.
        judged: what `judge_paper` made of them.
    """
    lines = []
    for claim in claims:
        group = f"group {claim.group}" if claim.group else "no claim of the paper"
        lines.append(f"{claim.id} ({group}; {claim.source}): {claim.statement}")
        if claim.paper_says_otherwise:
            lines.append(
                f"  The paper's own data or text contradict this. {claim.paper_says_otherwise}"
            )
        rows = judged[judged["claim"] == claim.id].to_dict("records")
        for row in rows:
            place = f"{row['dataset']}, {row['tasks']} tasks, {row['network']}"
            side = "as claimed" if row["agrees"] == "yes" else "not as claimed"
            beyond = f"boundary {100 * row['more_than']:+.2f}" if row["more_than"] else ""
            parts = [f"{100 * row['effect']:+.2f} points, {side}", beyond, row["detail"]]
            lines.append(f"  {place}: {'; '.join(filter(None, parts))}")
        if not rows:
            lines.append("  the paper has no numbers for this")
    return lines
