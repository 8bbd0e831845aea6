"""The entry of a finished run, from the files in its folder."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from math import isclose
from pathlib import Path
from statistics import mean
from typing import Any

from dstcl.storage import read_json
from dstcl.study.recorded import read_config
from dstcl.study.run import ALL_FILES, RESULT_FILES
from dstcl.study.seal import FILES, check_seal, file_digest
from dstcl.tracking.entry import (
    CONFIGURATION,
    KEY,
    KIND,
    Entry,
    Metric,
    digest,
    parameters,
    text,
    titles,
)
from dstcl.tracking.files import naming, reference, table

# Masks and weights are large; metrics.json is rewritten whenever they are, so it stands for them.
LARGE = ("masks", "weights")
NEEDED = ("config", "metrics", "accuracy", "history", "capacity", "provenance")
ONCE = ("validation_accuracy", "learning_rate", "prune_rate", "density", "explored")
RENAMED = {"loss": "train_loss", "accuracy": "train_accuracy"}


def small_files(folder: Path) -> list[Path]:
    """Every result file that is not large, those included that must be there and are not."""
    files = {kind: folder / name for kind, name in ALL_FILES.items() if kind not in LARGE}
    return [path for kind, path in files.items() if kind in NEEDED or path.is_file()]


def content(folder: Path) -> str:
    """Digest over the small result files of a run.

    Raises:
        ValueError: naming the file that is missing, or was changed since the run wrote it.
    """
    read_config(folder)  # of a run of older code this says more than a seal does
    metrics = read_json(folder / RESULT_FILES["metrics"])
    if not isinstance(metrics, dict):
        raise ValueError(f"{folder / RESULT_FILES['metrics']}: not a mapping")
    said = metrics[FILES] if check_seal(folder, metrics) else {}
    return digest(*(said.get(path.name) or file_digest(path) for path in small_files(folder)))


def read_finished(folder: Path, key: str, content: str) -> Entry:
    """The entry of one finished run folder; raises ValueError naming the bad file."""
    files = {kind: folder / name for kind, name in ALL_FILES.items()}
    run = read_config(folder)
    name, configuration = titles(run)
    with naming(files["metrics"]):
        summary = json.loads(files["metrics"].read_text())
        tags = {"dstcl.digest": text(summary["digest"]), "dstcl.protocol": run.protocol}
    with naming(files["provenance"]):
        origin = json.loads(files["provenance"].read_text())
        times = [datetime.fromisoformat(origin[name]) for name in ("started", "finished")]
        names = {f"dstcl.{n}": n for n in ("git_dirty", "data_digest", "tasks_digest", "device")}
        names["mlflow.source.git.commit"] = "git_commit"  # None outside a repository
        tags |= {tag: text(origin[n]) for tag, n in names.items() if origin.get(n) is not None}
        versions = origin.get("versions", {})
        tags |= {f"dstcl.version.{package}": text(v) for package, v in versions.items()}
    tags |= {f"dstcl.file.{f.name}": reference(f) for f in files.values() if f.is_file()}
    metrics = over_epochs(table(files["history"], RENAMED, ONCE)) + _over_tasks(files["accuracy"])
    return Entry(
        name,
        content,
        {KIND: "seed", KEY: key, CONFIGURATION: configuration, **tags},
        start=int(times[0].timestamp() * 1000),
        end=int(times[1].timestamp() * 1000),
        params=parameters(run),
        metrics=metrics + _final(summary, _used(files["capacity"])),
        artifacts=small_files(folder),
    )


def over_epochs(rows: Iterable[Mapping[str, Any]]) -> list[Metric]:
    """Curves of rows of history, in order; epochs count on through the tasks."""
    return [
        (RENAMED.get(column, column), float(row[column]), step)
        for step, row in enumerate(rows, start=1)
        for column in (*RENAMED, *ONCE)
        if row.get(column) is not None
    ]


def _over_tasks(path: Path) -> list[Metric]:
    """Curves of accuracy.csv: of each task, and the mean over the tasks seen so far."""
    matrix = table(path, ("after_task", "task", "accuracy"))
    first = min((row["task"] for row in matrix), default=0)  # tasks may count from 0 or from 1
    metrics: list[Metric] = []
    seen: dict[int, list[float]] = defaultdict(list)
    for row in matrix:
        after, task, accuracy = int(row["after_task"]), row["task"], row["accuracy"]
        metrics.append((f"accuracy_task_{task:g}", accuracy, after))
        if task - first < after:
            seen[after].append(accuracy)
    return metrics + [("accuracy_mean_seen", mean(seen[after]), after) for after in seen]


def _used(path: Path) -> list[Metric]:
    """The used share of the network after each task, from capacity.csv."""
    room: dict[float, list[tuple[float, float]]] = defaultdict(list)  # task -> layers
    for row in table(path, ("task", "size", "free")):
        room[row["task"]].append((row["size"], row["free"]))
    totals = [map(sum, zip(*layers, strict=True)) for _, layers in sorted(room.items())]
    return [("used_fraction", 1 - free / size, step) for step, (size, free) in enumerate(totals, 1)]


def _final(summary: Mapping[str, Any], used: list[Metric]) -> list[Metric]:
    """Every number of metrics.json, and every list of numbers as a curve over tasks."""
    metrics: list[Metric] = []
    for name, value in summary.items():
        if isinstance(value, list):
            points = [v for v in value if _is_number(v)]
            metrics += [(name, float(v), step) for step, v in enumerate(points, start=1)]
        elif _is_number(value):
            metrics.append((name, float(value), 0))
    # The curve says more than the number where it ends there; with a network of its own for each
    # task it does not.
    final = [value for name, value, _ in metrics if name == "used_fraction"]
    if used and final and isclose(used[-1][1], final[-1], abs_tol=1e-6):
        metrics = [metric for metric in metrics if metric[0] != "used_fraction"] + used
    return metrics


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
