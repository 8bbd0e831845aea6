"""Stopping a job from outside without losing its work; standard library only."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

EXIT_CODE = 75
"""Of an interrupted job (EX_TEMPFAIL: try again); calling it again goes on."""

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)
"""What schedulers send before they take a machine away, what Ctrl-C sends, and a terminal that is
closed."""


CHECKPOINT_EVERY = 300.0
"""Seconds between checkpoints in a task, where nothing else is asked for."""


def signals_to_catch() -> list[signal.Signals]:
    """`SIGNALS`, but not a closed terminal's where the process was told to outlive it (nohup)."""
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [number for number in SIGNALS if number != signal.SIGHUP or not ignored]


class Interrupted(Exception):
    """A job stopped on request; what it had done is in its checkpoint."""


class StopRequest:
    """Remembers that a signal asked to stop, so that the job can stop where it is safe.

    A second signal of the same kind has its usual effect, for those who cannot wait.
    Works in the main thread alone, where Python delivers signals; elsewhere nothing is caught.

    Attributes:
        signal: name of the signal received, or None.
    """

    def __init__(self) -> None:
        self.signal: str | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.signal(n, self._note) for n in signals_to_catch()}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number).name
        signal.signal(number, self._before[number])
