"""Recorded studies: tables kept beside the source, to which finished runs are added over time.

A recorded folder is a study without its runs: the plan of what is recorded, the tables that hold
what the runs found, and those that follow from them. Claims, figures and report can be made of it
again. A large study can so be run in parts, on several machines and days.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dstcl.evaluation.collect import (
    LONG_TABLES,
    cell_means,
    collect,
    ways_of_computing,
    write_csv,
)
from dstcl.evaluation.compare import compare
from dstcl.evaluation.judge import write_claims
from dstcl.evaluation.missing import FILE as MISSING
from dstcl.evaluation.missing import write_missing
from dstcl.evaluation.paper.write import write_paper
from dstcl.evaluation.tables import read_table
from dstcl.evaluation.verify import Say
from dstcl.storage import write_text
from dstcl.study.plan import read_plan, write_plan
from dstcl.study.run import RESULT_FILES, Run

FOUND = ("summary", "provenance", "accuracy", "capacity")
"""Tables of what runs found, which are kept: rows of every run, with its digest."""
OF_SOME = ("decisions",)
"""Such tables that are kept where any run has rows in them."""


class RecordError(ValueError):
    """Runs that cannot be recorded; the message names the run and what differs."""


@dataclass(frozen=True)
class Recorded:
    """What a recorded folder has.

    Attributes:
        preset: of the study.
        runs: all that are recorded.
        added: digests of those that are new.
        planned: how many the study plans.
    """

    preset: str
    runs: list[Run]
    added: set[str]
    planned: int


def record(
    study: Path,
    out: Path,
    reference: Path,
    *,
    data: Path | None = None,
    replace: bool = False,
    say: Say = lambda line: None,
) -> Recorded:
    """Add a study's finished runs to a recorded folder, and derive its tables anew.

    Args:
        study: folder with plan.json and runs/, whole or in part.
        out: the recorded folder; other files in it stay as they are.
        reference: folder with claims.yaml and paper/.
        data: folder with prepared/ and tasks/, to compare runs with; None does not.
        replace: take the study's runs in place of recorded ones that found something else.
        say: told what could not be verified, and how recorded runs differ in how they were made.

    Raises:
        CollectError: a finished run is not what the plan says, or not of this code or data.
        RecordError: nothing is finished, another preset is recorded there, or a recorded run found
            something else. Nothing is written then.
    """
    preset, planned = read_plan(study)
    finished = [
        r for r in planned if (study / "runs" / r.folder / RESULT_FILES["metrics"]).is_file()
    ]
    if not finished:
        raise RecordError(f"{study}: no finished run")
    there = _recorded_plan(out, preset)
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder)
        (new / "runs").symlink_to((study / "runs").resolve(), target_is_directory=True)
        collect(finished, new, data=data, say=say)
        if not replace:
            _refuse_others(out, new)
        first = [run.digest for run in planned]
        runs = {run.digest: run for run in [*there, *finished]}
        order = [digest for digest in first if digest in runs]
        order += [digest for digest in runs if digest not in set(first)]
        newer = (
            {run.digest for run in finished} if replace else set(runs) - {r.digest for r in there}
        )
        joined = {name: _joined(out, new, name, newer, order) for name in (*FOUND, *OF_SOME)}
    write_plan(preset, [runs[digest] for digest in order], out / "plan.json")
    if (study / "params.json").is_file():
        shutil.copyfile(study / "params.json", out / "params.json")
    for name in [name for name in joined if name in FOUND or len(joined[name])]:
        write_text(out / f"{name}.csv", joined[name].to_csv(index=False))
    _derive(out, reference)
    missing = [run.folder for run in planned if run.digest not in runs]
    (out / MISSING).unlink(missing_ok=True)
    if missing:
        lines = [f"{folder}: not run yet" for folder in missing]
        write_missing(out, len(runs) + len(missing), lines)
    for line in _differences(read_table(out, "provenance")):
        say(line)
    return Recorded(preset, [runs[digest] for digest in order], newer, len(runs) + len(missing))


def _recorded_plan(out: Path, preset: str) -> list[Run]:
    if not (out / "plan.json").exists():
        return []
    there, runs = read_plan(out)
    if there != preset:
        raise RecordError(f"{out}: holds preset {there}, the study is of preset {preset}")
    return runs


def _text(path: Path) -> pd.DataFrame:
    """A table as text, so that what is written again is what was read."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def _refuse_others(out: Path, new: Path) -> None:
    if not (out / "accuracy.csv").exists():
        return
    kept, found = (_accuracies(at / "accuracy.csv") for at in (out, new))
    for digest in [digest for digest in found if digest in kept]:
        if kept[digest] != found[digest]:
            raise RecordError(
                f"{out}: run {digest} is recorded there with other accuracies; --replace takes "
                "the study's"
            )


def _accuracies(path: Path) -> dict[str, list[list[str]]]:
    """Rows of the accuracy matrix by the digest of their run."""
    found: dict[str, list[list[str]]] = {}
    for digest, *row in _text(path)[["digest", *LONG_TABLES["accuracy"]]].to_numpy().tolist():
        found.setdefault(digest, []).append(row)
    return found


def _joined(out: Path, new: Path, name: str, newer: set[str], order: Sequence[str]) -> pd.DataFrame:
    """A table of all recorded runs, in the order of the plan; columns of both."""
    found = _text(new / f"{name}.csv")
    parts = [found[found["digest"].isin(newer)]]
    if (path := out / f"{name}.csv").exists():
        kept = _text(path)
        parts.insert(0, kept[~kept["digest"].isin(newer)])
    place = {digest: number for number, digest in enumerate(order)}
    table = pd.concat(parts).fillna("")
    return table.sort_values("digest", key=lambda digests: digests.map(place), kind="stable")


def _derive(out: Path, reference: Path) -> None:
    """The tables that follow from those of what runs found."""
    summary = read_table(out, "summary")
    write_csv(out / "cells.csv", cell_means(summary))
    write_csv(out / "comparisons.csv", compare(summary))
    write_claims(out, reference)
    write_paper(out, reference)


def _differences(provenance: pd.DataFrame) -> list[str]:
    """Lines that say in what the making of recorded runs differs."""
    codes = provenance["code"].nunique()
    lines = [f"recorded runs are of {codes} states of the code"] if codes > 1 else []
    return lines + ways_of_computing(provenance)
