"""Checkpoints of a run in progress: atomic, verified by digest, the last two kept.

A checkpoint is a nested structure of dictionaries, lists, numbers, text and tensors in one
safetensors file: nothing is pickled. Its name carries a digest of its bytes, so a file that was
cut short or damaged is noticed, and the one before it is used.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from dstcl.continual.learner import Learner
from dstcl.jobs.interruption import Interrupted, StopRequest
from dstcl.nested import put_together, take_apart
from dstcl.storage import write_bytes

FOLDER = "checkpoints"
KEPT = 2
STRUCTURE = "structure"


def encode(state: Any) -> bytes:
    """A nested structure as the bytes of a safetensors file.

    Raises:
        TypeError: a value that is neither a tensor nor JSON.
    """
    tensors = {STRUCTURE: torch.empty(0)}  # the name is taken
    text = json.dumps(take_apart(state, tensors)).encode()
    tensors[STRUCTURE] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    return save(tensors)


def decode(content: bytes) -> Any:
    """The inverse of `encode`; all tensors on the CPU."""
    tensors = load(content)
    return put_together(json.loads(tensors[STRUCTURE].numpy().tobytes()), tensors)


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: of the run.
        every: seconds between two checkpoints.
        clock: seconds that only grow.
    """

    def __init__(
        self, folder: Path, every: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.folder = folder / FOLDER
        self._every, self._clock = every, clock
        self._last = clock()

    def due(self, task_end: bool = False) -> bool:
        """Whether the last checkpoint is older than ``every``, at the end of a task than a tenth of
        it: there a checkpoint saves most, but tasks of a second need none."""
        return self._clock() - self._last >= self._every / (10 if task_end else 1)

    def save(self, state: Any) -> Path:
        """Write a checkpoint, then remove all but the last two."""
        content = encode(state)
        number = max((_number(path) for path in self._files()), default=0) + 1
        path = self.folder / f"{number:06d}-{_digest(content)}.safetensors"
        write_bytes(path, content)
        for old in self._files()[:-KEPT]:
            old.unlink(missing_ok=True)
        self._last = self._clock()
        return path

    def newest(self) -> Any | None:
        """The newest checkpoint that is whole; None where there is none."""
        for path in reversed(self._files()):
            content = path.read_bytes()
            if path.stem.rpartition("-")[2] == _digest(content):
                return decode(content)
            print(f"{path}: damaged, using the one before it", file=sys.stderr)
        return None

    def clear(self) -> None:
        """Remove every checkpoint: the run is finished."""
        for path in self.folder.glob("*"):
            path.unlink(missing_ok=True)
        if self.folder.exists():
            self.folder.rmdir()

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*-*.safetensors"), key=_number)


@dataclass(frozen=True)
class Start:
    """When an attempt began.

    Attributes:
        moment: seconds since the epoch, as people say it; that clock may be set anew meanwhile.
        clock: seconds that only grow.
    """

    moment: float = field(default_factory=time.time)
    clock: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        """Seconds since then."""
        return time.monotonic() - self.clock


class Resumable:
    """A run that may take several attempts: what one leaves, the next goes on from.

    Saves a learner's state when it is time or a signal came, and restores it.

    Args:
        checkpoints: of the run.
        origin: what a checkpoint must have been made of to be used: run, data, versions.
        started: this attempt.
        stop: set by signals.
        device: where this attempt trains; the name tells apart what computes other last digits.

    Attributes:
        first_start: of the first attempt, seconds since the epoch.
        resumed: how many attempts went before this one.
        devices: where they trained, each change once.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        origin: Mapping[str, str],
        started: Start,
        stop: StopRequest,
        device: str,
    ) -> None:
        self.checkpoints = checkpoints
        self._origin, self._started, self._stop = dict(origin), started, stop
        self._earlier_seconds = 0.0
        self.first_start, self.resumed = started.moment, 0
        self.devices = [device]

    def seconds(self) -> float:
        """Wall time of all attempts, up to the last checkpoint of those that were cut off."""
        return self._earlier_seconds + self._started.seconds()

    def pause(self, state: Callable[[], dict[str, Any]], task_end: bool) -> None:
        """Write a checkpoint if it is time, or if a signal asks to stop.

        Raises:
            Interrupted: after the checkpoint that a signal asked for.
        """
        if self._stop.signal is None and not self.checkpoints.due(task_end):
            return
        path = self.checkpoints.save(
            {
                "origin": self._origin,
                "first_start": self.first_start,
                "seconds": self.seconds(),
                "attempts": self.resumed + 1,
                "devices": self.devices,
                "learner": state(),
            }
        )
        if self._stop.signal is not None:
            raise Interrupted(f"stopped by {self._stop.signal}; goes on from {path}")

    def resume(self, learner: Learner) -> None:
        """Load the last whole checkpoint, if there is one of this very run."""
        saved = self.checkpoints.newest()
        if saved is None:
            return
        for key, value in self._origin.items():
            if saved["origin"].get(key) != value:
                print(
                    f"{self.checkpoints.folder}: {key} was {saved['origin'].get(key)}, is {value}: "
                    "starting anew",
                    file=sys.stderr,
                )
                self.checkpoints.clear()
                return
        learner.load_state_dict(saved["learner"])
        if saved["devices"][-1] != self.devices[0]:
            learner.renew_probes()
            self.devices = saved["devices"] + self.devices
        else:
            self.devices = saved["devices"]
        self._earlier_seconds = saved["seconds"]
        self.first_start, self.resumed = saved["first_start"], saved["attempts"]
        print(f"goes on after {len(learner.outcome.history)} epochs", file=sys.stderr, flush=True)


def _number(path: Path) -> int:
    return int(path.name.partition("-")[0])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
