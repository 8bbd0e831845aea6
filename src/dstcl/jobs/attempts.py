"""A run may take several attempts: what one leaves, the next goes on from."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from dstcl.continual.learner import Learner
from dstcl.jobs.checkpoints import Checkpoints
from dstcl.jobs.interruption import Interrupted, StopRequest


class Attempts:
    """Saves a learner's state when it is time or a signal came, and restores it.

    Args:
        checkpoints: of the run.
        origin: what a checkpoint must have been made of to be used: run, data, versions.
        started: of this attempt, seconds since the epoch.
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
        started: float,
        stop: StopRequest,
        device: str,
    ) -> None:
        self.checkpoints = checkpoints
        self._origin, self._started, self._stop = dict(origin), started, stop
        self._earlier_seconds = 0.0
        self.first_start, self.resumed = started, 0
        self.devices = [device]

    def seconds(self) -> float:
        """Wall time of all attempts, up to the last checkpoint of those that were cut off."""
        return self._earlier_seconds + time.time() - self._started

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
