"""The tables of a study: read whole, with the columns they must have, or refused in one line."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dstcl.study.run import AXES

TEXT = ("digest", "layer", "dataset", "protocol", "network", "method", "init", "growth")
"""Columns that stay text even where they look like numbers."""
CELL = tuple(axis for axis in AXES if axis != "seed")
BLOCK = ("dataset", "tasks", "protocol", "network")
MADE = ("digest", "data_digest", "started", "finished")
SPREADS = [
    f"{measure}_{part}"
    for measure in ("acc", "learning_accuracy", "forgetting", "used_fraction", "seconds")
    for part in ("mean", "low", "high")
]
DIFFERENCE = ("difference", "sd", "low", "high")
VERDICT = ("effect", "low", "high", "p_holm", "seeds")
OURS = ("ours_percent", "low_percent", "high_percent")


class Needs(NamedTuple):
    """What a table must have: columns, those that hold numbers, those that may have gaps."""

    columns: tuple[str, ...]
    numbers: tuple[str, ...]
    blank: tuple[str, ...] = ()


AXIS_NUMBERS = ("tasks", "density", "seed")
TABLES = {
    "summary": Needs((*AXES, "acc", "digest"), (*AXIS_NUMBERS, "acc")),
    "accuracy": Needs(
        ("digest", "after_task", "task", "accuracy"), ("after_task", "task", "accuracy")
    ),
    "capacity": Needs(("digest", "task", "size", "free"), ("task", "size", "free")),
    "cells": Needs(
        (*CELL, "seeds", *SPREADS), ("tasks", "density", "seeds", *SPREADS), tuple(SPREADS)
    ),
    "comparisons": Needs(
        (*CELL, "axis", "value", "reference", "seeds", *DIFFERENCE),
        ("seeds", *DIFFERENCE),
        DIFFERENCE,
    ),
    "provenance": Needs(MADE, (), MADE[1:]),
    "claims": Needs(
        (*BLOCK, "claim", "statement", "verdict", "source", "detail", "note", *VERDICT),
        ("tasks", *VERDICT),
        ("detail", "note", *VERDICT[:-1]),
    ),
    "paper": Needs(
        (*CELL, "task", "paper_percent", "reading_error", *OURS, "reproduced"),
        ("tasks", "density", "task", "paper_percent", "reading_error", *OURS),
        OURS[1:],
    ),
}


def read_table(study: Path, name: str, needs: Needs | None = None) -> pd.DataFrame:
    """A table of a study by its name; names stay text, also if like numbers.

    Args:
        study: folder of the study.
        name: of the file, without suffix.
        needs: what it must have; by default what `TABLES` says.

    Raises:
        ValueError: naming the file, and the command that writes it, or what is wrong in it.
    """
    path = study / f"{name}.csv"
    try:
        return read_columns(path, *(needs or TABLES[name]))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; {_maker(name)} writes it") from None


def _maker(name: str) -> str:
    return f"`dstcl {'claims' if name in ('claims', 'paper') else 'collect'}`"


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
