"""Finished runs to tables: one row per run, cell or comparison; and long tables for figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from dstcl.evaluation.axes import cell_axes
from dstcl.evaluation.compare import compare
from dstcl.evaluation.statistics import mean_interval
from dstcl.evaluation.verify import (
    CollectError,
    Say,
    places_of,
    read_lines,
    read_mapping,
    verify_runs,
)
from dstcl.storage import write_text
from dstcl.study.columns import ACCURACY, CAPACITY, DECISIONS, OVERLAP, PLASTICITY
from dstcl.study.run import ALL_FILES, RESULT_FILES, Run
from dstcl.study.seal import FILES as SEAL
from dstcl.study.standing import vouched_for

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
    "memory_bytes",
)
# Undefined for a single task, or where all tasks were learned at once.
MAY_BE_MISSING = ("bwt", "fwt", "fwt_by_position", "forgetting", "learning_accuracy")
# Not measured by the code that made older runs.
LATER = ("memory_bytes",)
LATER_COLUMNS = {"capacity": PLASTICITY}
"""Last columns of long tables that older runs do not have; their cells stay empty."""
LONG_TABLES = {"accuracy": ACCURACY, "capacity": CAPACITY}
EXPLORED = ("task", "epoch", "explored")
ARITHMETIC = ("precision", "layout", "device", "threads")
"""Columns of provenance.csv that decide how a run's sums are rounded."""
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


def collect(
    runs: Sequence[Run],
    study: Path,
    *,
    data: Path | None = None,
    thorough: bool = False,
    say: Say = lambda line: None,
) -> pd.DataFrame:
    """Write summary, cells, comparisons and the long tables as CSV; returns the summary.

    Args:
        runs: the runs the study means; other folders below ``study/runs`` are not read.
        study: folder of the study, where the tables are written.
        data: folder with prepared/ and tasks/, to compare runs with; None does not.
        thorough: verify masks and weights as well.
        say: told a line about what could not be verified, and one where runs computed in
            different ways.

    Raises:
        CollectError: a run is missing, was made with other parameters than the study asks for, by
            other code or on other data than those of now, or its files are not those it wrote.
    """
    folder = study / "runs"
    if not runs:
        raise CollectError(f"{study}: no runs")
    digests = [run.digest for run in runs]
    if len(set(digests)) < len(digests):
        repeated = sorted({digest for digest in digests if digests.count(digest) > 1})
        raise CollectError(f"{study}: run {repeated[0]} twice in the plan")
    for line in verify_runs(runs, folder, data=data, thorough=thorough).lines():
        say(line)
    summary, made, texts = what_was_found(runs, folder)
    for line in ways_of_computing(made):
        say(line)
    texts |= {"cells": _csv(cell_means(summary)), "comparisons": _csv(compare(summary))}
    # The summary last: after an interruption it is not that of the runs, and tells so.
    for name in sorted(texts, key=lambda name: name == "summary"):
        write_text(study / f"{name}.csv", texts[name])
    return summary


def what_was_found(
    runs: Sequence[Run], folder: Path
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
    """Summary and provenance of runs, and these and the long tables as the text of their files.

    Args:
        runs: finished ones.
        folder: that of all runs.

    Raises:
        CollectError: naming a file that is missing or not such a table.
    """
    summary = pd.DataFrame([summary_row(run, folder / run.folder) for run in runs])
    made = provenance(runs, folder)
    # Long tables are lines of text to be copied: parsing those of 10,000 runs takes minutes.
    texts = {name: long_table(name, columns, runs, folder) for name, columns in LONG_TABLES.items()}
    texts["overlap"] = long_table("overlap", OVERLAP, runs, folder, optional=True)
    controlled = [run for run in runs if run.controller is not None]
    texts["decisions"] = long_table("decisions", DECISIONS, controlled, folder)
    texts["history"] = history_table(runs, folder)
    return summary, made, texts | {"summary": _csv(summary), "provenance": _csv(made)}


def ways_of_computing(provenance: pd.DataFrame) -> list[str]:
    """A line where runs of one study differ in what rounds their numbers; else none."""
    ways = Counter(
        f"{made['precision']} {made['layout']} on {made['device']}, threads {made['threads']}"
        for made in provenance.to_dict("records")
    )
    if len(ways) < 2:
        return []
    told = "; ".join(f"{count} in {way}" for way, count in ways.items())
    return [f"runs computed in {len(ways)} ways, which differ by rounding: {told}"]


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
        path = folder / run.folder / ALL_FILES[name]
        if optional and not path.exists():
            continue
        header, lines = read_lines(path)
        later = [column for column in LATER_COLUMNS.get(name, ()) if column not in header]
        places = places_of(path, header, [column for column in columns if column not in later])
        blank = "," * len(later)
        if places == list(range(len(header))):
            parts += [f"{run.digest},{line}{blank}\n" for line in lines]
        else:
            for cells in (line.split(",") for line in lines):
                row = [run.digest, *(cells[place] for place in places)]
                parts.append(f"{','.join(row)}{blank}\n")
    return "".join(parts)


def history_table(runs: Sequence[Run], folder: Path) -> str:
    """Digest, task, epoch and explored fraction of every run, for some epochs of each task."""
    parts = [",".join(("digest", *EXPLORED)) + "\n"]
    for run in runs:
        path = folder / run.folder / RESULT_FILES["history"]
        if not path.exists():
            continue
        header, lines = read_lines(path)
        task, epoch, explored = places_of(path, header, EXPLORED)
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
        content = read_mapping(path)
        row: dict[str, Any] = {"digest": run.digest}
        for column, keys in MADE_BY.items():
            value: Any = content
            for key in keys:
                value = value.get(key) if isinstance(value, dict) else None
            row[column] = value
        # Both from the run itself: a table says whether it rests on somebody's word.
        row["vouched"] = vouched_for(run, path.parent)
        row["sealed"] = SEAL in read_mapping(path.with_name(RESULT_FILES["metrics"]))
        data = str(row["data_digest"])
        first, where = seen.setdefault(run.data_name, (data, path))
        if data != first:
            raise CollectError(
                f"{path}: trained on other images of {run.data_name} (data digest {data}) than "
                f"{where} ({first}); prepare the data once and run again"
            )
        rows.append(row)
    return pd.DataFrame(rows, columns=["digest", *MADE_BY, "vouched", "sealed"])


def summary_row(run: Run, folder: Path) -> dict[str, Any]:
    """The axes of a run, its measures and its digest."""
    path = folder / RESULT_FILES["metrics"]
    metrics = read_mapping(path)
    for name in MEASURES:
        value = metrics.get(name)
        if name in LATER and name not in metrics:
            continue
        if value is None and name in MAY_BE_MISSING and name in metrics:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise CollectError(f"{path}: {name} is {value!r}, not a number")
    measures = {name: metrics.get(name) for name in MEASURES}
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
