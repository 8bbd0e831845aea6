"""The tables of a study: read whole, with the columns they must have, or refused in one line."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dstcl.data.catalog import dataset_title
from dstcl.evaluation.axes import BLOCK, CELL, varied_axes
from dstcl.evaluation.merged_params import parts_of
from dstcl.storage import read_json
from dstcl.study.parts import AXES
from dstcl.study.plan import only_recorded

TEXT = (
    *("digest", "layer", "dataset", "protocol", "network", "method", "init", "growth"),
    *("what", "value", "evidence"),
    *("claim", "statement", "verdict", "kind", "source", "unit", "detail", "note"),
    *("paper_says_otherwise", "reproduced"),
    *("figure", "table", "metric", "compared_with", "unlike"),
)
"""Columns that stay text even where they look like numbers, as varied settings do."""
MADE = ("digest", "data_digest", "started", "finished")
SPREADS = [
    f"{measure}_{part}"
    for measure in ("acc", "learning_accuracy", "forgetting", "used_fraction", "seconds")
    for part in ("mean", "low", "high")
]
DIFFERENCE = ("difference", "sd", "low", "high")
UNIT_OF_CLAIM = ("part", "unit", "value", "effect")
VERDICT = ("effect", "low", "high", "more_than", "p_holm", "paper_effect", "units")
REMARKS = ("detail", "note", "paper_says_otherwise")
OF_CLAIMS = ("claims", "claim_units", "paper", "paper_tables")
"""Tables that `dstcl claims` writes."""
OURS = ("ours_percent", "sd_intervals", "low_percent", "high_percent", "intervals", "n")
COMPARED = (*OURS, "unit", "reproduced", "unlike")
TABLE = ("metric", "learned", "compared_with")
BAND = ("paper_low", "paper_high")
WEIGHTS = ("task", "size", "active", "shared", "free")


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
    "capacity": Needs(("digest", "layer", *WEIGHTS), WEIGHTS),
    "overlap": Needs(
        ("digest", "task", "other", "shared", "jaccard"), ("task", "other", "shared", "jaccard")
    ),
    "history": Needs(
        ("digest", "task", "epoch", "explored"), ("task", "epoch", "explored"), ("explored",)
    ),
    "decisions": Needs(
        ("digest", "task", "step", "layer", "what", "value", "evidence"),
        ("task", "step"),
        ("layer", "value", "evidence"),
    ),
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
        (*BLOCK, "claim", "statement", "verdict", "kind", "source", "unit", *REMARKS, *VERDICT),
        ("tasks", *VERDICT),
        (*REMARKS, *VERDICT[:-1]),
    ),
    "claim_units": Needs(
        ("claim", *BLOCK, *UNIT_OF_CLAIM), ("tasks", "part", "effect"), ("effect",)
    ),
    "paper": Needs(
        ("figure", *CELL, "task", "paper_percent", *BAND, *COMPARED),
        ("tasks", "density", "task", "paper_percent", *BAND, *OURS),
        (*BAND, *OURS[1:4], "unlike"),
    ),
    "paper_tables": Needs(
        ("table", *CELL, *TABLE, "paper_percent", "paper_pm", *COMPARED),
        ("tasks", "density", "learned", "paper_percent", "paper_pm", *OURS),
        ("paper_pm", *OURS[1:4], "unlike"),
    ),
}


@dataclass(frozen=True)
class Title:
    """From names to what a reader sees.

    Attributes:
        own: titles of the user's own data sets.
        learned: by data set and number of tasks, how many of them were learned where not all were.
    """

    own: Mapping[str, str]
    learned: Mapping[tuple[str, int], int]

    def __call__(self, dataset: str) -> str:
        """Of a data set."""
        return str(self.own.get(dataset) or dataset_title(dataset))

    def setting(self, dataset: str, tasks: int) -> str:
        """Of a data set and its tasks, as "CIFAR-100, first 8 of 20 tasks"."""
        learned = self.learned.get((str(dataset), int(tasks)), tasks)
        return f"{self(dataset)}, {tasks_in_words(learned, tasks)}"


def tasks_in_words(learned: int, tasks: int) -> str:
    """As "20 tasks", or "first 8 of 20 tasks"."""
    return f"{tasks} tasks" if learned == tasks else f"first {learned} of {tasks} tasks"


def read_table(study: Path, name: str, needs: Needs | None = None) -> pd.DataFrame:
    """A table of a study by its name; names stay text, also if like numbers.

    Args:
        study: folder of the study.
        name: of the file, without suffix.
        needs: what it must have; by default what `TABLES` says.

    Raises:
        ValueError: naming the file, and where it comes from, or what is wrong in it.
    """
    path = study / f"{name}.csv"
    try:
        table = read_columns(path, *(needs or TABLES[name]))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; {_origin(study, name)}") from None
    # Twice, a run would count as two seeds.
    if name == "summary" and "digest" in table:
        digests = table["digest"]
        if not digests.is_unique:
            raise ValueError(f"{path}: run {digests[digests.duplicated()].iloc[0]} twice")
    return table


def _origin(study: Path, name: str) -> str:
    """Where a table that is missing comes from, in words."""
    if name in OF_CLAIMS:
        return "`dstcl claims` writes it"
    if only_recorded(study):
        return "it was not recorded, and there are no runs of which it could be made"
    return "`dstcl collect` writes it"


def read_columns(
    path: Path, columns: Sequence[str], numbers: Collection[str] = (), blank: Collection[str] = ()
) -> pd.DataFrame:
    """A table with at least these columns; others are read as they are, varied settings as text.

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
        varied = varied_axes(pd.read_csv(path, nrows=0))
        table = pd.read_csv(
            path,
            dtype=dict.fromkeys((*TEXT, *varied), str),
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
    for name in (*columns, *varied):
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


def dataset_titles(study: Path) -> Title:
    """Titles of the catalogue, and of the user's own sets as the study's params.json has them.

    A set without a title has its name; so have all of the user's own where there is no params.json.
    How many tasks were learned is said by summary.csv; where it is not, all were.
    """
    try:
        params = read_json(study / "params.json")
        entries = [entry for part in parts_of(params) for entry in part.get("datasets", {}).items()]
        own = {name: entry["title"] for name, entry in entries if entry["title"]}
    except (ValueError, KeyError, TypeError, AttributeError):
        own = {}
    return Title(own, _beginnings(study))


def _beginnings(study: Path) -> dict[tuple[str, int], int]:
    """By data set and number of tasks, how many were learned where not all were."""
    keys, learned = ["dataset", "tasks"], "tasks_learned"
    try:
        table = pd.read_csv(study / "summary.csv", usecols=[*keys, learned]).dropna()
    except (OSError, ValueError):
        return {}
    part = table[table[learned] < table["tasks"]].drop_duplicates(keys)
    return {
        (str(dataset), int(tasks)): int(first)
        for dataset, tasks, first in part[[*keys, learned]].to_numpy().tolist()
    }
