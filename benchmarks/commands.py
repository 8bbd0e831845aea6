"""Commands as a person calls them, timed from outside."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Call:
    """A command that ended well.

    Attributes:
        wall_seconds: from start to end.
        cpu_seconds: of the command and of all processes that it waited for.
        said: its standard output.
    """

    wall_seconds: float
    cpu_seconds: float
    said: str

    def seconds(self) -> dict[str, float]:
        """What records keep."""
        return {"wall_seconds": self.wall_seconds, "cpu_seconds": self.cpu_seconds}


def timed(command: Sequence[str], folder: Path, **variables: str) -> Call:
    """Run to the end.

    Args:
        command: is found beside this Python too, as in an activated environment.
        folder: where to run it.
        variables: of the environment, beside this process's own.

    Raises:
        SystemExit: the command failed; its output is shown.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = os.environ | {"PATH": path} | variables
    before = cpu_of_children()
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    wall = time.perf_counter() - started
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return Call(round(wall, 1), round(cpu_of_children() - before, 1), done.stdout)


def cpu_of_children() -> float:
    """CPU seconds of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
