"""Rows and values of tables as JSON can hold them."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan
from typing import Any

import pandas as pd


def plain_rows(table: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """Rows as plain tuples; of a table without columns, as many empty ones as it has rows."""
    return (tuple(row) for row in table.astype(object).to_numpy())


def short(value: Any) -> Any:
    """A value as JSON can hold it, numbers with the digits that they deserve."""
    if value is None or (isinstance(value, float) and isnan(value)):
        return None
    if isinstance(value, bool | str | int):
        return value
    number = float(f"{float(value):.5g}")
    return int(number) if number.is_integer() else number
