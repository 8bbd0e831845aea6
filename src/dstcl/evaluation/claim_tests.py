"""Claims against a study: effect, interval, p-value and verdict of each, block by block.

A block is one protocol on one data set, cut into so many tasks, with one network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import isnan, nan
from typing import Any

import numpy as np
import pandas as pd

from dstcl.evaluation.claims import (
    BLOCK_AXES,
    CELL_AXES,
    AnyClaim,
    Claim,
    Contrast,
    Difference,
    Interaction,
    Spread,
    Unchanged,
)
from dstcl.evaluation.statistics import MOST_SEEDS, Evidence, above, every, holm, interaction

LEVEL = 0.05
FEWEST_SEEDS = 3
VERDICTS = ("supported", "contradicted", "inconclusive", "not tested")
COLUMNS = (
    "claim",
    "statement",
    "effect",
    "low",
    "high",
    "p",
    "seeds",
    "verdict",
    *("protocol", "dataset", "tasks", "network"),
    *("p_holm", "seeds_needed", "sd", "more_than", "kind", "measure", "source", "detail", "note"),
)

Cell = tuple[Any, ...]


class NotTested(Exception):
    """Why a claim cannot be tested in a block."""


@dataclass(frozen=True)
class Tables:
    """What a study measured: a row a run, and long tables by the run's digest."""

    summary: pd.DataFrame
    accuracy: pd.DataFrame
    capacity: pd.DataFrame
    chance: Mapping[str, str] = field(default_factory=dict)
    """By digest: settings under which tests draw random numbers; runs without any may be left out
    (`dstcl.evaluation.chance`)."""


@dataclass(frozen=True)
class Finding:
    """What a test found, before it is judged among the others of its block."""

    evidence: Evidence
    detail: str = ""


def judge_claims(claims: Sequence[AnyClaim], tables: Tables) -> pd.DataFrame:
    """A row for each claim and block: `COLUMNS`, effects as fractions, positive as claimed.

    p is two-sided and uncorrected, low and high are the 95 % interval that belongs to it;
    ``p_holm`` is corrected over the claims tested in the block, and the verdict follows it.
    """
    rows: list[dict[str, Any]] = []
    for values, runs in tables.summary.groupby(list(BLOCK_AXES), sort=False):
        rows += _block(claims, dict(zip(BLOCK_AXES, values)), runs, tables)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({"seeds": "Int64", "seeds_needed": "Int64"})


def _block(
    claims: Sequence[AnyClaim], block: dict[str, Any], runs: pd.DataFrame, tables: Tables
) -> list[dict[str, Any]]:
    """The rows of one block, in the order of the claims."""
    rows = []
    for claim in claims:
        row: dict[str, Any] = dict.fromkeys(COLUMNS)
        row |= block | {"claim": claim.id, "kind": claim.kind, "source": claim.source}
        row |= {"statement": claim.statement, "note": claim.note}
        row |= {"more_than": getattr(claim, "more_than", nan), "seeds": 0}
        row["measure"] = getattr(claim, "measure", "accuracy" if _exact(claim) else "acc")
        try:
            finding = _find(claim, block, runs, tables)
        except NotTested as reason:
            rows.append(row | {"verdict": "not tested", "detail": str(reason)})
            continue
        found = finding.evidence
        row |= {"effect": found.effect, "sd": found.sd, "low": found.low, "high": found.high}
        row |= {"seeds": found.seeds, "p": found.p, "detail": finding.detail, "evidence": found}
        rows.append(row)
    _judge(rows)
    return [{name: row.get(name) for name in COLUMNS} for row in rows]


def _exact(claim: Claim) -> bool:
    return isinstance(claim, Unchanged)


def _judge(rows: Sequence[dict[str, Any]]) -> None:
    """Correct p-values over the block's tests and write verdicts with their reasons."""
    found = [row for row in rows if "evidence" in row]
    tested = [row for row in found if row["seeds"] >= FEWEST_SEEDS and not isnan(row["p"])]
    for row, p_holm in zip(tested, holm([row["p"] for row in tested])):
        row["p_holm"] = p_holm
    for row in found:
        evidence, reasons = row["evidence"], [row["detail"]] * bool(row["detail"])
        if row["seeds"] < FEWEST_SEEDS:
            row["verdict"], row["seeds_needed"] = "inconclusive", FEWEST_SEEDS
            reasons.append(f"{_seeds(row['seeds'])}; a verdict needs at least {FEWEST_SEEDS}")
        elif row["kind"] == "unchanged":
            row["verdict"] = "supported" if row["effect"] == 0 else "contradicted"
        elif row["p_holm"] < LEVEL:
            supported = evidence.support < evidence.against
            row["verdict"] = "supported" if supported else "contradicted"
        else:
            row["verdict"] = "inconclusive"
            row["seeds_needed"] = evidence.needed(LEVEL / len(tested))
            reasons.append(_why_inconclusive(row, len(tested)))
        row["detail"] = "; ".join(reasons)


def _why_inconclusive(row: dict[str, Any], tests: int) -> str:
    if row["p"] < LEVEL:
        reason = f"clear alone, but not as one of {tests} tests (Holm)"
    else:
        reason = "the interval holds both answers"
    needed = row["seeds_needed"]
    if needed is None:
        return f"{reason}; the effect is so close to the boundary that {MOST_SEEDS} seeds are few"
    if needed <= row["seeds"]:
        return f"{reason}; with as many new seeds it would come out 4 times in 5"
    return f"{reason}; if effect and spread are as seen, {needed} seeds settle it 4 times in 5"


