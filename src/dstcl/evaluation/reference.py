"""A study beside what is known: its claims.csv and paper.csv."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dstcl.evaluation.chance import measured_with_chance
from dstcl.evaluation.claims import load_claims
from dstcl.evaluation.collect import write_csv
from dstcl.evaluation.paper import compare_with_paper, read_paper
from dstcl.evaluation.verdicts import Tables, judge_claims
from dstcl.plan import read_plan

NAMES = {"digest": str, "layer": str, "init": str, "growth": str, "method": str, "protocol": str}


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
    """A table of a study; names stay text even where they look like numbers.

    Raises:
        ValueError: naming the file, and the command that writes it.
    """
    path = study / f"{name}.csv"
    try:
        return pd.read_csv(path, dtype=NAMES, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; {_maker(name)} writes it") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{path}: not a table ({error})") from None


def _maker(name: str) -> str:
    return f"`dstcl {'claims' if name in ('claims', 'paper') else 'collect'}`"
