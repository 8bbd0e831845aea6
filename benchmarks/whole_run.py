"""A whole training as a job makes it, in a process of its own: where its time and memory go."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import torch
from machine import peak_memory
from paces import timed, timed_updates
from subjects import of_width, random_data, short_run, task_classes, write_data
from torch import Tensor

from dstcl.continual import Learner, Outcome, learner
from dstcl.jobs import train as record
from dstcl.jobs.checkpoints import FOLDER, Checkpoints

T = TypeVar("T")


def alone(function: Callable[..., T], *arguments: Any) -> T:
    """What a function returns in a fresh process, which ends with it."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def whole_run(
    network: str, width: int | None, images: int, device: str, **settings: Any
) -> dict[str, Any]:
    """Train on random data, with all result files, and a checkpoint after every task.

    Args:
        network, width: see `of_width`.
        images: of a task, the last tenth of them for testing.
        settings: of the run, see `short_run`.

    Returns:
        ``seconds`` from the start of the process, by part; memory and files in bytes: ``peak`` and
        ``start`` of the process, ``gpu_peak``, ``checkpoint``, and of a task ``mask_in_memory``,
        ``mask_in_file`` and ``own`` (head and norms); ``weights`` that masks are about.
    """
    tasks = task_classes(settings.get("tasks", 1))
    with tempfile.TemporaryDirectory() as folder:
        data = random_data(images, 32, 3, len(tasks))
        files = write_data(Path(folder), data, tasks)
        out = Path(folder) / "run"
        launched = time.monotonic()
        found = alone(_train, launched, network, width, files, out, device, settings)
        checkpoints = [path.stat().st_size for path in (out / FOLDER).iterdir()]
    return found | {"checkpoint": max(checkpoints)}


def _train(
    launched: float,
    network: str,
    width: int | None,
    files: tuple[Path, Path],
    out: Path,
    device: str,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """What `whole_run` returns but for the checkpoints, whose files it leaves behind."""
    started, start = time.monotonic(), peak_memory()
    where = torch.device(device)
    run = short_run(of_width(network, width), **settings)
    with ExitStack() as watching:
        watched = {
            "topology updates": watching.enter_context(timed_updates(where)),
            "evaluation": watching.enter_context(timed(learner, "measure_accuracy", where)),
            "checkpoints": watching.enter_context(timed(Checkpoints, "save", where)),
            "result files": watching.enter_context(timed(record, "write_results", where)),
        }
        outcomes = watching.enter_context(_outcomes())
        watching.enter_context(patch.object(Checkpoints, "due", lambda _, task_end: task_end))
        watching.enter_context(patch.object(Checkpoints, "clear", lambda _: None))
        metrics = record.train_run(run, *files, out, device=device)
    ended = time.monotonic()
    store, effort = outcomes[0].store, outcomes[0].effort
    seconds = {"start-up": started - launched}
    seconds["training steps"] = effort.seconds - sum(watched["topology updates"])
    seconds |= {part: sum(calls) for part, calls in watched.items()}
    seconds["everything else"] = ended - launched - sum(seconds.values())
    last = store.subnets[-1]
    return {
        "seconds": seconds,
        "images": effort.images,
        "weights": sum(value.numel() for value in store.dense.values()),
        "start": start,
        "peak": peak_memory(),
        "gpu_peak": torch.cuda.max_memory_allocated(where) if where.type == "cuda" else 0,
        "mask_in_memory": _bytes(last.masks.packed.values()),
        "mask_in_file": round(metrics["mask_bytes"]),
        "own": _bytes(last.local.values()),
    }


@contextmanager
def _outcomes() -> Iterator[list[Outcome]]:
    """What learners end with in the block."""
    fit, outcomes = Learner.fit, list[Outcome]()

    def fit_and_keep(trained: Learner) -> Outcome:
        outcomes.append(fit(trained))
        return outcomes[-1]

    with patch.object(Learner, "fit", fit_and_keep):
        yield outcomes


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
