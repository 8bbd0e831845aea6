"""Many runs from one command: start-up is paid once a process, and several share a card."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock

from dstcl.jobs.devices import DEVICE, granted_device, parse_slots
from dstcl.jobs.epochs import reason_of
from dstcl.jobs.interruption import CHECKPOINT_EVERY, SIGNALS, Interrupted, signals_to_catch
from dstcl.jobs.progress import EpochProgress
from dstcl.jobs.train import available_device, train_run
from dstcl.storage import read_json
from dstcl.study.run import RESULT_FILES, Run
from dstcl.study.standing import why_again

Metrics = dict[str, Any]
Result = tuple[Run, Metrics | str]
"""Metrics of a finished run, or why it failed."""


@dataclass(frozen=True)
class Place:
    """Where runs find their data and leave their results.

    Attributes:
        data: folder with prepared/ and tasks/, as the pipeline makes it.
        out: folder of the runs' folders.
        logs: folder of a log a run, named as the pipeline names them.
        device, checkpoint_every: see `train_run`.
        slots: of GPUs, see `granted_device`.
        threads: of one run; None shares the processor's cores among the runs.
    """

    data: Path
    out: Path
    logs: Path
    device: str = "auto"
    slots: str = ""
    threads: int | None = None
    checkpoint_every: float = CHECKPOINT_EVERY

    def train(self, run: Run, device: str, threads: int | None) -> Metrics:
        """Train one run, unless it is finished; its metrics.

        Another process that trains the same run, as one that outlived its command, is waited for.
        """
        path = self.logs / f"{run.folder}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held, path.open("a") as log:
            with suppress(OSError):  # some network disks have no locks
                held.enter_context(FileLock(f"{path}.lock", fallback_to_soft=False))
            if finished := self.finished(run):
                return finished
            log.truncate(0)
            with redirect_stderr(log), EpochProgress(run) as progress:
                try:
                    return train_run(
                        run,
                        self.data / run.data_file,
                        self.data / run.tasks_file,
                        self.out / run.folder,
                        device=device,
                        threads=threads,
                        progress=progress,
                        checkpoint_every=self.checkpoint_every,
                    )
                except Interrupted as stop:
                    print(f"dstcl: {stop}", file=log)
                    raise
                except Exception as error:
                    traceback.print_exc(file=log)
                    print(f"dstcl: {reason_of(error)}", file=log)
                    raise

    def finished(self, run: Run) -> Metrics | None:
        """The run's metrics, if its files are there and are this run's, made by the code and from
        the data of now."""
        folder = self.out / run.folder
        path = folder / RESULT_FILES["metrics"]
        if not path.exists() or why_again(run, folder, self.data):
            return None
        metrics: Metrics = read_json(path)
        return metrics if metrics.get("digest") == run.digest else None


class SomeFailed(ValueError):
    """Runs that failed, one line each."""


def train_many(runs: Sequence[Run], place: Place, at_once: int, say: Callable[[str], None]) -> None:
    """Train what is not finished, so many runs at a time, each in a process that trains many.

    A failed run does not stop the others, nor does a process that is killed: its run counts as
    failed. After an interruption the same call goes on.

    Args:
        runs: in the order in which they start.
        place: of data and results.
        at_once: runs at a time; 1 trains in this process.
        say: told a line about every run.

    Raises:
        SomeFailed: at the end, naming every run that failed and why.
        Interrupted: a signal asked to stop; checkpoints are written.
        FileNotFoundError: a prepared file or a split is missing, before anything is trained.
        ValueError: there is no such device, or slots that are none.
    """
    if place.slots:
        parse_slots(place.slots)
    available_device(os.environ.get(DEVICE) or place.device)
    left = [run for run in runs if not place.finished(run)]
    say(f"{len(runs)} runs, {len(runs) - len(left)} of them finished")
    for file in dict.fromkeys(f for run in left for f in (run.data_file, run.tasks_file)):
        if not (place.data / file).exists():
            raise FileNotFoundError(f"{place.data / file}: no such file; make it first")
    failed = []
    results = _one_by_one(left, place) if at_once == 1 else _at_once(left, place, at_once)
    for done, (run, outcome) in enumerate(results, start=1):
        if isinstance(outcome, str):
            failed.append(f"{run.folder}: {outcome}")
            say(f"{done}/{len(left)}  {run.folder}  FAILED: {outcome}")
        else:
            say(f"{done}/{len(left)}  {run.folder}  accuracy {outcome['acc']:.4f}")
    if failed:
        raise SomeFailed(f"{len(failed)} of {len(left)} runs failed; " + "; ".join(failed))


def _one_by_one(runs: Sequence[Run], place: Place) -> Iterator[Result]:
    with granted_device(place.device, slots=place.slots) as device:
        for run in runs:
            try:
                yield run, place.train(run, device, place.threads)
            except Interrupted:
                raise
            except Exception as error:  # whatever it is, the other runs go on
                yield run, reason_of(error)


class _Worker:
    """A process that trains one run after the other, and this end of its line."""

    def __init__(self, place: Place, threads: int) -> None:
        # Not forked: CUDA and threads do not survive it.
        context = multiprocessing.get_context("spawn")
        self.line, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(
            target=_work, args=(theirs, place, threads), daemon=True
        )
        self.process.start()
        theirs.close()
        self.run: Run | None = None

    def give(self, run: Run) -> None:
        """Have it train a run."""
        self.run = run
        with suppress(OSError):  # it is dead, which `take` finds out
            self.line.send(run)

    def take(self) -> tuple[Run, Metrics | str | None]:
        """What became of its run; None if a signal asked to stop."""
        run, self.run = self.run, None
        assert run is not None
        try:
            outcome: Metrics | str | None = self.line.recv()
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode
            outcome = f"its process ended with {code}; the same command goes on from its checkpoint"
        return run, outcome


def _work(line: Connection, place: Place, threads: int) -> None:
    """Train what comes down the line, until it is closed.

    Signals are ignored but while a run trains: the first one makes it write a checkpoint, and a
    second one, from a scheduler that tells the whole group and from the command, does no harm.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    with granted_device(place.device, slots=place.slots) as device, suppress(EOFError, OSError):
        while True:
            run: Run = line.recv()
            try:
                line.send(place.train(run, device, threads))
            except Interrupted:
                line.send(None)
            except Exception as error:  # whatever it is, the other runs go on
                line.send(reason_of(error))


