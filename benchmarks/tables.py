"""What records and tables make of repeated measurements."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence


def middle(values: Sequence[float], digits: int) -> dict[str, object]:
    """Median and quartiles of at least two values."""
    low, median, high = statistics.quantiles(values, n=4)
    return {"median": round(median, digits), "quartiles": [round(low, digits), round(high, digits)]}


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """As Markdown; a list of two numbers is a range."""
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        cells = [f"{c[0]} to {c[1]}" if isinstance(c, list) else str(c) for c in row]
        print(f"| {' | '.join(cells)} |", flush=True)
