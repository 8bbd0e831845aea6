"""Many runs from one command, each by `dstcl train` in a process of its own, with one warm parent.

Does not import torch itself: that is paid once, by the warm parent.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Any

from dstcl.jobs.devices import DEVICE, check_device, parse_slots
from dstcl.jobs.interruption import (
    CHECKPOINT_EVERY,
    EXIT_CODE,
    ONE_REQUEST,
    Interrupted,
    signals_to_catch,
)
from dstcl.jobs.warm import WarmParent
from dstcl.storage import read_json
from dstcl.study.data_standing import doubt_of_data
from dstcl.study.run import RESULT_FILES, Run
from dstcl.study.standing import why_again

Metrics = dict[str, Any]
Result = tuple[Run, Metrics | str | None]
"""Metrics of a finished run, or why it failed; None if it was asked to stop."""

TRAIN = (sys.executable, "-c", "from dstcl.cli import main; main()", "train")
POLL_SECONDS = 0.05


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

    def command(self, run: Run, threads: int | None) -> list[str]:
        """How the run is trained."""
        options = {
            "run": json.dumps(run.to_dict()),
            "data": self.data / run.data_file,
            "tasks": self.data / run.tasks_file,
            "out": self.out / run.folder,
            "device": self.device,
            "gpu-slots": self.slots,
            "checkpoint-every": self.checkpoint_every,
        }
        if threads:
            options["threads"] = threads
        return [*TRAIN, *(f"--{name}={value}" for name, value in options.items())]

    def finished(self, run: Run) -> Metrics | None:
        """The run's metrics, if its files are there and are this run's, made by the code and from
        the data of now."""
        folder = self.out / run.folder
        path = folder / RESULT_FILES["metrics"]
        if not path.exists() or why_again(run, folder, self.data):
            return None
        metrics = read_json(path)
        own = isinstance(metrics, dict) and metrics.get("digest") == run.digest
        return metrics if own else None


class SomeFailed(ValueError):
    """Runs that failed, one line each."""


def train_many(runs: Sequence[Run], place: Place, at_once: int, say: Callable[[str], None]) -> None:
    """Train what is not finished, so many runs at a time, each in a process of its own.

    A failed run does not stop the others, nor does a process that is killed: its run counts as
    failed. After an interruption the same call goes on.

    Args:
        runs: in the order in which they start.
        place: of data and results.
        at_once: runs at a time.
        say: told a line about every run.

    Raises:
        SomeFailed: at the end, naming every run that failed and why.
        Interrupted: a signal asked to stop; checkpoints are written.
        FileNotFoundError: a prepared file or a split is missing, before anything is trained.
        ValueError: there is no such device, or slots that are none; or data were made by other code
            than today's, before anything is trained.
    """
    if place.slots:
        parse_slots(place.slots)
    if check_device(os.environ.get(DEVICE) or place.device).startswith("cuda"):
        from dstcl.jobs.train import available_device

        available_device(os.environ.get(DEVICE) or place.device)
    left = [run for run in runs if not place.finished(run)]
    say(f"{len(runs)} runs, {len(runs) - len(left)} of them finished")
    for file in dict.fromkeys(f for run in left for f in (run.data_file, run.tasks_file)):
        if not (place.data / file).exists():
            raise FileNotFoundError(f"{place.data / file}: no such file; make it first")
        if (doubt := doubt_of_data(place.data / file)) and doubt.certain:
            raise ValueError(doubt.text)
    failed = []
    with WarmParent() if len(left) > 1 else nullcontext():
        for done, (run, outcome) in enumerate(_at_once(left, place, at_once), start=1):
            if isinstance(outcome, str):
                failed.append(f"{run.folder}: {outcome}")
                say(f"{done}/{len(left)}  {run.folder}  FAILED: {outcome}")
            elif outcome is not None:
                say(f"{done}/{len(left)}  {run.folder}  accuracy {outcome['acc']:.4f}")
    if failed:
        raise SomeFailed(f"{len(failed)} of {len(left)} runs failed; " + "; ".join(failed))


class Training:
    """A run under way: another process that trains it is waited for, then it is trained.

    The log is locked by whoever writes it, so that a training that outlived its command is noticed,
    and its log is kept. Where the disk has no locks, there is none.
    """

    def __init__(self, run: Run, place: Place, threads: int | None) -> None:
        self.run, self._place = run, place
        self._command = place.command(run, threads)
        self._path = place.logs / f"{run.folder}.log"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self.log = self._path.open("a")
        self.process: subprocess.Popen[bytes] | None = None
        self._told = False

    def stop(self, at_once: bool) -> None:
        """Ask it to write a checkpoint and stop, the first time; or kill it."""
        if self.process and at_once:
            self.process.kill()
        elif self.process and not self._told:
            self.process.terminate()
            self._told = True

    def ended(self, stopping: bool) -> bool:
        """Go on as far as that needs no waiting; whether there is nothing more to do."""
        if self.process:
            return self.process.poll() is not None
        if stopping:
            return True
        if not _locked(self.log):
            return False
        if self._place.finished(self.run):
            return True
        self.log.truncate(0)
        self.process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stderr=self.log)
        return False

    def outcome(self, stopping: bool) -> Metrics | str | None:
        """What became of it, see `Result`."""
        self.log.close()
        if self.process is None:
            return self._place.finished(self.run)
        code = self.process.returncode
        if code == 0:
            path = self._place.out / self.run.folder / RESULT_FILES["metrics"]
            if path.exists():
                metrics: Metrics = read_json(path)
                return metrics
            return None if stopping else "it left no results"
        if stopping and (code == EXIT_CODE or code < 0):
            return None
        if code == EXIT_CODE:
            return "a signal stopped its process; call the same command to resume"
        if code < 0:
            return f"its process ended with {code}; call the same command to resume"
        said = self._path.read_text(errors="replace").rstrip().rpartition("\n")[2]
        return said.removeprefix("dstcl: ") or f"its process ended with {code}"


def _locked(log: TextIOWrapper) -> bool:
    """Whether this process, and the one that it will start, are the only ones with this log."""
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network disks have no locks
        pass
    return True


def _at_once(runs: Sequence[Run], place: Place, count: int) -> Iterator[Result]:
    """Results as they come."""
    threads = place.threads
    if threads is None and count > 1:
        threads = max(1, len(os.sched_getaffinity(0)) // count)
    waiting, active = list(reversed(runs)), list[Training]()
    with _signals() as received:
        try:
            while active or (waiting and not received):
                while waiting and not received and len(active) < count:
                    active.append(Training(waiting.pop(), place, threads))
                for training in [one for one in active if one.ended(bool(received))]:
                    active.remove(training)
                    yield training.run, training.outcome(bool(received))
                for training in active if received else ():
                    training.stop(at_once=len(received) > 1)
                time.sleep(POLL_SECONDS)
        finally:
            for training in active:
                training.stop(at_once=True)
    if received:
        raise Interrupted(f"stopped by {received[0]}; call the same command to resume")


@contextmanager
def _signals() -> Iterator[list[str]]:
    """Signals that ask to stop: the first for checkpoints, a later one at once.

    Yields:
        Names of the signals received.
    """
    received: list[str] = []
    first = 0.0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if not received:
            first = time.monotonic()
            print("stopping: waiting for checkpoints", file=sys.stderr, flush=True)
        elif time.monotonic() - first < ONE_REQUEST:
            return
        received.append(signal.Signals(number).name)

    before = {number: signal.signal(number, note) for number in signals_to_catch()}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
