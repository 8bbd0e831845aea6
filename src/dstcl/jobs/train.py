"""Train one run from its description and leave the files of the result contract behind."""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from dstcl import __version__
from dstcl.codedigest import code_digest
from dstcl.continual.capacity import overlap_rows
from dstcl.continual.flops import run_costs
from dstcl.continual.learner import Learner, Outcome, Progress
from dstcl.continual.metrics import accuracy_matrix, all_metrics
from dstcl.continual.precision import arithmetic_of, has_bfloat16_units
from dstcl.data.stored import load_prepared, read_tasks
from dstcl.jobs.attempts import Attempts
from dstcl.jobs.checkpoints import Checkpoints
from dstcl.jobs.interruption import CHECKPOINT_EVERY, StopRequest
from dstcl.storage import write_json, write_table, write_tensors
from dstcl.study.run import RESULT_FILES, Run

ACCURACY_COLUMNS = ("after_task", "task", "accuracy")
HISTORY_COLUMNS = (
    "task",
    "epoch",
    "loss",
    "accuracy",
    "validation_accuracy",
    "learning_rate",
    "prune_rate",
    "density",
    "explored",
)
CAPACITY_COLUMNS = ("task", "layer", "size", "active", "new", "shared", "free")
OVERLAP_COLUMNS = ("task", "other", "shared", "jaccard")


def train_run(
    run: Run,
    data_file: Path,
    tasks_file: Path,
    out: Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
    checkpoint_every: float = CHECKPOINT_EVERY,
) -> dict[str, Any]:
    """Train, measure and write; returns the content of metrics.json.

    A run that was interrupted goes on from its last whole checkpoint, bit for bit on a CPU. SIGTERM
    and SIGUSR1 make it write one and stop.

    Args:
        run: what to train.
        data_file: prepared data set.
        tasks_file: task split of that data set.
        out: folder of the run; metrics.json is written last.
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
        threads: CPU threads of torch; None leaves torch's choice.
        checkpoint_every: seconds between checkpoints in a task.

    Raises:
        ValueError: the split belongs to other data, or to another number of tasks.
        Interrupted: a signal asked to stop; a checkpoint is written.
    """
    started = time.time()
    if threads:
        torch.set_num_threads(threads)
    where = torch.device(available_device(device))
    data, split = load_prepared(data_file), read_tasks(tasks_file)
    if split["data_digest"] != data.digest:
        raise ValueError(f"{tasks_file}: made for other data than {data_file}; make it again")
    if len(split["tasks"]) != run.tasks:
        raise ValueError(f"{tasks_file}: {len(split['tasks'])} tasks, the run has {run.tasks}")
    arithmetic = arithmetic_of(run, where)
    origin = {
        "run": run.digest,
        "engine": f"{arithmetic.precision} {arithmetic.layout}",
        "data_digest": data.digest,
        "tasks_digest": split["digest"],
        "dstcl": __version__,
        "code": code_digest("cli.train"),
        "torch": torch.__version__,
    }
    with StopRequest() as stop:
        checkpoints = Checkpoints(out, checkpoint_every)
        saved = Attempts(checkpoints, origin, started, stop, _device_name(where))
        held_out = split.get("validation", [])
        learner = Learner(run, data, split["tasks"], where, progress, saved.pause, held_out)
        saved.resume(learner)
        outcome = learner.fit()
    metrics = summarise(run, outcome, saved.seconds()) | run_costs(
        run,
        outcome.store,
        outcome.history,
        outcome.effort.images,
        # Two: with statistics of the batch one image has none in maps of a single pixel.
        data.images[:2].to(where).float(),
    )
    provenance = {
        **_git_state(),
        "versions": {
            "dstcl": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
        "device": _device_name(where),
        "devices": saved.devices,
        "threads": torch.get_num_threads(),
        "engine": {**asdict(arithmetic), "compile": run.compile},
        "data_digest": data.digest,
        "tasks_digest": split["digest"],
        "started": _iso(saved.first_start),
        "finished": _iso(time.time()),
        "resumed": saved.resumed,
    }
    metrics = write_results(out, run, outcome, metrics, provenance)
    saved.checkpoints.clear()
    return metrics


def summarise(run: Run, outcome: Outcome, seconds: float) -> dict[str, Any]:
    """The content of metrics.json but for costs; images/s count training steps alone.

    Args:
        seconds: wall time of the run.
    """
    capacity = outcome.store.capacity()
    sizes = sum(int(row["size"]) for row in capacity if row["task"] == 1)
    return {
        "digest": run.digest,
        **all_metrics(accuracy_matrix(outcome.accuracy)),
        "used_fraction": outcome.store.used_fraction(),
        "seconds": round(seconds, 3),
        "images_per_second": round(outcome.effort.images / outcome.effort.seconds, 1),
        "density_per_task": [
            sum(int(row["active"]) for row in capacity if row["task"] == task) / sizes
            for task in range(1, len(outcome.store.subnets) + 1)
        ],
    }


def write_results(
    out: Path,
    run: Run,
    outcome: Outcome,
    metrics: dict[str, Any],
    provenance: dict[str, Any],
) -> dict[str, Any]:
    """Write every file of the contract, each whole or not at all, metrics.json last.

    Returns:
        The metrics, with the bytes on disk of a task's mask; 0 for dense methods, which need none.
    """
    store = outcome.store
    path = {key: out / name for key, name in RESULT_FILES.items()}
    shapes = {name: list(value.shape) for name, value in store.dense.items()}
    masks = {
        f"task{task}/{name}": packed
        for task, subnet in enumerate(store.subnets, start=1)
        for name, packed in subnet.masks.packed.items()
    }
    weights = {f"dense/{name}": value for name, value in store.dense.items()} | {
        f"task{task}/{name}": value
        for task, subnet in enumerate(store.subnets, start=1)
        for name, value in subnet.local.items()
    }
    write_json(path["config"], run.to_dict())
    write_table(path["accuracy"], ACCURACY_COLUMNS, outcome.accuracy)
    write_table(path["history"], HISTORY_COLUMNS, outcome.history)
    write_table(path["capacity"], CAPACITY_COLUMNS, store.capacity())
    overlaps = overlap_rows([subnet.masks for subnet in store.subnets])
    write_table(path["overlap"], OVERLAP_COLUMNS, overlaps)
    write_tensors(path["masks"], masks, {"shapes": shapes})
    write_tensors(path["weights"], weights, {"digest": run.digest})
    write_json(path["provenance"], provenance)
    mask_bytes = 0 if run.init == "none" else path["masks"].stat().st_size / len(store.subnets)
    metrics = metrics | {"mask_bytes": mask_bytes}
    write_json(path["metrics"], metrics)
    return metrics


def available_device(device: str) -> str:
    """The device to train on; "auto" is a GPU where there is one.

    Raises:
        ValueError: torch cannot use that one here.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device {device!r}: no GPU that torch can use on this machine")
    return device


def _device_name(device: torch.device) -> str:
    """The card, or the processor with the instructions that torch uses on it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    instructions = torch.backends.cpu.get_cpu_capability() + " AMX" * has_bfloat16_units(device)
    return f"cpu ({platform.machine()}, {instructions})"


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _git_state() -> dict[str, Any]:
    """Commit and whether tracked files differ from it; both None outside a repository."""
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "-uno")
    return {"git_commit": commit, "git_dirty": None if changes is None else bool(changes)}


def _git(*arguments: str) -> str | None:
    command: Sequence[str] = ("git", *arguments)
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
