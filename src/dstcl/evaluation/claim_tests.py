"""Claims against one block of a study: the effect and the evidence for each, by its kind."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from math import isfinite, nan
from typing import Any

import numpy as np
import pandas as pd

from dstcl.evaluation.axes import values_read
from dstcl.evaluation.claim_common import Cell
from dstcl.evaluation.claim_grid import Grid, NotTested, Sets, restricted
from dstcl.evaluation.claim_kinds import (
    Alike,
    AnyClaim,
    Claim,
    Contrast,
    Difference,
    Interaction,
    Saturation,
    Spread,
    Unchanged,
    Untestable,
)
from dstcl.evaluation.claim_measures import Phases, Tables, learned_tasks, measured
from dstcl.evaluation.replication import INTERVAL, SEEDS, Unit, unit_of
from dstcl.evaluation.statistics import Evidence, above, every, interaction, mean_interval


@dataclass(frozen=True)
class Part:
    """One comparison of a claim, of which all must hold: a number a unit, and its boundary."""

    values: pd.Series[float]
    boundary: float

    def evidence(self) -> Evidence:
        """Is the mean above the boundary?"""
        return above(self.values.tolist(), self.boundary)


@dataclass(frozen=True)
class Finding:
    """What a test found, before it is judged among the others of its block.

    Attributes:
        evidence: for the claim, of so many units.
        agrees: whether the numbers as they are say what is claimed, sure or not.
        unit: what was repeated.
        detail: what a reader should know of the test.
        parts: what was compared, one effect a unit; none for an interaction or "unchanged".
    """

    evidence: Evidence
    agrees: bool
    unit: Unit = SEEDS
    detail: str = ""
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Measured:
    """What a test is given: cells by the keys of the claim, and their values.

    Attributes:
        values: a row a unit, a column a cell; by the name of the measure if there are several.
        learned: how many tasks were learned.
    """

    grid: Grid
    sets: Sets
    values: dict[str, pd.DataFrame]
    learned: int

    @property
    def first(self) -> pd.DataFrame:
        """The values of the only measure, or the first."""
        return next(iter(self.values.values()))


def find(claim: AnyClaim, block: dict[str, Any], runs: pd.DataFrame, tables: Tables) -> Finding:
    """Test one claim in one block.

    Raises:
        NotTested: the claim says nothing of the block, or the study lacks cells it names.
    """
    if reason := claim.lacks(block):
        raise NotTested(reason)
    if isinstance(claim, Untestable):
        raise NotTested(f"not testable here: {claim.why}")
    for axis, wanted in claim.only.settings().items():
        runs = restricted(runs, axis, wanted)
    runs = _learned_enough(claim, runs)
    if isinstance(claim, Unchanged):
        return _unchanged(claim, runs, tables)
    selections = claim.selections()
    unit = _unit(selections, runs)
    grid = Grid(runs, unit)
    sets, used = grid.sets(selections)
    _check_compared(claim, sets, grid)
    values = {
        name: runs.assign(value=found).pivot_table("value", unit.column, grid.axes, aggfunc="mean")
        for name, found in measured(claim, runs, tables).items()
    }
    named = list(
        dict.fromkeys(cell for found in sets.values() for cells in found for cell in cells)
    )
    grid.check(named, next(iter(values.values())))
    complete = {name: table[named].dropna() for name, table in values.items()}
    given = Measured(grid, sets, complete, int(learned_tasks(runs).min()))
    evidence, agrees, detail, parts = _TESTS[type(claim)](claim, given)
    there = values_read(runs, INTERVAL) if unit is not SEEDS else sorted(set(runs["seed"]))
    left_out = [str(value) for value in there if value not in given.first.index]
    details = [used, detail]
    if left_out:
        details.append(f"{unit.many} without all cells left out: {', '.join(left_out)}")
    return Finding(evidence, agrees, unit, "; ".join(filter(None, details)), parts)


def _learned_enough(claim: Claim, runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that learned the tasks that the claim is about."""
    tasks = int(runs["tasks"].max())
    needed = claim.needs(tasks)
    if needed > tasks:
        raise NotTested(f"the claim needs {needed} tasks, here are {tasks}")
    learned = learned_tasks(runs)
    if (learned < needed).all():
        raise NotTested(f"only the first {learned.max()} of {tasks} tasks were learned")
    return runs[learned >= needed]


