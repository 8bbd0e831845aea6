"""Recorded studies: tables kept beside the source, to which finished runs are added over time.

A recorded folder is a study without its runs: the plan, the tables that hold what its finished runs
found, and those that follow from them. Claims, figures and report can be made of it
again. A large study can so be run in parts, on several machines and days.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from math import isclose
from pathlib import Path
from statistics import fmean

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
from dstcl.evaluation.paper.write import write_paper
from dstcl.evaluation.tables import read_table
from dstcl.evaluation.verify import Say, verify_runs
from dstcl.storage import write_json, write_text
from dstcl.study.missing import still_missing, write_missing
from dstcl.study.plan import read_plan, with_the_same_axes, write_plan
from dstcl.study.run import RESULT_FILES, Run
from dstcl.study.twins import refuse_twins

FOUND = ("summary", "provenance", "accuracy", "capacity")
"""Tables of what runs found, which are kept: rows of every run, with its digest."""
OF_SOME = ("overlap", "decisions")
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
        ValueError: a recorded run and one of the study differ in a setting that no table shows.
        RecordError: nothing is finished, another preset is recorded there, a recorded run found
            something else, or recorded tables are damaged. Nothing is written then.
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
    kept = {name: _kept(out, name) for name in tables if (out / f"{name}.csv").exists()}
    before = set(kept["summary"]["digest"]) if "summary" in kept else set()
    if not replace and "accuracy" in kept:
        _refuse_others(out, kept["accuracy"], tables["accuracy"])
    params = joined_params([out, study])
    joined_plan = {run.digest: run for run in [*there, *planned]}
    runs = {run.digest: run for run in with_the_same_axes(list(joined_plan.values()))}
    finished_digests = {run.digest for run in finished}
    joined = {name: _joined(tables[name], kept.get(name), replace, list(runs)) for name in tables}
    _check_whole(out, joined, runs)
    joined["summary"] = _with_varied(joined["summary"], runs)
    recorded = before | finished_digests
    refuse_twins([run for run in runs.values() if run.digest in recorded], out)
    missing = [f"{r.folder}: not run yet" for r in runs.values() if r.digest not in recorded]
    missing += still_missing([out, study], runs)
    write_plan(preset, list(runs.values()), out / "plan.json")
    if params is not None:
        write_json(out / "params.json", params)
    for name in [name for name in joined if name in FOUND or len(joined[name])]:
        write_text(out / f"{name}.csv", joined[name].to_csv(index=False))
    _derive(out, reference)
    planned_together = write_missing(out, len(recorded), missing)
    for line in _differences(read_table(out, "provenance")):
        say(line)
    return Recorded(preset, len(recorded), finished_digests - before, planned_together)


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
                f"{out}: run {digest} is already recorded with other accuracies; --replace "
                "overwrites them"
            )


def _accuracies(table: pd.DataFrame) -> dict[str, list[list[str]]]:
    """Rows of the accuracy matrix by the digest of their run."""
    found: dict[str, list[list[str]]] = {}
    for digest, *row in table[["digest", *LONG_TABLES["accuracy"]]].to_numpy().tolist():
        found.setdefault(digest, []).append(row)
    return found


def _kept(out: Path, name: str) -> pd.DataFrame:
    """A recorded table as text."""
    path = out / f"{name}.csv"
    try:
        table = _text(path)
    except (OSError, ValueError) as error:
        raise RecordError(" ".join(f"{path}: not a table ({error})".split())) from None
    needed = LONG_TABLES["accuracy"] if name == "accuracy" else ()
    if lacking := [column for column in ("digest", *needed) if column not in table]:
        raise RecordError(f"{path}: no column {lacking[0]}")
    return table


def _check_whole(out: Path, tables: Mapping[str, pd.DataFrame], planned: Container[str]) -> None:
    """Refuse tables that do not hold the same runs, and accuracies that are not those of the
    summary: rows were lost or added, or somebody edited them."""
    remedy = "bring back what was recorded, or record all runs into an empty folder"
    runs = set(tables["summary"]["digest"])
    if unknown := sorted(digest for digest in runs if digest not in planned):
        raise RecordError(f"{out}: run {unknown[0]} is recorded and not in plan.json; {remedy}")
    for name in FOUND:
        path, digests = out / f"{name}.csv", tables[name]["digest"]
        if lacking := sorted(runs - set(digests)):
            if not path.exists():
                raise RecordError(
                    f"{path}: no such file; the folder was recorded without it, so that nothing "
                    "can be added to it; record all runs into an empty folder"
                )
            raise RecordError(f"{path}: no rows of run {lacking[0]}; {remedy}")
        if foreign := sorted(set(digests) - runs):
            raise RecordError(f"{path}: run {foreign[0]} is not in summary.csv; {remedy}")
        if name in ("summary", "provenance") and digests.duplicated().any():
            raise RecordError(
                f"{path}: run {digests[digests.duplicated()].iloc[0]} twice; {remedy}"
            )
    said = dict(zip(tables["summary"]["digest"], tables["summary"]["acc"]))
    for digest, rows in _accuracies(tables["accuracy"]).items():
        try:
            found = _last_mean(rows)
            same = isclose(found, float(said[digest]), abs_tol=1e-9)
        except ValueError:
            raise RecordError(f"{out}: accuracies of run {digest} are damaged; {remedy}") from None
        if not same:
            raise RecordError(
                f"{out}: run {digest} has an accuracy of {said[digest]} in summary.csv and of "
                f"{found:g} in accuracy.csv; {remedy}"
            )


def _last_mean(rows: Sequence[Sequence[str]]) -> float:
    """Mean accuracy of all tasks after the last one; ValueError where one is missing or twice."""
    last = max(int(after) for after, _, _ in rows)
    final = {int(task): float(acc) for after, task, acc in rows if int(after) == last}
    times = sum(int(after) == last for after, _, _ in rows)
    if times != last or final.keys() != set(range(1, last + 1)):
        raise ValueError
    return fmean(final.values())


def _joined(
    found: pd.DataFrame, kept: pd.DataFrame | None, replace: bool, order: Sequence[str]
) -> pd.DataFrame:
    """A table of all recorded runs, in the order of the plan; columns of both.

    What is kept is asked of each table: recording may have been interrupted between two of them.
    """
    parts = [found]
    if kept is not None and replace:
        parts.insert(0, kept[~kept["digest"].isin(found["digest"])])
    elif kept is not None:
        parts = [kept, found[~found["digest"].isin(kept["digest"])]]
    place = {digest: number for number, digest in enumerate(order)}
    table = pd.concat(parts).fillna("")
    return table.sort_values("digest", key=lambda digests: digests.map(place), kind="stable")


def _with_varied(summary: pd.DataFrame, runs: Mapping[str, Run]) -> pd.DataFrame:
    """All varied settings of the plan as columns before the seed.

    A part of the study that does not vary a setting has no such column; its runs have a value of it
    all the same.
    """
    table = summary.copy()
    for key in next(iter(runs.values())).vary:
        own = table["digest"].map(lambda digest, key=key: runs[digest].varied[key])
        said = table.pop(key) if key in table else own
        table.insert(list(table).index("seed"), key, said.where(said != "", own))
    return table


def _derive(out: Path, reference: Path) -> None:
    """The tables that follow from those of what runs found."""
    summary = read_table(out, "summary")
    write_csv(out / "cells.csv", cell_means(summary))
    write_csv(out / "comparisons.csv", compare(summary))
    write_paper(out, reference)
    write_claims(out, reference)


def _differences(provenance: pd.DataFrame) -> list[str]:
    """Lines that say in what the making of recorded runs differs."""
    codes = provenance["code"].nunique()
    lines = [f"recorded runs are of {codes} states of the code"] if codes > 1 else []
    return lines + ways_of_computing(provenance)
