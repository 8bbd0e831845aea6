"""Many runs from one command: start-up is paid once a process, and several share a card."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from types import FrameType
from typing import Any

from dstcl.continual.record import CHECKPOINT_EVERY, train_run
from dstcl.interruption import SIGNALS, Interrupted
from dstcl.progress import EpochProgress
from dstcl.runs import RESULT_FILES, Run
from dstcl.storage import read_json


@dataclass(frozen=True)
class Place:
    """Where runs find their data and leave their results.

    Attributes:
        data: folder with prepared/ and tasks/, as the pipeline makes it.
        out: folder of the runs' folders.
        logs: folder of a log a run, named as the pipeline names them.
        device, threads, checkpoint_every: see `train_run`; threads are those of one run.
    """

    data: Path
    out: Path
    logs: Path
    device: str = "auto"
    threads: int | None = None
    checkpoint_every: float = CHECKPOINT_EVERY

    def train(self, run: Run) -> dict[str, Any]:
        """Train one run; its metrics."""
        path = self.logs / f"{run.folder}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as log, redirect_stderr(log), EpochProgress(run) as progress:
            try:
                return train_run(
                    run,
                    self.data / run.data_file,
                    self.data / run.tasks_file,
                    self.out / run.folder,
                    device=self.device,
                    threads=self.threads,
                    progress=progress,
                    checkpoint_every=self.checkpoint_every,
                )
            except Exception as error:
                print(f"dstcl: {error}", file=log)
                raise

    def finished(self, run: Run) -> bool:
        """Whether the run's last file is there and is this run's."""
        metrics = self.out / run.folder / RESULT_FILES["metrics"]
        return metrics.exists() and read_json(metrics).get("digest") == run.digest


class SomeFailed(ValueError):
    """Runs that failed, one line each."""


def train_many(runs: Sequence[Run], place: Place, at_once: int, say: Callable[[str], None]) -> None:
    """Train what is not finished, so many runs at a time, each in a process that trains many.

    A failed run does not stop the others. After an interruption the same call goes on.

    Args:
        runs: in the order in which they start.
        place: of data and results.
        at_once: runs at a time; 1 trains in this process.
        say: told a line about every run.

    Raises:
        SomeFailed: at the end, naming every run that failed and why.
        Interrupted: a signal asked to stop; checkpoints are written.
        FileNotFoundError: a prepared file or a split is missing, before anything is trained.
    """
    left = [run for run in runs if not place.finished(run)]
    say(f"{len(runs)} runs, {len(runs) - len(left)} of them finished")
    for file in dict.fromkeys(f for run in left for f in (run.data_file, run.tasks_file)):
        if not (place.data / file).exists():
            raise FileNotFoundError(f"{place.data / file}: no such file; make it first")
    failed = []
    results = _one_by_one if at_once == 1 else _at_once(at_once)
    for done, (run, metrics) in enumerate(results(left, place), start=1):
        if isinstance(metrics, Exception):
            failed.append(f"{run.folder}: {metrics}")
            say(f"{done}/{len(left)}  {run.folder}  FAILED: {metrics}")
        else:
            say(f"{done}/{len(left)}  {run.folder}  accuracy {metrics['acc']:.4f}")
    if failed:
        raise SomeFailed(f"{len(failed)} of {len(left)} runs failed; " + "; ".join(failed))


Result = tuple[Run, dict[str, Any] | Exception]


def _one_by_one(runs: Sequence[Run], place: Place) -> Iterator[Result]:
    for run in runs:
        try:
            yield run, place.train(run)
        except (ValueError, OSError, RuntimeError) as error:
            yield run, error


def _at_once(count: int) -> Callable[[Sequence[Run], Place], Iterator[Result]]:
    def results(runs: Sequence[Run], place: Place) -> Iterator[Result]:
        # Not forked: CUDA and threads do not survive it.
        context = multiprocessing.get_context("spawn")
        stop = context.Event()
        with ProcessPoolExecutor(count, context, _watch, (stop,)) as pool:
            futures = {pool.submit(_train_unless_stopped, place, run): run for run in runs}
            with _passing_signals_on(stop) as received:
                for future in as_completed(futures):
                    outcome = _outcome(future)
                    if not isinstance(outcome, Interrupted):
                        yield futures[future], outcome
            if received:
                raise Interrupted(f"stopped by {received[0]}; the same command goes on")

    return results


_stop: Event | None = None


def _watch(stop: Event) -> None:
    global _stop
    _stop = stop


def _train_unless_stopped(place: Place, run: Run) -> dict[str, Any]:
    """In a process of the pool, which has the next runs at hand already when it is to stop."""
    if _stop is not None and _stop.is_set():
        raise Interrupted("not started")
    return place.train(run)


def _outcome(future: Future[dict[str, Any]]) -> dict[str, Any] | Exception:
    try:
        return future.result()
    except BrokenExecutor:
        return RuntimeError("not trained: a training process was killed; call again to go on")
    except Interrupted as stop:
        return stop
    except Exception as error:  # whatever it is, the other runs go on
        return error


@contextmanager
def _passing_signals_on(stop: Event) -> Iterator[list[str]]:
    """Signals that ask to stop reach the training processes, and no further run starts.

    Args:
        stop: set then.

    Yields:
        Names of the signals received.
    """
    received: list[str] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number).name)
        stop.set()
        print("stopping: waiting for checkpoints", file=sys.stderr, flush=True)
        for child in multiprocessing.active_children():
            if child.pid:
                os.kill(child.pid, signal.SIGTERM)

    before = {number: signal.signal(number, pass_on) for number in SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
