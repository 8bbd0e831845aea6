"""Claims against one block of a study: the effect and the evidence for each, by its kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from math import nan
from typing import Any

import numpy as np
import pandas as pd

from dstcl.evaluation.claim_grid import Cell, Grid, NotTested, restricted
from dstcl.evaluation.claims import (
    AnyClaim,
    Claim,
    Contrast,
    Difference,
    Interaction,
    Spread,
    Unchanged,
)
from dstcl.evaluation.statistics import Evidence, above, every, interaction

Sets = dict[str, list[list[Cell]]]
"""Cells by the key of the claim that names them, a list for each selection."""


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
class Finding:
    """What a test found, before it is judged among the others of its block."""

    evidence: Evidence
    detail: str = ""


def find(claim: AnyClaim, block: dict[str, Any], runs: pd.DataFrame, tables: Tables) -> Finding:
    """Test one claim in one block.

    Raises:
        NotTested: the claim says nothing of the block, or the study lacks cells it names.
    """
    if reason := claim.only.lacks(block):
        raise NotTested(reason)
    for axis, values in claim.only.settings().items():
        runs = restricted(runs, axis, values)
    if isinstance(claim, Unchanged):
        return _unchanged(claim, runs, tables)
    grid = Grid(runs)
    selections = claim.selections()
    sets = {key: [grid.cells(axes) for axes in found] for key, found in selections.items()}
    _check_compared(claim, sets, grid)
    wide = _values(claim, runs, tables).pivot_table("value", "seed", grid.axes, aggfunc="mean")
    named = list(
        dict.fromkeys(cell for found in sets.values() for cells in found for cell in cells)
    )
    grid.check(named, wide)
    complete = wide[named].dropna()
    left_out = sorted(set(runs["seed"]) - set(complete.index))
    details = [grid.averaged(selections)]
    if isinstance(claim, Interaction):
        evidence, best = _interaction(claim, complete, grid)
        details.append(best)
    else:
        evidence = _PER_SEED[type(claim)](claim, complete, sets, grid)
    if left_out:
        details.append(f"seeds without all cells left out: {', '.join(map(str, left_out))}")
    return Finding(evidence, "; ".join(filter(None, details)))


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


def _values(claim: Claim, runs: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """The runs with the claim's measure as column ``value``."""
    measure = getattr(claim, "measure", "acc")
    if measure in runs:
        return runs.assign(value=runs[measure].astype(float))
    task = int(getattr(claim, "after_task", 0))
    if measure == "drop":
        rows = tables.accuracy
        rows = rows[rows["after_task"].eq(rows["task"]) & rows["digest"].isin(runs["digest"])]
        late = rows["task"] > task
        before, after = (rows[side].groupby("digest")["accuracy"].mean() for side in (~late, late))
        return runs.assign(value=runs["digest"].map(before - after))
    rows = tables.capacity
    rows = rows[rows["task"].eq(task) & rows["digest"].isin(runs["digest"])]
    sums = rows.groupby("digest")[["free", "size"]].sum()
    return runs.assign(value=runs["digest"].map(1 - sums["free"] / sums["size"]))


def _difference(claim: Difference, wide: pd.DataFrame, sets: Sets, _: Grid) -> Evidence:
    this = wide[sets["this"][0]].mean(axis=1)
    others = [wide[cells].mean(axis=1) for cells in sets.get("that", [])]
    differences = [this - that for that in others] or [this]
    return every([above(values.tolist(), claim.more_than) for values in differences])


def _spread(claim: Spread, wide: pd.DataFrame, sets: Sets, grid: Grid) -> Evidence:
    """Standard deviations over the axis in each seed and combination of the others, averaged."""
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

    less = spread(sets["that"][0]) - spread(sets["this"][0])
    return above(less.tolist(), claim.more_than)


def _contrast(claim: Contrast, wide: pd.DataFrame, sets: Sets, _: Grid) -> Evidence:
    mean = {key: wide[found[0]].mean(axis=1) for key, found in sets.items()}
    here, there = (mean[f"this {place}"] - mean[f"that {place}"] for place in ("here", "there"))
    return above((here - there).tolist(), claim.more_than)


def _interaction(claim: Interaction, wide: pd.DataFrame, grid: Grid) -> tuple[Evidence, str]:
    """The F-test, and the best level under each condition."""
    axes = claim.selections()["where"][0]
    levels = axes[claim.of]
    depends = list(claim.depends_on)
    conditions = list(product(*(axes[axis] for axis in depends)))
    cube = np.full((len(wide), len(conditions), len(levels)), nan)
    for i, condition in enumerate(conditions):
        for j, level in enumerate(levels):
            fixed = dict(zip(depends, condition)) | {claim.of: level}
            cells = grid.cells(axes | {axis: [value] for axis, value in fixed.items()})
            cube[:, i, j] = wide[cells].mean(axis=1)
    if not len(wide):
        return above([]), ""
    best = cube.mean(0).argmax(1)
    words = [
        f"{' '.join(map(str, condition))}: {levels[index]}"
        for condition, index in zip(conditions, best)
    ]
    return interaction(
        cube, claim.more_than
    ), f"best {claim.of} by {' and '.join(depends)}: {', '.join(words)}"


_PER_SEED: dict[type, Any] = {Difference: _difference, Spread: _spread, Contrast: _contrast}


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
    seeds = runs["seed"].nunique()
    evidence = Evidence(0.0 - largest, nan, nan, nan, nan, nan, seeds, lambda level: None)
    detail = f"minus the largest change of an accuracy; {changed} of {total} runs have any"
    return Finding(evidence, detail)
