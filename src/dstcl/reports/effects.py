"""Differences paired by seed, in words: which the page and the summary show."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from dstcl.evaluation.axes import CELL, EVERY, METHOD_BLOCK, NOT_READ, is_varied
from dstcl.evaluation.spelling import spelled_words

HEADER = ("where", "comparison", "seeds", "difference in points", "95% interval")


@dataclass(frozen=True)
class Effects:
    """What is shown of comparisons.csv.

    Attributes:
        rows: as wide as `HEADER`; averages over all cells first, then single cells whose interval
            excludes zero. Empty if nothing was compared.
        note: how many cells that is, or that there is nothing to compare.
    """

    rows: list[list[str]]
    note: str


def shown_effects(effects: pd.DataFrame, mean: str) -> Effects:
    """Choose and word the rows of a study.

    Args:
        effects: comparisons.csv.
        mean: what a mean over all cells is a mean over beside them.
    """
    if effects.empty:
        return Effects([], "There is nothing to compare: every axis has one value.")
    effects = effects.astype(dict.fromkeys(CELL, str))
    overall = effects["density"] == EVERY
    clear = (effects["low"] > 0) | (effects["high"] < 0)
    shown = [a for a in METHOD_BLOCK if len(set(effects[a]) - {EVERY}) > 1]
    rows = [_row(row, shown) for _, row in effects[overall | clear].iterrows()]
    note = (
        f"{int(clear[~overall].sum())} of {int((~overall).sum())} single cells have an interval "
        "that excludes zero; about 1 in 20 is expected by chance."
    )
    if mean:
        note += f" All cells: also {mean}, if methods read it and it is not compared itself."
    return Effects(rows, note)


def _row(row: pd.Series, shown: list[str]) -> list[str]:
    axes = {"density": "density ", "init": "", "growth": ""}
    parts = [f"{word}{row[a]}" for a, word in axes.items() if row[a] != EVERY]
    varied = [str(axis) for axis in row.index if is_varied(axis)]
    parts += [f"{axis} {row[axis]}" for axis in varied if row[axis] not in (EVERY, NOT_READ)]
    cell = ", ".join(parts)
    block = [row[a] for a in METHOD_BLOCK if row[a] != EVERY and a in shown]
    place = ": ".join([" ".join(block), cell or "all cells"] if block else [cell or "all cells"])
    interval = f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}"
    compared = row["axis"]
    named = f"{compared} " if compared in varied else ""
    return [
        spelled_words(place),
        named + spelled_words(f"{row['value']} - {row['reference']}"),
        str(row["seeds"]),
        f"{100 * row['difference']:+.1f}",
        interval if pd.notna(row["low"]) else "needs 2 seeds",
    ]