def _unit(selections: dict[str, list[dict[str, list[Any]]]], runs: pd.DataFrame) -> Unit:
    """What is repeated in the runs of a claim.

    A claim that compares or names intervals does not repeat them, nor does a method without any:
    its one run is no observation at each of several intervals.
    """
    axes = [found for several in selections.values() for found in several]
    if INTERVAL not in runs or any(INTERVAL in found for found in axes):
        return SEEDS
    methods = {method for found in axes for method in found["method"]}
    by_method = {method: runs[runs["method"] == method] for method in methods}
    if not all(values_read(own, INTERVAL) for own in by_method.values()):
        return SEEDS
    return unit_of(pd.concat(by_method.values()))


def _check_compared(claim: Claim, sets: Sets, grid: Grid) -> None:
    """Refuse to compare values of a setting that the methods of the claim do not read."""
    methods = dict.fromkeys(
        str(cell[0]) for found in sets.values() for cells in found for cell in cells
    )
    axes = [getattr(claim, "over", ""), getattr(claim, "of", ""), *getattr(claim, "depends_on", ())]
    for axis, method in product((axis for axis in axes if axis in grid.varied), methods):
        if not grid.reads(method, axis):
            raise NotTested(f"method {method} does not read {axis}")
    if grid.varied and _same_on_both_sides(sets):
        if all(grid.reads(method, axis) for method, axis in product(methods, grid.varied)):
            raise NotTested("both sides are the same cells")
        raise NotTested(f"method {', '.join(methods)} does not read the setting that is compared")


def _same_on_both_sides(sets: Sets) -> bool:
    if "this" in sets:
        return sets["this"][0] in sets.get("that", [])
    if "this here" not in sets:
        return False
    here, there = (
        [sets[f"{side} {place}"] for side in ("this", "that")] for place in ("here", "there")
    )
    return here == there or here[0] == here[1]


Tested = tuple[Evidence, bool, str, tuple[Part, ...]]
"""Evidence, whether the numbers agree with the claim, what to say of the test, and its parts."""


def _judged(values: pd.Series[float], boundary: float) -> Tested:
    """Of a claim with one number a unit."""
    part = Part(values, boundary)
    evidence = part.evidence()
    return evidence, evidence.effect > boundary, "", (part,)


def _mean(given: Measured, key: str, number: int = 0) -> pd.Series[float]:
    """Mean over the cells of a selection, in each unit."""
    return given.first[given.sets[key][number]].mean(axis=1)


def _difference(claim: Difference, given: Measured) -> Tested:
    this = _mean(given, "this")
    others = [_mean(given, "that", number) for number in range(len(given.sets.get("that", [])))]
    differences = [this - that for that in others] or [this]
    parts = tuple(Part(values, claim.more_than) for values in differences)
    evidence = every([part.evidence() for part in parts])
    return evidence, evidence.effect > claim.more_than, "", parts


def _alike(claim: Alike, given: Measured) -> Tested:
    """Two one-sided tests: neither side is ahead by as much as the margin."""
    ahead = _mean(given, "this") - _mean(given, "that")
    parts = tuple(Part(values, -claim.within) for values in (ahead, -ahead))
    evidence = every([part.evidence() for part in parts])
    leader = "this" if ahead.mean() > 0 else "that"
    return evidence, evidence.effect > -claim.within, f"`{leader}` is ahead", parts


def _spread(claim: Spread, given: Measured) -> Tested:
    """Standard deviations over the axis in each unit and combination of the others, averaged."""
    grid, wide = given.grid, given.first
    unnamed = grid.unnamed(claim.selections())

    def spread(cells: list[Cell]) -> pd.Series[float]:
        groups: dict[Cell, dict[Any, list[Cell]]] = {}
        for cell in cells:
            named = {axis: v for axis, v in zip(grid.axes, cell) if axis not in unnamed}
            level = named.pop(claim.over)
            groups.setdefault(tuple(named.values()), {}).setdefault(level, []).append(cell)
        deviations = [
            pd.concat([wide[level].mean(axis=1) for level in levels.values()], axis=1).std(axis=1)
            for levels in groups.values()
        ]
        return pd.concat(deviations, axis=1).mean(axis=1)

    that = spread(given.sets["that"][0])
    less = that - spread(given.sets["this"][0]) if "this" in given.sets else that
    return _judged(less, claim.more_than)


def _contrast(claim: Contrast, given: Measured) -> Tested:
    here, there = (
        _mean(given, f"this {place}") - _mean(given, f"that {place}") for place in ("here", "there")
    )
    return _judged(here - there, claim.more_than)


