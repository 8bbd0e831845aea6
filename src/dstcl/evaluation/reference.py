"""A study beside what is known: its claims.csv and paper.csv."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dstcl.evaluation.chance import measured_with_chance
from dstcl.evaluation.claims import load_claims
from dstcl.evaluation.collect import write_csv
from dstcl.evaluation.paper import compare_with_paper, read_paper
from dstcl.evaluation.tablefile import read_columns
from dstcl.evaluation.verdicts import Tables, judge_claims
from dstcl.plan import read_plan
from dstcl.runs import AXES

CELL = tuple(axis for axis in AXES if axis != "seed")
BLOCK = ("dataset", "tasks", "protocol", "network")
MADE = ("digest", "data_digest", "started", "finished")
SPREADS = [
    f"{measure}_{part}"
    for measure in ("acc", "learning_accuracy", "forgetting", "used_fraction", "seconds")
    for part in ("mean", "low", "high")
]
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


def write_claims(study: Path, reference: Path) -> None:
    """Test ``reference/claims.yaml`` on the study and put ``reference/paper.csv`` beside it.

    Raises:
        ValueError: a file is missing or says something that cannot be used; names it.
    """
    claims = load_claims(reference / "claims.yaml")
    paper = read_paper(reference / "paper.csv")
    chance = {run.digest: measured_with_chance(run) for run in read_plan(study)[1]}
    summary, accuracy, capacity = (
        read_table(study, name) for name in ("summary", "accuracy", "capacity")
    )
    if unplanned := set(summary["digest"]) - set(chance):
        raise ValueError(f"{study / 'summary.csv'}: run {min(unplanned)} is not in plan.json")
    tables = Tables(summary, accuracy, capacity, chance)
    write_csv(study / "claims.csv", judge_claims(claims, tables))
    write_csv(study / "paper.csv", compare_with_paper(tables.summary, tables.accuracy, paper))


def read_table(study: Path, name: str) -> pd.DataFrame:
    """A table of a study by its name in `TABLES`; names stay text, also if like numbers.

    Raises:
        ValueError: naming the file, and the command that writes it, or what is wrong in it.
    """
    path, needs = study / f"{name}.csv", TABLES[name]
    try:
        return read_columns(path, *needs)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; {_maker(name)} writes it") from None


def _maker(name: str) -> str:
    return f"`dstcl {'claims' if name in ('claims', 'paper') else 'collect'}`"
