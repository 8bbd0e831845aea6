"""Train one run from its description and leave the files of the result contract behind."""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from dstcl import __version__
from dstcl.continual.flops import run_costs
from dstcl.continual.learner import Progress, learner_of
from dstcl.continual.precision import arithmetic_of, bfloat16_units
from dstcl.jobs.alone import training_alone
from dstcl.jobs.checkpoints import Checkpoints, Resumable, Start
from dstcl.jobs.epochs import EpochLog
from dstcl.jobs.inputs import read_inputs
from dstcl.jobs.interruption import CHECKPOINT_EVERY, StopRequest
from dstcl.jobs.results import data_facts, summarise, write_results
from dstcl.storage import read_json
from dstcl.study.code import training_code
from dstcl.study.run import RESULT_FILES, Run


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

    A run that was interrupted goes on from its last whole checkpoint, bit for bit on a CPU.
    SIGTERM, SIGUSR1, SIGHUP and Ctrl-C make it write one and stop. While another process trains the
    same run this waits, and takes the results if they are there then.

    Args:
        run: what to train.
        data_file: prepared data set.
        tasks_file: task split of that data set.
        out: folder of the run; metrics.json is written last.
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
        threads: CPU threads of torch; None leaves torch's choice.
        checkpoint_every: seconds between checkpoints in a task.

    Raises:
        ValueError: data or split are not those of the run; see `read_inputs`.
        Interrupted: a signal asked to stop; a checkpoint is written.
    """
    if threads:
        torch.set_num_threads(threads)
    files, epochs = (data_file, tasks_file), EpochLog(out)
    with training_alone(out) as waited:
        with epochs:
            metrics = _train(run, files, out, device, progress, checkpoint_every, epochs, waited)
        epochs.clear()
    return metrics


def _train(
    run: Run,
    files: tuple[Path, Path],
    out: Path,
    device: str,
    progress: Progress | None,
    checkpoint_every: float,
    epochs: EpochLog,
    waited: bool,
) -> dict[str, Any]:
    started, (data_file, tasks_file) = Start(), files
    where = torch.device(available_device(device))
    data, split = read_inputs(run, data_file, tasks_file)
    arithmetic = arithmetic_of(run.engine, where)
    code = training_code(run)
    origin = {
        "run": run.digest,
        "engine": f"{arithmetic.precision} {arithmetic.layout}",
        "data_digest": data.digest,
        "tasks_digest": split["digest"],
        "dstcl": __version__,
        "code": code,
        "torch": torch.__version__,
    }
    if waited and (made := _made_meanwhile(out, origin)):
        return made

    def after_epoch(task: int, epoch: int, row: dict[str, Any]) -> None:
        epochs.add(row)
        if progress:
            progress(task, epoch, row)

    with StopRequest() as stop:
        checkpoints = Checkpoints(out, checkpoint_every)
        saved = Resumable(checkpoints, origin, started, stop, _device_name(where))
        held_out = split.get("validation", [])
        learner = learner_of(run, data, split["tasks"], where, after_epoch, saved.pause, held_out)
        saved.resume(learner)
        epochs.begin(saved.first_start, learner.outcome.history)
        outcome = learner.fit()
    metrics = summarise(run, outcome, saved.seconds()) | run_costs(
        learner.method,
        outcome.store,
        outcome.history,
        outcome.effort.images,
        # Two: with statistics of the batch one image has none in maps of a single pixel.
        data.images[:2].to(where).float(),
    )
    metrics |= learner.method.report()
    provenance = {
        **_git_state(),
        "code": code,
        "versions": {
            "dstcl": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
        "device": _device_name(where),
        "devices": saved.devices,
        "threads": torch.get_num_threads(),
        "engine": {**asdict(arithmetic), "compile": run.engine.compile},
        "data_digest": data.digest,
        "tasks_digest": split["digest"],
        "started": _iso(saved.first_start),
        "finished": _iso(time.time()),
        "resumed": saved.resumed,
    }
    facts = data_facts(data, split["tasks"])
    metrics = write_results(out, run, outcome, metrics, provenance, facts)
    saved.checkpoints.clear()
    return metrics


def _made_meanwhile(out: Path, origin: Mapping[str, str]) -> dict[str, Any] | None:
    """The metrics of the same run, if the process that was waited for has finished it."""
    paths = [out / RESULT_FILES[kind] for kind in ("metrics", "provenance")]
    if not all(path.exists() for path in paths):
        return None
    metrics, provenance = (read_json(path) for path in paths)
    same = metrics.get("digest") == origin["run"] and all(
        provenance.get(key) == origin[key] for key in ("code", "data_digest", "tasks_digest")
    )
    return metrics if same else None


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
    instructions = f"{torch.backends.cpu.get_cpu_capability()} {bfloat16_units(device)}".rstrip()
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
