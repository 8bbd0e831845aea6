"""Memory of a run against its tasks and its network's width, and what a finished task keeps.

    python benchmarks/memory.py [--network resnet18] [--device cpu]

A few minutes; writes memory-<network>-<device>.json here. Each run has a process of its own, with
all files and a checkpoint after every task; one step and one topology update a task, as nothing
that a run keeps or allocates depends on the number of images. On Linux each is made twice: as it
is, and with a C library that gives freed tensors back to the system at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import torch
from machine import machine, record
from subjects import default_width
from tables import print_table
from whole_run import whole_run

from dstcl.networks import NETWORKS

TASKS = (1, 5, 10, 20)
WIDTHS = (8, 16, 32)
TASKS_OF_WIDTHS = 5
SHORTEST = {"epochs": 1, "update_every": 1, "stop_at": 1.0}
FEW_IMAGES = 71
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": str(128 * 1024)}
"""For glibc: larger pieces are never kept for later ones."""
MIB = 2**20


def memory(
    network: str, tasks: Sequence[int], widths: Sequence[int], device: str
) -> list[dict[str, Any]]:
    """Runs of more and more tasks, then of networks of these widths."""
    subjects: list[tuple[int | None, int]] = [(None, count) for count in tasks]
    subjects += [(width, TASKS_OF_WIDTHS) for width in widths]
    rows = []
    for width, count in subjects:
        arguments = (network, width, FEW_IMAGES, device)
        row = whole_run(*arguments, tasks=count, **SHORTEST)
        if sys.platform == "linux":
            with patch.dict(os.environ, GIVE_BACK):
                row["peak_giving_back"] = whole_run(*arguments, tasks=count, **SHORTEST)["peak"]
        rows.append({"width": width or default_width(network), "tasks": count} | row)
    return rows


def print_memory(runs: Sequence[dict[str, Any]]) -> None:
    """One row per run; memory of a process and a checkpoint in MiB, what a task adds in KiB."""

    def unit(run: dict[str, Any], name: str, size: int, digits: int | None = None) -> float | str:
        return round(run[name] / size, digits) if name in run else ""

    print_table(
        (
            *("width", "weights", "tasks", "peak, MiB", "giving back, MiB", "GPU, MiB"),
            *("checkpoint, MiB", "mask in memory, KiB", "mask on disk, KiB"),
            "own head and norms, KiB",
        ),
        (
            (
                *(run["width"] or "", f"{run['weights']:,}", run["tasks"]),
                *(unit(run, of, MIB) for of in ("peak", "peak_giving_back", "gpu_peak")),
                unit(run, "checkpoint", MIB),
                *(unit(run, of, 1024, 1) for of in ("mask_in_memory", "mask_in_file", "own")),
            )
            for run in runs
        ),
    )


def main() -> None:
    """Measure, record and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=NETWORKS, default="resnet18")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tasks", type=int, nargs="*", default=TASKS)
    parser.add_argument("--widths", type=int, nargs="*", default=WIDTHS)
    options = parser.parse_args()
    told = machine(device=torch.device(options.device)) | {"network": options.network}
    widths = options.widths if default_width(options.network) else ()
    runs = memory(options.network, options.tasks, widths, options.device)
    print_memory(runs)
    record(f"memory-{options.network}-{torch.device(options.device).type}", told | {"runs": runs})


if __name__ == "__main__":
    main()
