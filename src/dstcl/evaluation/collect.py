"""Finished runs to tables: a row a run, a cell, a comparison; and long tables for figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from dstcl.evaluation.compare import compare
from dstcl.evaluation.intervals import mean_interval
from dstcl.runs import AXES, RESULT_FILES, Run
from dstcl.storage import read_json, write_text

CELL = [axis for axis in AXES if axis != "seed"]
MEASURES = (
    "acc",
    "bwt",
    "fwt",
    "forgetting",
    "learning_accuracy",
    "used_fraction",
    "seconds",
    "images_per_second",
    "inference_flops",
    "training_flops",
    "mask_bytes",
)
# Undefined for a single task, or where all tasks were learned at once.
MAY_BE_MISSING = ("bwt", "fwt", "forgetting", "learning_accuracy")
LONG_TABLES = {
    "accuracy": {"after_task", "task", "accuracy"},
    "capacity": {"task", "layer", "size", "active", "new", "shared", "free"},
}


class CollectError(ValueError):
    """A result that does not belong to the study; the message names the file and the key."""


def collect(runs: Sequence[Run], study: Path) -> pd.DataFrame:
    """Write summary, cells, comparisons and the long tables as CSV; returns the summary.

    Args:
        runs: the runs the study means; other folders below ``study/runs`` are not read.
        study: folder of the study, where the tables are written.

    Raises:
        CollectError: a run is missing, or was made with other parameters than the study asks for.
    """
    folder = study / "runs"
    if not runs:
        raise CollectError(f"{study}: no runs")
    digests = [run.digest for run in runs]
    if len(set(digests)) < len(digests):
        repeated = sorted({digest for digest in digests if digests.count(digest) > 1})
        raise CollectError(f"{study}: run {repeated[0]} twice in the plan")
    for run in runs:
        check_run(run, folder / run.folder)
    summary = pd.DataFrame([summary_row(run, folder / run.folder) for run in runs])
    tables = {
        "summary": summary,
        "cells": cell_means(summary),
        "comparisons": compare(summary),
        **{name: long_table(name, runs, folder) for name in LONG_TABLES},
    }
    for name, table in tables.items():
        write_csv(study / f"{name}.csv", table)
    return summary


def long_table(name: str, runs: Sequence[Run], folder: Path) -> pd.DataFrame:
    """A table of every run, one below the other, with the run's digest in front.

    Raises:
        CollectError: naming the file that is missing or not such a table.
    """
    parts = []
    for run in runs:
        path = folder / run.folder / RESULT_FILES[name]
        try:
            part = pd.read_csv(path)
        except (OSError, ValueError) as error:
            raise CollectError(f"{path}: not a table ({error})".replace("\n", " ")) from None
        if lacking := LONG_TABLES[name] - set(part):
            raise CollectError(f"{path}: no column {', '.join(sorted(lacking))}")
        part.insert(0, "digest", run.digest)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def check_run(run: Run, folder: Path) -> None:
    """Refuse a run folder whose recorded configuration is not the one asked for.

    Raises:
        CollectError: naming the file and the first key that differs.
    """
    path = folder / RESULT_FILES["config"]
    recorded, wanted = _read(path), run.to_dict()
    for key in sorted(wanted.keys() | recorded.keys()):
        if json.dumps(recorded.get(key, ...), default=str) != json.dumps(
            wanted.get(key, ...), default=str
        ):
            raise CollectError(
                f"{path}: {key} is {recorded.get(key)!r}, the study asks for {wanted.get(key)!r}; "
                "delete the folder and run again"
            )
    metrics = folder / RESULT_FILES["metrics"]
    if _read(metrics).get("digest") != run.digest:
        raise CollectError(f"{metrics}: belongs to another run; delete the folder and run again")


def summary_row(run: Run, folder: Path) -> dict[str, Any]:
    """The axes of a run, its measures and its digest."""
    path = folder / RESULT_FILES["metrics"]
    metrics = _read(path)
    for name in MEASURES:
        value = metrics.get(name)
        if value is None and name in MAY_BE_MISSING and name in metrics:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise CollectError(f"{path}: {name} is {value!r}, not a number")
    axes = {axis: getattr(run, axis) for axis in AXES}
    return axes | {name: metrics[name] for name in MEASURES} | {"digest": run.digest}


def cell_means(summary: pd.DataFrame) -> pd.DataFrame:
    """One row a cell (all axes but the seed): seeds, mean, standard deviation, 95 % interval."""
    rows = []
    for values, group in summary.groupby(CELL, sort=False):
        row: dict[str, Any] = dict(zip(CELL, values)) | {"seeds": len(group)}
        for measure in ("acc", "learning_accuracy", "forgetting", "used_fraction", "seconds"):
            estimate = mean_interval(group[measure].dropna().tolist())
            row |= {
                f"{measure}_mean": estimate.mean,
                f"{measure}_sd": estimate.sd,
                f"{measure}_low": estimate.low,
                f"{measure}_high": estimate.high,
            }
        rows.append(row)
    return pd.DataFrame(rows)


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table whole or not at all."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except ValueError as error:
        raise CollectError(str(error)) from None
    if not isinstance(content, dict):
        raise CollectError(f"{path}: not a mapping")
    return content
