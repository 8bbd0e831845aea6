"""CSV files that must have certain columns: read whole, or refused in one line."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

TEXT = ("digest", "layer", "dataset", "protocol", "network", "method", "init", "growth")
"""Columns that stay text even where they look like numbers."""


def read_columns(
    path: Path, columns: Sequence[str], numbers: Collection[str] = (), blank: Collection[str] = ()
) -> pd.DataFrame:
    """A table with at least these columns; others are read as they are.

    Args:
        path: a CSV file with a header.
        columns: that must be there.
        numbers: those of them that hold finite numbers.
        blank: those of them in which a value may be missing.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: in one line, naming the file and, where it is known, line and column.
    """
    try:
        table = pd.read_csv(
            path,
            dtype=dict.fromkeys(TEXT, str),
            keep_default_na=False,
            na_values=[""],
            low_memory=False,
        )
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise ValueError(" ".join(f"{path}: not a table ({error})".split())) from None
    if missing := [name for name in columns if name not in table]:
        raise ValueError(f"{path}: no column {missing[0]}")
    for name in columns:
        empty = table[name].isna()
        if name in numbers:
            table[name] = pd.to_numeric(_without_truths(table[name]), errors="coerce")
            if (wrong := ~empty & ~np.isfinite(table[name].astype(float))).any():
                raise ValueError(f"{_place(path, wrong, name)} is not a number")
        if name not in blank and empty.any():
            raise ValueError(f"{_place(path, empty, name)} is missing")
    return table


def _without_truths(values: pd.Series) -> pd.Series:
    """True and False, which count as 1 and 0 elsewhere, as text."""
    return values.astype(str) if pd.api.types.is_bool_dtype(values) else values


def _place(path: Path, wrong: pd.Series, column: str) -> str:
    """Line, column and text of the first wrong value, as an editor shows them."""
    row = int(np.argmax(wrong.to_numpy()))
    text = pd.read_csv(path, dtype=str, keep_default_na=False, usecols=[column])[column].iloc[row]
    return f"{path}: line {row + 2}: {column}" + (f" {text!r}" if text else "")
