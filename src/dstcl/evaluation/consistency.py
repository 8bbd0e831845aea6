"""Whether the files of a study belong together and to params.yaml.

Snakemake decides by what it remembers of each file. Where files were exchanged behind its back, as
by a `dvc checkout` that stopped half way, only their contents tell.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from dstcl.evaluation.verify import Unverified, verify_runs
from dstcl.study.plan import read_plan
from dstcl.study.run import Run

TABLES = ("summary", "accuracy", "capacity")
"""Tables with a digest in every row."""


def check_study(
    runs: Sequence[Run], study: Path, *, data: Path | None = None, thorough: bool = False
) -> Unverified:
    """Compare plan, runs and tables with the runs that are asked for, and runs with the code and
    the data of now.

    Args:
        runs: the runs that params.yaml means.
        study: folder of the study.
        data: folder with prepared/ and tasks/, to compare runs with; None does not.
        thorough: verify masks and weights as well.

    Returns:
        What could not be verified.

    Raises:
        ValueError: naming the first file that belongs to other runs, or is missing.
    """
    remedy = "delete it and run again"
    _, planned = read_plan(study)
    if [run.folder for run in planned] != [run.folder for run in runs]:
        raise ValueError(f"{study / 'plan.json'}: not the runs that are asked for; {remedy}")
    found = verify_runs(runs, study / "runs", data=data, thorough=thorough)
    wanted = {run.digest for run in runs}
    for name in TABLES:
        path = study / f"{name}.csv"
        if _digests(path) != wanted:
            raise ValueError(f"{path}: has other runs than are asked for; {remedy}")
    return found


def _digests(path: Path) -> set[str | None]:
    try:
        with path.open(newline="") as file:
            return {row.get("digest") for row in csv.DictReader(file)}
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
