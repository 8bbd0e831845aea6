"""The paper's tables and curves, read back from reference/paper."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dstcl.evaluation.tables import read_columns
from dstcl.reference.curves import CURVE_COLUMNS
from dstcl.reference.tables import TABLE_COLUMNS

BANDS = ("band_low", "band_high")
CURVE_NUMBERS = ("tasks", "density", "update_every", "task", "accuracy_percent", *BANDS)
TABLE_NUMBERS = ("tasks", "density", *TABLE_COLUMNS[-6:])


def read_paper_tables(folder: Path) -> pd.DataFrame:
    """Tables 1 to 4, a row a cell: `TABLE_COLUMNS`, measures and their +- in per cent.

    Raises:
        ValueError: naming the file and what is wrong with it.
    """
    table = _read(folder / "tables.csv", TABLE_COLUMNS, TABLE_NUMBERS)
    return table.astype({"table": str})


def read_paper_curves(folder: Path) -> pd.DataFrame:
    """Figures 2 to 6 and A to D, a row a point: `CURVE_COLUMNS`, accuracies in per cent.

    ``update_every`` is missing where a curve is a mean over runs, the band where it is one run.

    Raises:
        ValueError: naming the file and what is wrong with it.
    """
    blank = ("update_every", *BANDS)
    table = _read(folder / "curves.csv", CURVE_COLUMNS, CURVE_NUMBERS, blank)
    return table.astype({"figure": str})


def _read(
    path: Path, columns: tuple[str, ...], numbers: tuple[str, ...], blank: tuple[str, ...] = ()
) -> pd.DataFrame:
    try:
        return read_columns(path, columns, numbers, blank)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; `dstcl reference read PDF` writes it") from None
