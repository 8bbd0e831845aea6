"""Finished runs to tables: one row per run, cell or comparison; and long tables for figures."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from dstcl.evaluation.axes import cell_axes
from dstcl.evaluation.compare import compare
from dstcl.evaluation.statistics import mean_interval
from dstcl.storage import read_json, write_text
from dstcl.study.recorded import AGAIN, read_config
from dstcl.study.run import RESULT_FILES, Run

MEASURES = (
    "acc",
    "bwt",
    "fwt",
    "fwt_by_position",
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
MAY_BE_MISSING = ("bwt", "fwt", "fwt_by_position", "forgetting", "learning_accuracy")
LONG_TABLES = {
    "accuracy": ("after_task", "task", "accuracy"),
    "capacity": ("task", "layer", "size", "active", "new", "shared", "free"),
}
OVERLAP = ("task", "other", "shared", "jaccard")
HISTORY = ("task", "epoch", "explored")
EPOCHS_KEPT = 20
"""Epochs per task that the study's table of the history keeps: evenly spread, with both ends."""
MADE_BY = {
    "code": ("code",),
    "git_commit": ("git_commit",),
    "git_dirty": ("git_dirty",),
    "device": ("device",),
    "threads": ("threads",),
    "precision": ("engine", "precision"),
    "layout": ("engine", "layout"),
    "python": ("versions", "python"),
    "torch": ("versions", "torch"),
    "data_digest": ("data_digest",),
    "started": ("started",),
    "finished": ("finished",),
}
"""Columns of provenance.csv: where they are in a run's provenance.json."""
FILES = {"overlap": "overlap.csv", **RESULT_FILES}


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
        "provenance": provenance(runs, folder),
    }
    # Long tables are lines of text to be copied: parsing those of 10,000 runs takes minutes.
    texts = {name: long_table(name, columns, runs, folder) for name, columns in LONG_TABLES.items()}
    texts["overlap"] = long_table("overlap", OVERLAP, runs, folder, optional=True)
    texts["history"] = history_table(runs, folder)
    texts |= {name: _csv(table) for name, table in tables.items()}
    for name, text in texts.items():
        write_text(study / f"{name}.csv", text)
    return summary


def long_table(
    name: str,
    columns: Sequence[str],
    runs: Sequence[Run],
    folder: Path,
    *,
    optional: bool = False,
) -> str:
    """These columns of every run's table, one run below the other, with its digest in front.

    Raises:
        CollectError: naming the file that is missing (unless ``optional``) or not such a table.
    """
    parts = [",".join(("digest", *columns)) + "\n"]
    for run in runs:
        path = folder / run.folder / FILES[name]
        if optional and not path.exists():
            continue
        header, lines = _lines(path)
        places = _places(path, header, columns)
        if places == list(range(len(header))):
            parts += [f"{run.digest},{line}\n" for line in lines]
        else:
            for cells in (line.split(",") for line in lines):
                parts.append(",".join([run.digest, *(cells[place] for place in places)]) + "\n")
    return "".join(parts)


def history_table(runs: Sequence[Run], folder: Path) -> str:
    """Digest, task, epoch and explored fraction of every run, for some epochs of each task."""
    parts = [",".join(("digest", *HISTORY)) + "\n"]
    for run in runs:
        path = folder / run.folder / RESULT_FILES["history"]
        if not path.exists():
            continue
        header, lines = _lines(path)
        task, epoch, explored = _places(path, header, HISTORY)
        step = max(1, -(-run.training.epochs // EPOCHS_KEPT))
        kept = {str(number) for number in range(run.training.epochs, 0, -step)} | {"1"}
        for cells in (line.split(",") for line in lines):
            if cells[epoch] in kept:
                parts.append(f"{run.digest},{cells[task]},{cells[epoch]},{cells[explored]}\n")
    return "".join(parts)


def provenance(runs: Sequence[Run], folder: Path) -> pd.DataFrame:
    """Where and with what each run was made; one data set must be the same in all runs.

    Raises:
        CollectError: two runs of a data set were trained on different images.
    """
    rows: list[dict[str, Any]] = []
    seen: dict[str, tuple[str, Path]] = {}
    for run in runs:
        path = folder / run.folder / RESULT_FILES["provenance"]
        if not path.exists():
            continue
        content = _read(path)
        row: dict[str, Any] = {"digest": run.digest}
        for column, keys in MADE_BY.items():
            value: Any = content
            for key in keys:
                value = value.get(key) if isinstance(value, dict) else None
            row[column] = value
        data = str(row["data_digest"])
        first, where = seen.setdefault(run.data_name, (data, path))
        if data != first:
            raise CollectError(
                f"{path}: trained on other images of {run.data_name} (data digest {data}) than "
                f"{where} ({first}); prepare the data once and run again"
            )
        rows.append(row)
    return pd.DataFrame(rows, columns=["digest", *MADE_BY])


def _lines(path: Path) -> tuple[list[str], list[str]]:
    """Header and rows of a CSV file without quotes, as this project writes them."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CollectError(f"{path}: not a table ({error})") from None
    first, *lines = text.splitlines() or [""]
    header = first.split(",")
    if any(line.count(",") != len(header) - 1 for line in lines):
        raise CollectError(f"{path}: not a table (rows of different length)")
    return header, lines


def _places(path: Path, header: Sequence[str], columns: Sequence[str]) -> list[int]:
    if lacking := [column for column in columns if column not in header]:
        raise CollectError(f"{path}: no column {', '.join(sorted(lacking))}")
    return [header.index(column) for column in columns]


def check_run(run: Run, folder: Path) -> None:
    """Refuse a run folder whose recorded configuration is not the one asked for.

    Raises:
        CollectError: naming the file and the first key that differs.
    """
    try:
        recorded = read_config(folder)
    except ValueError as error:
        raise CollectError(str(error)) from None
    if recorded.digest != run.digest:
        path = folder / RESULT_FILES["config"]
        difference = _first_difference(recorded.to_dict(), run.to_dict())
        raise CollectError(f"{path}: {difference}; {AGAIN}")
    metrics = folder / RESULT_FILES["metrics"]
    if _read(metrics).get("digest") != run.digest:
        raise CollectError(f"{metrics}: belongs to another run; {AGAIN}")


def _first_difference(recorded: dict[str, Any], wanted: dict[str, Any]) -> str:
    """The first setting that two descriptions do not share, in words."""
    for section, values in wanted.items():
        if not isinstance(values, dict):
            continue
        theirs = recorded[section]
        for name in [*values, *theirs]:
            if theirs.get(name, ...) != values.get(name, ...):
                have, want = theirs.get(name), values.get(name)
                return f"{section}.{name} is {have!r}, the study asks for {want!r}"
    return "is of another run"


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
    measures = {name: metrics[name] for name in MEASURES}
    return run.axes() | {"tasks_learned": run.learned} | measures | {"digest": run.digest}


def cell_means(summary: pd.DataFrame) -> pd.DataFrame:
    """One row per cell (all axes but the seed): seeds, mean, standard deviation, 95 % interval."""
    axes, rows = cell_axes(summary), []
    for values, group in summary.groupby(axes, sort=False):
        row: dict[str, Any] = dict(zip(axes, values)) | {"seeds": len(group)}
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


def _csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, lineterminator="\n")


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table whole or not at all."""
    write_text(path, _csv(table))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except ValueError as error:
        raise CollectError(str(error)) from None
    if not isinstance(content, dict):
        raise CollectError(f"{path}: not a mapping")
    return content