def _seeds(number: int) -> str:
    return "1 seed" if number == 1 else f"{number} seeds"


def _find(claim: AnyClaim, block: dict[str, Any], runs: pd.DataFrame, tables: Tables) -> Finding:
    """Test one claim in one block.

    Raises:
        NotTested: the claim says nothing of the block, or the study lacks cells it names.
    """
    if reason := claim.only.lacks(block):
        raise NotTested(reason)
    if isinstance(claim, Unchanged):
        return _unchanged(claim, runs, tables)
    values = _values(claim, runs, tables)
    wide = values.pivot_table("value", "seed", list(CELL_AXES), aggfunc="mean")
    sets = {
        key: [_named_cells(axes) for axes in found] for key, found in claim.selections().items()
    }
    named = list(
        dict.fromkeys(cell for found in sets.values() for cells in found for cell in cells)
    )
    _check_cells(named, runs, wide)
    complete = wide[named].dropna()
    left_out = sorted(set(runs["seed"]) - set(complete.index))
    detail = (
        f"seeds without all cells left out: {', '.join(map(str, left_out))}" if left_out else ""
    )
    if isinstance(claim, Interaction):
        evidence, extra = _interaction(claim, complete)
        return Finding(evidence, "; ".join(filter(None, (extra, detail))))
    return Finding(_PER_SEED[type(claim)](claim, complete, sets), detail)


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


def _named_cells(axes: dict[str, list[Any]]) -> list[Cell]:
    return list(product(*(axes[axis] for axis in CELL_AXES)))


def _check_cells(named: Sequence[Cell], runs: pd.DataFrame, wide: pd.DataFrame) -> None:
    """Refuse to test a claim about cells that the study lacks, and say which."""
    there = set(runs[list(CELL_AXES)].itertuples(index=False, name=None))
    if missing := [cell for cell in named if cell not in there]:
        absent = _absent(named, runs)
        raise NotTested(f"not in the study: {absent or _listed(missing)}")
    if missing := [cell for cell in named if cell not in wide]:
        raise NotTested(f"not measured: {_listed(missing)}")


def _absent(named: Sequence[Cell], runs: pd.DataFrame) -> str:
    """Values of an axis that no run of the block has, in words; empty if there are none."""
    words = []
    for index, axis in enumerate(CELL_AXES):
        wanted = dict.fromkeys(cell[index] for cell in named)
        if values := [str(value) for value in wanted if value not in set(runs[axis])]:
            words.append(f"{axis} {', '.join(values)}")
    return "; ".join(words)


def _listed(cells: Sequence[Cell], most: int = 4) -> str:
    """Cells in words, the first few of many."""
    shown = [
        " ".join(f"density {value:g}" if axis == "density" else str(value) for axis, value in named)
        for named in (zip(CELL_AXES, cell) for cell in cells[:most])
    ]
    more = f" and {len(cells) - most} more" if len(cells) > most else ""
    return ", ".join(shown) + more


Sets = dict[str, list[list[Cell]]]


def _difference(claim: Difference, wide: pd.DataFrame, sets: Sets) -> Evidence:
    this = wide[sets["this"][0]].mean(axis=1)
    others = [wide[cells].mean(axis=1) for cells in sets.get("that", [])]
    differences = [this - that for that in others] or [this]
    return every([above(values.tolist(), claim.more_than) for values in differences])


def _spread(claim: Spread, wide: pd.DataFrame, sets: Sets) -> Evidence:
    """Standard deviations over the axis in each seed and combination of the others, averaged."""
    axis = CELL_AXES.index(claim.over)

    def spread(cells: list[Cell]) -> pd.Series[float]:
        rest = [cell[:axis] + cell[axis + 1 :] for cell in cells]
        groups = [[c for c, r in zip(cells, rest) if r == one] for one in dict.fromkeys(rest)]
        return pd.concat([wide[group].std(axis=1, ddof=1) for group in groups], axis=1).mean(axis=1)

    less = spread(sets["that"][0]) - spread(sets["this"][0])
    return above(less.tolist(), claim.more_than)


def _contrast(claim: Contrast, wide: pd.DataFrame, sets: Sets) -> Evidence:
    mean = {key: wide[found[0]].mean(axis=1) for key, found in sets.items()}
    here, there = (mean[f"this {place}"] - mean[f"that {place}"] for place in ("here", "there"))
    return above((here - there).tolist(), claim.more_than)


def _interaction(claim: Interaction, wide: pd.DataFrame) -> tuple[Evidence, str]:
    """The F-test, and the best level under each condition."""
    axes = claim.selections()["where"][0]
    levels = axes[claim.of]
    depends = list(claim.depends_on)
    conditions = list(product(*(axes[axis] for axis in depends)))
    cube = np.full((len(wide), len(conditions), len(levels)), nan)
    for i, condition in enumerate(conditions):
        for j, level in enumerate(levels):
            fixed = dict(zip(depends, condition)) | {claim.of: level}
            cells = _named_cells(
                {axis: [fixed[axis]] if axis in fixed else axes[axis] for axis in CELL_AXES}
            )
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
        runs = runs[runs[axis].isin(values)]
    if runs.empty:
        raise NotTested("not in the study: any such run")
    if chance := dict.fromkeys(filter(None, (tables.chance.get(d) for d in runs["digest"]))):
        reasons = "; ".join(chance)
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
