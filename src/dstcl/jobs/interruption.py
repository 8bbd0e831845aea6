"""Stopping a job from outside without losing its work; standard library only."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

EXIT_CODE = 75
"""Of an interrupted job (EX_TEMPFAIL: try again); calling it again goes on."""

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)
"""What schedulers send before they take a machine away, what Ctrl-C sends, and a terminal that is
closed."""


ONE_REQUEST = 1.0
"""Seconds in which signals of one kind are one request: a scheduler tells every process of a job,
and those that started another one pass it on."""

CHECKPOINT_EVERY = 300.0
"""Seconds between checkpoints in a task, where nothing else is asked for."""


def signals_to_catch() -> list[signal.Signals]:
    """`SIGNALS`, but not a closed terminal's where the process was told to outlive it (nohup)."""
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [number for number in SIGNALS if number != signal.SIGHUP or not ignored]


class Interrupted(Exception):
    """A job stopped on request; what it had done is in its checkpoint."""


@contextmanager
def blocked_signals() -> Iterator[None]:
    """Signals that ask to stop wait for the end of the block; a process started in here has them
    blocked until it unblocks them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class StopRequest:
    """Remembers that a signal asked to stop, so that the job can stop where it is safe.

    A second signal of the same kind, more than `ONE_REQUEST` later, has its usual effect, for those
    who cannot wait. Works in the main thread alone, where Python delivers signals; elsewhere
    nothing is caught.

    Args:
        tell: called with the number of each signal that is a request of its own.

    Attributes:
        signal: name of the first signal received, or None.
    """

    def __init__(self, tell: Callable[[int], object] = lambda number: None) -> None:
        self.signal: str | None = None
        self._tell = tell
        self._before: dict[int, Any] = {}
        self._first: dict[int, float] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.signal(n, self._note) for n in signals_to_catch()}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if number not in self._first:
            self._first[number] = now
            self.signal = self.signal or signal.Signals(number).name
            self._tell(number)
        elif now - self._first[number] > ONE_REQUEST:
            signal.signal(number, self._before[number])
            os.kill(os.getpid(), number)
