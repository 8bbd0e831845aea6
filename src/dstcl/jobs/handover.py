"""A training handed over to a process that has imported torch already, and waited for.

`dstcl train` does this where it finds a warm parent (`warm`), which forks a process for the run.
What a caller sees stays the same: output, exit code, signals, and that killing this process ends
the training. Standard library only, and little of it: this is what a short run pays for starting.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, BinaryIO

import dstcl
from dstcl.jobs.interruption import StopRequest, blocked_signals

WARM = "DSTCL_WARM"
"""The socket of the warm parent; in the environment of those whom its starter starts."""
BY_ITSELF = "the warm parent refused: other code, environment or limits; goes on by itself"
"""Said in the log, as it costs a start-up that a short run need not pay."""
HEADER = 8
"""Bytes that say how long a request is. It is JSON; each later byte is the number of a signal."""
REFUSED, STARTED = b"refused\n", b"started\n"
"""Answers; the second one is followed by a line with the wait status, when the process ended."""


def hand_over(arguments: Sequence[str]) -> None:
    """Have the command run by the warm parent, and end as it ended.

    Returns where this process must do it itself: there is no such parent, or it refuses, because
    its code or its circumstances are others than this process's.

    Args:
        arguments: of `dstcl`, the command first.

    Raises:
        ChildProcessError: the parent was killed, and the training with it.
        SystemExit: the command ended, with its exit code. If a signal ended it, this process is
            ended by the same signal.
    """
    if not (address := os.environ.get(WARM)):
        return
    with socket.socket(socket.AF_UNIX) as line:

        def pass_on(number: int) -> None:
            with suppress(OSError):  # there is nobody at the other end, which `_wait` finds out
                line.send(bytes([number]))

        with StopRequest(pass_on) as stop:
            with blocked_signals():
                asked = _ask(line, address, arguments)
            status = _wait(line) if asked else None
    if status is not None:
        _end_as(os.waitstatus_to_exitcode(status))
    if stop.signal:
        os.kill(os.getpid(), signal.Signals[stop.signal])
    print(BY_ITSELF, file=sys.stderr, flush=True)


def circumstances() -> dict[str, Any]:
    """What a process has from whoever started it, and a forked one must have instead."""
    mask = os.umask(0)
    os.umask(mask)
    limits = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    return {
        "environment": dict(os.environ),
        "path": sys.path,
        "python": [sys.prefix, list(sys.version_info[:3]), list(dstcl.__path__)],
        "niceness": os.getpriority(os.PRIO_PROCESS, 0),
        "limits": {name: list(resource.getrlimit(getattr(resource, name))) for name in limits},
        "cores": sorted(os.sched_getaffinity(0)),
        "umask": mask,
        "outlives_terminal": signal.getsignal(signal.SIGHUP) == signal.SIG_IGN,
    }


def _ask(line: socket.socket, address: str, arguments: Sequence[str]) -> bool:
    """Send the command, and the files and the folder that it works with; whether that worked."""
    request = json.dumps({"arguments": list(arguments), **circumstances()}).encode()
    try:
        line.connect(address)
        folder = os.open(".", os.O_RDONLY)
        try:
            socket.send_fds(line, [len(request).to_bytes(HEADER)], [0, 1, 2, folder])
        finally:
            os.close(folder)
        line.sendall(request)
    except OSError:
        return False
    return True


def _wait(line: socket.socket) -> int | None:
    """The wait status of the process that was forked; None if none was."""
    with line.makefile("rb") as answers:
        if _next(answers) != STARTED:
            return None
        if status := _next(answers):
            return int(status)
    raise ChildProcessError("the process that starts trainings has ended; try again")


def _next(answers: BinaryIO) -> bytes:
    """A line; nothing where the other end is gone."""
    try:
        return answers.readline()
    except ConnectionError:
        return b""


def _end_as(code: int) -> None:
    """End with that exit code or, if it is negative, by that signal."""
    if code < 0:
        with suppress(OSError):  # KILL, whose effect nobody can change
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
