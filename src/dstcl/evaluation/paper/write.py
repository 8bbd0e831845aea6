"""paper.csv and paper_tables.csv of a study."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dstcl.evaluation.collect import write_csv
from dstcl.evaluation.paper.beside import FWT, Study, curves_beside, tables_beside
from dstcl.evaluation.paper.catalog import unlike
from dstcl.evaluation.paper.reference import read_curves, read_tables
from dstcl.evaluation.tables import TABLES, Needs, read_table
from dstcl.study.plan import read_plan

FOLDER = "paper"
FILES = ("curves.csv", "tables.csv")
OPTIONAL = ("bwt", FWT, "tasks_learned")


def write_paper(study: Path, reference: Path) -> None:
    """Put the paper's numbers, ``reference/paper/``, beside the study's.

    Raises:
        ValueError: a file is missing or says something that cannot be used; names it.
    """
    curves, tables = (
        read(reference / FOLDER / name) for read, name in zip((read_curves, read_tables), FILES)
    )
    settings = pd.DataFrame(
        [(run.digest, run.topology.update_every, unlike(run)) for run in read_plan(study)[1]],
        columns=["digest", "update_every", "unlike"],
    ).set_index("digest")
    summary = _summary(study)
    if unplanned := set(summary["digest"]) - set(settings.index):
        raise ValueError(f"{study / 'summary.csv'}: run {min(unplanned)} is not in plan.json")
    ours = Study(summary, read_table(study, "accuracy"), settings)
    write_csv(study / "paper.csv", curves_beside(ours, curves))
    write_csv(study / "paper_tables.csv", tables_beside(ours, tables, curves))


def _summary(study: Path) -> pd.DataFrame:
    """The study's runs, with those of the optional measures that it has."""
    needs = TABLES["summary"]
    optional = tuple(name for name in OPTIONAL if name in read_table(study, "summary"))
    more = Needs((*needs.columns, *optional), (*needs.numbers, *optional), optional)
    summary = read_table(study, "summary", more)
    if "tasks_learned" in summary:
        learned = summary["tasks_learned"].fillna(summary["tasks"])
        wrong = (learned < 1) | (learned > summary["tasks"]) | (learned % 1 != 0)
        if wrong.any():
            row = summary[wrong].iloc[0]
            raise ValueError(
                f"{study / 'summary.csv'}: line {wrong.to_numpy().argmax() + 2}: tasks_learned "
                f"{row['tasks_learned']:g} is not a number from 1 to {row['tasks']}"
            )
    return summary
