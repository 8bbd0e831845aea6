"""What a table repeats: seeds; or, where each configuration has one seed, update intervals.

The paper has one run at each of several update intervals and no repetition over seeds; its ± is the
spread over intervals (docs/paper-forensics.md). A study made in the same way has that unit too. The
two are never called by one name: a spread over intervals says nothing of chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dstcl.evaluation.axes import CELL, values_read, varied_axes

INTERVAL = "topology.update_every"


@dataclass(frozen=True)
class Unit:
    """What counts as one repetition.

    Attributes:
        column: of a summary, that tells repetitions apart.
        one, many: what one and several are called.
    """

    column: str
    one: str
    many: str

    def count(self, number: int) -> str:
        """A number of repetitions in words, as "3 seeds"."""
        return f"{number} {self.one if number == 1 else self.many}"


SEEDS = Unit("seed", "seed", "seeds")
INTERVALS = Unit(INTERVAL, "update interval", "update intervals")
UNITS = {unit.many: unit for unit in (SEEDS, INTERVALS)}


def unit_of(runs: pd.DataFrame) -> Unit:
    """The unit of replication of some runs: of one block, or of one configuration of it.

    Seeds, unless every configuration has a single one and several update intervals are there.

    Args:
        runs: one row per run, with the axes as columns.
    """
    if INTERVAL not in runs or len(values_read(runs, INTERVAL)) < 2:
        return SEEDS
    seeds = runs.groupby(list(CELL), sort=False)["seed"].nunique()
    return SEEDS if seeds.max() > 1 else INTERVALS


def by_unit(runs: pd.DataFrame, columns: Sequence[Any], unit: Unit) -> pd.DataFrame:
    """The values of each repetition of one configuration: one row per seed or interval.

    Over varied settings other than the unit a mean is taken, of repetitions that have all of them.

    Args:
        runs: of one configuration, with the axes as columns.
        columns: whose values are wanted.
    """
    others = [axis for axis in varied_axes(runs) if axis != unit.column]
    groups = runs.groupby(unit.column, sort=False)
    means = groups[list(columns)].mean()
    if not others:
        return means
    return means[groups.size() == len(runs.drop_duplicates(others))]
