"""The paper's numbers as data: reference/paper/curves.csv and tables.csv, read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from dstcl.evaluation.paper.catalog import FIGURES, NAMES_OF_GROWTHS, TABLES, Part
from dstcl.evaluation.tables import read_columns

READING_ERROR = 0.02
"""Points within which the numbers are known: drawn or printed to a hundredth."""
CONFIGURATION = ("init", "density", "growth")
SETTING = ("dataset", "tasks", *CONFIGURATION)
CURVE = ("figure", "dataset", "tasks", "network", *CONFIGURATION, "update_every")
BAND = ("band_low", "band_high")
METRICS = ("acc", "bwt", "fwt")


class PaperError(ValueError):
    """A file of the paper's numbers that cannot be used; the message names file and place."""


def read_curves(path: Path) -> pd.DataFrame:
    """The paper's curves: mean accuracy over the tasks seen so far, in per cent, a row a point.

    Columns are those of the file. ``update_every`` is NaN where a curve is a mean over update
    intervals; ``band_low`` and ``band_high`` are NaN where a curve has no band.

    Raises:
        PaperError: naming the file and what is wrong with it.
    """
    optional = ("update_every", *BAND)
    numbers = ("tasks", "density", "task", "accuracy_percent", *optional)
    columns = (*CURVE, "task", "accuracy_percent", *BAND)
    table = _read(path, columns, numbers, optional, "figure", FIGURES)
    _refuse_repeated(path, table, [*CURVE, "task"])
    for line, (number, every) in enumerate(zip(table["figure"], table["update_every"]), start=2):
        single = FIGURES[number].single
        if single == pd.isna(every):
            wanted = "has one interval a curve" if single else "has means over intervals"
            raise PaperError(f"{path}: line {line}: update_every: figure {number} {wanted}")
    return table


def read_tables(path: Path) -> pd.DataFrame:
    """The paper's tables: ACC, BWT and FWT in per cent with their printed ±, a row a cell.

    Raises:
        PaperError: naming the file and what is wrong with it.
    """
    measures = [name for metric in METRICS for name in (metric, f"{metric}_pm")]
    columns, numbers = ("table", *SETTING, *measures), ("tasks", "density", *measures)
    table = _read(path, columns, numbers, (), "table", TABLES)
    _refuse_repeated(path, table, ["table", *SETTING])
    return table


def _read(
    path: Path,
    columns: Sequence[str],
    numbers: Sequence[str],
    blank: Sequence[str],
    kind: str,
    known: Mapping[str, Part],
) -> pd.DataFrame:
    try:
        table = read_columns(path, columns, numbers, blank)
    except FileNotFoundError:
        raise PaperError(f"{path}: no such file; `dstcl reference read PDF` writes it") from None
    except ValueError as error:
        raise PaperError(str(error)) from None
    for line, number in enumerate(table[kind], start=2):
        if number not in known:
            names = ", ".join(known)
            raise PaperError(f"{path}: line {line}: {kind} {number!r} is none of {names}")
    return table.assign(growth=table["growth"].replace(NAMES_OF_GROWTHS))


def _refuse_repeated(path: Path, table: pd.DataFrame, names: list[str]) -> None:
    if (repeated := table.duplicated(names)).any():
        row = table[repeated].iloc[0]
        words = " ".join(str(row[name]) for name in names if pd.notna(row[name]))
        raise PaperError(f"{path}: {words} twice")