def _interaction(claim: Interaction, given: Measured) -> Tested:
    """The F-test, and the best level under each condition."""
    axes = claim.selections()["where"][0]
    meant = set(given.sets["where"][0])
    levels = axes[claim.of]
    depends = list(claim.depends_on)
    conditions = list(product(*(axes[axis] for axis in depends)))
    cube = np.full((len(given.first), len(conditions), len(levels)), nan)
    for i, condition in enumerate(conditions):
        for j, level in enumerate(levels):
            fixed = dict(zip(depends, condition)) | {claim.of: level}
            cells = given.grid.cells(axes | {axis: [value] for axis, value in fixed.items()})
            cube[:, i, j] = given.first[[cell for cell in cells if cell in meant]].mean(axis=1)
    if not len(cube):
        return above([]), False, "", ()
    best = cube.mean(0).argmax(1)
    words = [
        f"{' '.join(map(str, condition))}: {levels[index]}"
        for condition, index in zip(conditions, best)
    ]
    evidence = interaction(cube, claim.more_than)
    detail = f"best {claim.of} by {' and '.join(depends)}: {', '.join(words)}"
    return evidence, evidence.effect > claim.more_than, detail, ()


def _saturation(claim: Saturation, given: Measured) -> Tested:
    """Two one-sided tests: later tasks lost more than the boundary, and those before them less.

    Effect and interval are those of what the later tasks lost.
    """

    def lost(name: str) -> pd.Series[float]:
        wide = given.values[name]
        values = wide[given.sets["this"][0]].mean(axis=1)
        if "that" in given.sets:
            values = values - wide[given.sets["that"][0]].mean(axis=1)
        return values

    phases = Phases.around(claim.after_task, given.learned)
    beyond = Part(lost("beyond"), claim.more_than)
    evidence = beyond.evidence()
    agrees = evidence.effect > claim.more_than
    detail = f"{_tasks(phases.beyond)} against {_tasks(phases.first)}"
    if "until" not in given.values:
        return evidence, agrees, detail, (beyond,)
    before = lost("until")
    kept = Part(-before, -claim.more_than)
    together = every([evidence, kept.evidence()])
    found = mean_interval(before.tolist())
    interval = f" ({100 * found.low:.1f} to {100 * found.high:.1f})" if isfinite(found.low) else ""
    detail += f"; {_tasks(phases.until)} lost {100 * found.mean:.1f} points{interval}"
    both = replace(
        evidence, support=together.support, against=together.against, needed=together.needed
    )
    return both, agrees and found.mean < claim.more_than, detail, (beyond, kept)


def _tasks(ends: tuple[int, int]) -> str:
    first, last = ends
    return f"task {first}" if first == last else f"tasks {first} to {last}"


_TESTS: dict[type, Any] = {
    Difference: _difference,
    Alike: _alike,
    Spread: _spread,
    Contrast: _contrast,
    Interaction: _interaction,
    Saturation: _saturation,
}


def _unchanged(claim: Unchanged, runs: pd.DataFrame, tables: Tables) -> Finding:
    """Compare every accuracy with that on the same task right after it was learned.

    Equality says something of the network only where a test draws no random numbers. The effect is
    the largest change, negative since it counts against the claim.
    """
    for axis, values in claim.where.axes().items():
        runs = restricted(runs, axis, values)
    if random := dict.fromkeys(filter(None, (tables.randomness.get(d) for d in runs["digest"]))):
        reasons = "; ".join(random)
        raise NotTested(f"accuracy is measured with chance under this protocol ({reasons})")
    rows = tables.accuracy
    rows = rows[rows["digest"].isin(runs["digest"]) & (rows["after_task"] >= rows["task"])]
    learned = rows[rows["after_task"] == rows["task"]].set_index(["digest", "task"])["accuracy"]
    later = rows[rows["after_task"] > rows["task"]].set_index(["digest", "task"])["accuracy"]
    if later.empty:
        raise NotTested("no task was measured after another had been learned")
    changes = (later - learned.reindex(later.index)).abs()
    if changes.isna().any():
        raise NotTested("tasks were not measured right after they were learned")
    changed = changes[changes > 0].index.get_level_values("digest").nunique()
    largest, total = float(changes.max()), changes.index.get_level_values("digest").nunique()
    unit = unit_of(runs)
    units = runs["seed"].nunique() if unit is SEEDS else len(values_read(runs, INTERVAL))
    evidence = Evidence(0.0 - largest, nan, nan, nan, nan, nan, units, lambda *_: None)
    detail = f"minus the largest change of an accuracy; {changed} of {total} runs have any"
    return Finding(evidence, largest == 0, unit, detail)
