"""Which files of a study are deposited, and whether they are what its runs wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dstcl.deposit.current import check_current
from dstcl.evaluation.collect import what_was_found
from dstcl.evaluation.tables import OF_CLAIMS
from dstcl.evaluation.verify import check_files, read_mapping
from dstcl.figures import FIGURES
from dstcl.reports.manuscript import FOLDER as MANUSCRIPT
from dstcl.reports.manuscript import is_part
from dstcl.study.missing import FILE as MISSING
from dstcl.study.missing import read_missing
from dstcl.study.plan import read_plan
from dstcl.study.run import ALL_FILES, RESULT_FILES, Run
from dstcl.study.standing import VOUCHED

COPIED = ("summary", "accuracy", "capacity", "overlap", "history", "decisions")
"""Tables that say what files of runs say, in the same digits everywhere."""
TABLES = (*COPIED, "cells", "comparisons", "provenance", *OF_CLAIMS)
WORDS = ("plan.json", "params.json", "overview.json", "summary.md", "report.html")
DRAWN = ("svg", "pdf", "png", "csv")


@dataclass(frozen=True)
class Contents:
    """What of a study is deposited.

    Attributes:
        preset: its name.
        runs: all of the plan.
        files: paths below the study's folder, sorted.
        made: provenance.json of every run, by digest.
        unsealed: runs without digests of their files, so that nothing was verified.
    """

    preset: str
    runs: Sequence[Run]
    files: Sequence[str]
    made: dict[str, dict[str, Any]]
    unsealed: int

    def of_run(self, run: Run) -> list[str]:
        """The files of one run."""
        return [name for name in self.files if name.startswith(f"runs/{run.folder}/")]


def contents(study: Path, *, weights: bool = True) -> Contents:
    """Check a finished study and list its files.

    Args:
        study: its folder.
        weights: whether weights are deposited; without them, no network can be loaded.

    Raises:
        ValueError: the study is not finished, a file is missing or not the one that its run wrote,
            a table says something else than the runs, or a page or figure is of other tables; one
            line that names the file.
    """
    preset, runs = read_plan(study)
    _check_finished(study, runs)
    files = [*WORDS, *(f"{name}.csv" for name in TABLES)]
    files += [f"figures/{name}.{suffix}" for name in FIGURES for suffix in DRAWN]
    if lacking := [name for name in files if not (study / name).is_file()]:
        again = f"`snakemake --cores all --config preset={preset}`"
        raise ValueError(f"{study / lacking[0]}: no such file; {again} makes it")
    kinds = tuple(kind for kind in ALL_FILES if weights or kind != "weights")
    sealed, made = 0, {}
    for run in runs:
        folder = study / "runs" / run.folder
        sealed += check_files(run, folder, kinds)
        made[run.digest] = read_mapping(folder / RESULT_FILES["provenance"])
        names = [*run.result_files.values(), *([VOUCHED] * (folder / VOUCHED).exists())]
        left_out = set() if weights else {RESULT_FILES["weights"]}
        files += [f"runs/{run.folder}/{name}" for name in names if name not in left_out]
    _check_tables(study, runs)
    check_current(study)
    files += [
        path.relative_to(study).as_posix()
        for path in filter(is_part, (study / MANUSCRIPT).glob("*"))
    ]
    return Contents(preset, runs, sorted(files), made, len(runs) - sealed)


def _check_finished(study: Path, runs: Sequence[Run]) -> None:
    metrics = [study / "runs" / run.folder / RESULT_FILES["metrics"] for run in runs]
    lacking = [path.parent for path in metrics if not path.is_file()]
    if lacking:
        raise ValueError(
            f"{study}: {len(runs) - len(lacking)} of {len(runs)} runs are finished, "
            f"{lacking[0]} is not; run the rest first"
        )
    if missing := read_missing(study):
        raise ValueError(
            f"{study / MISSING}: not the whole study: {len(runs)} of {missing['planned']} planned "
            "runs; train the rest, then merge and collect again"
        )


def _check_tables(study: Path, runs: Sequence[Run]) -> None:
    _, _, texts = what_was_found(runs, study / "runs")
    for name in COPIED:
        path = study / f"{name}.csv"
        if path.read_bytes() != texts[name].encode():
            raise ValueError(
                f"{path}: not what the runs say; delete it and run `snakemake collect`"
            )
