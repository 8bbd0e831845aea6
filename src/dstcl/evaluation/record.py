"""Recorded studies: tables kept beside the source, to which finished runs are added over time.

A recorded folder is a study without its runs: the plan, the tables that hold what its finished runs
found, and those that follow from them. Claims, figures and report can be made of it
again. A large study can so be run in parts, on several machines and days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pandas as pd

from dstcl.evaluation.collect import (
    LONG_TABLES,
    cell_means,
    ways_of_computing,
    what_was_found,
    write_csv,
)
from dstcl.evaluation.compare import compare
from dstcl.evaluation.judge import write_claims
from dstcl.evaluation.merge import joined_params
from dstcl.evaluation.missing import FILE as MISSING
from dstcl.evaluation.missing import write_missing
from dstcl.evaluation.paper.write import write_paper
from dstcl.evaluation.tables import read_table
from dstcl.evaluation.verify import Say, verify_runs
from dstcl.storage import write_json, write_text
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
        runs: how many are recorded.
        added: digests of those that are new.
        planned: how many the studies that were recorded here plan together.
    """

    preset: str
    runs: int
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
        MergeError: a protocol has other switches than in what is recorded.
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
    for line in verify_runs(finished, study / "runs", data=data).lines():
        say(line)
    _, _, texts = what_was_found(finished, study / "runs")
    tables = {name: _text(StringIO(texts[name])) for name in (*FOUND, *OF_SOME)}
    kept = {name: _text(out / f"{name}.csv") for name in tables if (out / f"{name}.csv").exists()}
    before = set(kept["summary"]["digest"]) if "summary" in kept else set()
    if not replace and "accuracy" in kept:
        _refuse_others(out, kept["accuracy"], tables["accuracy"])
    params = joined_params([out, study])
    runs = {run.digest: run for run in [*there, *planned]}
    finished_digests = {run.digest for run in finished}
    taken = finished_digests if replace else finished_digests - before
    joined = {name: _joined(tables[name], kept.get(name), taken, list(runs)) for name in tables}
    write_plan(preset, list(runs.values()), out / "plan.json")
    if params is not None:
        write_json(out / "params.json", params)
    for name in [name for name in joined if name in FOUND or len(joined[name])]:
        write_text(out / f"{name}.csv", joined[name].to_csv(index=False))
    _derive(out, reference)
    recorded = before | finished_digests
    missing = [run.folder for run in runs.values() if run.digest not in recorded]
    (out / MISSING).unlink(missing_ok=True)
    if missing:
        write_missing(out, len(runs), [f"{folder}: not run yet" for folder in missing])
    for line in _differences(read_table(out, "provenance")):
        say(line)
    return Recorded(preset, len(recorded), finished_digests - before, len(runs))


def _recorded_plan(out: Path, preset: str) -> list[Run]:
    if not (out / "plan.json").exists():
        return []
    there, runs = read_plan(out)
    if there != preset:
        raise RecordError(f"{out}: holds preset {there}, the study is of preset {preset}")
    return runs


def _text(source: Path | StringIO) -> pd.DataFrame:
    """A table as text, so that what is written again is what was read."""
    return pd.read_csv(source, dtype=str, keep_default_na=False)


def _refuse_others(out: Path, kept: pd.DataFrame, found: pd.DataFrame) -> None:
    before, now = _accuracies(kept), _accuracies(found)
    for digest in [digest for digest in now if digest in before]:
        if before[digest] != now[digest]:
            raise RecordError(
                f"{out}: run {digest} is recorded there with other accuracies; --replace takes "
                "the study's"
            )


def _accuracies(table: pd.DataFrame) -> dict[str, list[list[str]]]:
    """Rows of the accuracy matrix by the digest of their run."""
    found: dict[str, list[list[str]]] = {}
    for digest, *row in table[["digest", *LONG_TABLES["accuracy"]]].to_numpy().tolist():
        found.setdefault(digest, []).append(row)
    return found


def _joined(
    found: pd.DataFrame, kept: pd.DataFrame | None, taken: set[str], order: Sequence[str]
) -> pd.DataFrame:
    """A table of all recorded runs, in the order of the plan; columns of both."""
    parts = [found[found["digest"].isin(taken)]]
    if kept is not None:
        parts.insert(0, kept[~kept["digest"].isin(taken)])
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
