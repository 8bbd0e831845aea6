"""How many seeds claims need, as a table in Markdown."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dstcl.evaluation.judge import LEVEL
from dstcl.evaluation.power import CAUTIOUS, POWER
from dstcl.evaluation.statistics import MOST_UNITS


def power_lines(table: pd.DataFrame, tests: int, seeds: int) -> list[str]:
    """A title for each protocol and a row a claim.

    Args:
        table: of `dstcl.evaluation.power.power_table`.
        tests: over how many Holm's correction is.
        seeds: of the column of powers.
    """
    lines = [
        f"Seeds for a power of {100 * POWER:g}% at level {LEVEL:g} / {tests} (Holm's strictest of "
        f"{tests} tests). Effect, boundary and standard deviation over seeds in points; cautious: "
        f"the upper {100 * CAUTIOUS:g}% bound of the standard deviation.",
        "",
        f"| claim | effect | boundary | sd | power with {seeds} seeds | seeds needed | cautious |",
        "|---|---|---|---|---|---|---|",
    ]
    several = table["protocol"].nunique() > 1
    for row in table.to_dict("records"):
        name = f"{row['claim']} ({row['protocol']})" if several else row["claim"]
        name += ", left out" if row["left_out"] else ""
        lines.append(f"| {name} | {' | '.join(_numbers(row))} |")
    return lines


def _numbers(row: dict[Any, Any]) -> list[str]:
    if pd.isna(row["sd"]):
        return ["not calculated", *["-"] * 5]
    points = [
        f"{100 * row['effect']:+.2f}",
        f"{100 * row['boundary']:g}",
        f"{100 * row['sd']:.2f}",
    ]
    seeds = [_count(row[name]) for name in ("seeds_needed", "seeds_cautious")]
    return [*points, f"{100 * row['power']:.0f}%", *seeds]


def _count(number: float | None) -> str:
    return f"over {MOST_UNITS}" if number is None or pd.isna(number) else f"{number:.0f}"
