"""Entries made of others: the parent of a configuration's seeds, and the figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from dstcl.tracking.entry import FAILED, FINISHED, KEY, KIND, RUNNING, Entry, digest
from dstcl.tracking.files import reference

AGGREGATED = ("acc", "forgetting", "used_fraction", "seconds")
SHARED_TAGS = ("dstcl.protocol", "dstcl.data_digest")


def parent(key: str, members: Sequence[Entry]) -> Entry:
    """The entry of a configuration from those of its seeds (at least one).

    Means and deviations are over the finished ones. Its status is the worst of all: a failed seed
    shows in a list of configurations.
    """
    finished = [run for run in members if run.status == FINISHED]
    failed = [run for run in members if run.failed]
    metrics = [("seeds", float(len(finished)), 0)]
    metrics += [("failed_seeds", float(len(failed)), 0)] if failed else []
    latest = [{name: value for name, value, _ in run.metrics} for run in finished]
    for name in AGGREGATED:
        values = [run[name] for run in latest if name in run]
        metrics += [(f"{name}_mean", mean(values), 0)] if values else []
        metrics += [(f"{name}_std", stdev(values), 0)] if len(values) > 1 else []
    running = [run for run in members if run.status == RUNNING]
    first = (finished or list(members))[0]
    tags = {name: value for name, value in first.tags.items() if name in SHARED_TAGS}
    return Entry(
        first.name.rpartition(" ")[0],
        digest(*sorted(f"{run.key} {run.content}" for run in members)),
        tags | {KIND: "configuration", KEY: key},
        min(run.start for run in members),
        max(run.end for run in members),
        {name: value for name, value in first.params.items() if name != "seed"},
        metrics,
        status=FAILED if failed else RUNNING if running else FINISHED,
    )


def figures(paths: Sequence[Path]) -> Entry:
    """The entry that holds every figure of a preset."""
    paths = sorted(paths)
    tags = {f"dstcl.figure.{path.name}": reference(path) for path in paths}
    times = [int(path.stat().st_mtime * 1000) for path in paths]
    return Entry(
        "figures",
        digest(*tags.values()),
        tags | {KIND: "figures", KEY: "figures"},
        min(times),
        max(times),
        artifacts=list(paths),
    )
