"""A study beside what is known: its claims.csv and paper.csv."""

from __future__ import annotations

from pathlib import Path

from dstcl.evaluation.chance import measured_with_chance
from dstcl.evaluation.claim_tests import Tables, judge_claims
from dstcl.evaluation.claims import load_claims
from dstcl.evaluation.collect import write_csv
from dstcl.evaluation.paper import compare_with_paper, read_paper
from dstcl.evaluation.tables import read_table
from dstcl.study.plan import read_plan


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
