"""Finished runs and small studies, written in no time: what a training would leave, with numbers
that are known beforehand."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from dstcl.storage import read_json, write_bytes, write_json, write_text
from dstcl.study.code import training_code
from dstcl.study.columns import ACCURACY, CAPACITY, HISTORY, OVERLAP
from dstcl.study.plan import write_plan
from dstcl.study.run import RESULT_FILES, Run
from dstcl.study.seal import sealed

TIMED = ("metrics.json", "provenance.json")
SIZE = 100
"""Weights of the one layer; each task takes a tenth of them."""


def finished_run(
    study: Path,
    run: Run,
    *,
    metrics: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    files: Mapping[str, str | bytes | None] | None = None,
    seal: bool = True,
) -> Path:
    """Write every file of a finished run into the place that it has below a study.

    Args:
        metrics: what metrics.json says otherwise.
        provenance: what provenance.json says otherwise.
        files: whole content of files by their key in RESULT_FILES; None to leave one out.
        seal: whether metrics.json has digests of the files, if all are there; older runs have none.

    Returns:
        The folder of the run.
    """
    folder = study / "runs" / run.folder
    content: dict[str, Any] = {
        "config": run.to_dict(),
        "provenance": _provenance(run) | dict(provenance or {}),
        "masks": b"masks",
        "weights": b"weights",
        **_tables(run),
        **(files or {}),
    }
    for kind, value in content.items():
        path = folder / RESULT_FILES[kind]
        if isinstance(value, dict):
            write_json(path, value)
        elif value is not None:
            write_bytes(path, value.encode() if isinstance(value, str) else value)
    found = _metrics(run) | _last_row(content["accuracy"]) | dict(metrics or {})
    whole = seal and all(value is not None for value in content.values())
    if "metrics" not in content:
        write_json(folder / RESULT_FILES["metrics"], sealed(found, folder) if whole else found)
    return folder


def small_study(
    study: Path,
    runs: Sequence[Run],
    preset: str = "tiny",
    *,
    finished: Iterable[Run] | None = None,
    **how: Any,
) -> Path:
    """A study's plan and its finished runs, all unless told otherwise; ``how`` as in
    `finished_run`. Returns the folder of the study."""
    write_plan(preset, runs, study / "plan.json")
    for run in runs if finished is None else finished:
        finished_run(study, run, **how)
    return study


def study_tables(
    study: Path, tables: Mapping[str, pd.DataFrame | list[dict[str, Any]] | str]
) -> None:
    """Write tables of a study by name: a table, its rows, or the text of the file."""
    for name, table in tables.items():
        rows = pd.DataFrame(table) if isinstance(table, list) else table
        text = rows if isinstance(rows, str) else rows.to_csv(index=False)
        write_text(study / f"{name}.csv", text)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as its file has it."""
    return "".join(",".join(map(str, row)) + "\n" for row in [columns, *rows])


def same_results(first: Path, second: Path) -> bool:
    """Whether the folders of two runs hold the same but for times."""
    metrics = [read_json(folder / "metrics.json") for folder in (first, second)]
    for values in metrics:
        del values["seconds"], values["images_per_second"]
        del values["files"]["provenance.json"], values["checksum"]
    return metrics[0] == metrics[1] and all(
        (first / name).read_bytes() == (second / name).read_bytes()
        for name in RESULT_FILES.values()
        if name not in TIMED
    )


def _metrics(run: Run) -> dict[str, Any]:
    return {
        "digest": run.digest,
        "acc": 0.8,
        "bwt": 0.0,
        "fwt": 0.0,
        "fwt_by_position": None,
        "forgetting": 0.0,
        "learning_accuracy": 0.8,
        "used_fraction": run.tasks / 10,
        "seconds": 10.0,
        "images_per_second": 1000.0,
        "density_per_task": [0.1] * run.tasks,
        "inference_flops": 2.0e4,
        "training_flops": 3.0e9,
        "mask_bytes": 380.2,
        "memory_bytes": 5.0e4,
    }


def _last_row(accuracy: str | bytes | None) -> dict[str, float]:
    """The ACC of a table of accuracies, where it is one."""
    rows = list(csv.DictReader(accuracy.splitlines())) if isinstance(accuracy, str) else []
    try:
        last = max(int(row["after_task"]) for row in rows)
        seen = [row for row in rows if int(row["after_task"]) == last >= int(row["task"])]
        return {"acc": fmean(float(row["accuracy"]) for row in seen)}
    except (KeyError, TypeError, ValueError):
        return {}


def _code(run: Run) -> str:
    """Of the code now, as far as there is such a network."""
    try:
        return training_code(run)
    except ValueError:
        return "c0de"


def _provenance(run: Run) -> dict[str, Any]:
    return {
        "code": _code(run),
        "git_commit": "c0ffee",
        "git_dirty": False,
        "versions": {"python": "3.11", "torch": "2.15"},
        "device": "cpu",
        "threads": 1,
        "data_digest": f"images-of-{run.data_name}",
        "tasks_digest": "5917",
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T03:04:15+00:00",
    }


def _tables(run: Run) -> dict[str, str]:
    """Accuracy 0.8 of what was learned and 0.2 of what was not; a tenth of the layer a task."""
    tasks, epochs = range(1, run.tasks + 1), range(1, run.training.epochs + 1)
    accuracy = [(i, j, 0.8 if j <= i else 0.2) for i in range(run.tasks + 1) for j in tasks]
    history = [(t, e, 1 / e, 1 - 0.5 / e, "", 0.01, 0.3, 0.1, 0.2) for t in tasks for e in epochs]
    new = SIZE // 10
    capacity = [(t, "conv", SIZE, new, new, 0, SIZE - new * t, 9, 1, 0.5, 2.5) for t in tasks]
    overlap = [(t, other, 0, 0.0) for t in tasks for other in range(1, t)]
    return {
        "accuracy": csv_text(ACCURACY, accuracy),
        "history": csv_text(HISTORY, history),
        "capacity": csv_text(CAPACITY, capacity),
        "overlap": csv_text(OVERLAP, overlap),
    }
