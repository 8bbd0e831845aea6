"""One training of a run at a time: a lock in its folder, which ends with the process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from dstcl.storage import remove_leftovers

LOCK = ".training.lock"


@contextmanager
def training_alone(folder: Path) -> Iterator[bool]:
    """The folder of a run, for this process alone; another one that trains the run is waited for.

    What a process that was killed left half-written is removed. A folder that was made for this
    and stays empty goes away again. Where the disk has no locks, there is none.

    Yields:
        Whether there was another process to wait for.
    """
    made = not folder.is_dir()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, fallback_to_soft=False)
    waited = False
    try:
        with suppress(OSError):
            try:
                lock.acquire(blocking=False)
            except Timeout:
                waited = True
                print(
                    f"{folder}: another process trains this run; waiting for it",
                    file=sys.stderr,
                    flush=True,
                )
                lock.acquire()
            remove_leftovers(folder)
        yield waited
    finally:
        if lock.is_locked:  # those who wait notice that the file is gone, and make it anew
            (folder / LOCK).unlink(missing_ok=True)
        lock.release()
        if made:
            with suppress(OSError):
                folder.rmdir()