def _at_once(runs: Sequence[Run], place: Place, count: int) -> Iterator[Result]:
    """Results as they come; none for runs that were asked to stop."""
    threads = place.threads or max(1, len(os.sched_getaffinity(0)) // count)
    waiting = list(reversed(runs))
    workers: list[_Worker] = []
    resource_tracker.ensure_running()  # which would unblock signals if it were started later
    with _passing_signals_on(workers) as received:
        while waiting or any(worker.run for worker in workers):
            while waiting and not received and len(workers) < count:
                with _blocked_signals():
                    workers.append(_Worker(place, threads))
                workers[-1].give(waiting.pop())
            busy = [worker for worker in workers if worker.run]
            if not busy:
                break
            ready = wait([worker.line for worker in busy], timeout=1.0)
            for worker in busy:
                if worker.line in ready:
                    run, outcome = worker.take()
                    if outcome is not None:
                        yield run, outcome
                    elif not received:
                        yield run, "a signal stopped its process; the same command goes on"
                    if not worker.process.is_alive():
                        workers.remove(worker)
                    elif waiting and not received:
                        worker.give(waiting.pop())
                elif received:  # again: it may have begun its run after the first time
                    worker.process.terminate()
        for worker in workers:
            worker.line.close()
        for worker in workers:
            worker.process.join()
    if received:
        raise Interrupted(f"stopped by {received[0]}; the same command goes on")


@contextmanager
def _blocked_signals() -> Iterator[None]:
    """A process that is started in here has them blocked until it is ready to ignore them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _passing_signals_on(workers: Sequence[_Worker]) -> Iterator[list[str]]:
    """Signals that ask to stop reach the processes that train; a second one kills them.

    Yields:
        Names of the signals received.
    """
    received: list[str] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number).name)
        if len(received) == 1:
            print("stopping: waiting for checkpoints", file=sys.stderr, flush=True)
        for worker in workers:
            if len(received) > 1:
                worker.process.kill()
            elif worker.run:
                worker.process.terminate()

    before = {number: signal.signal(number, pass_on) for number in signals_to_catch()}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
