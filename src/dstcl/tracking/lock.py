"""One writer at a time."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock


def database_file(uri: str) -> Path | None:
    """The file of an SQLite URI; None for any other URI and for a database in memory."""
    if not uri.startswith("sqlite"):
        return None
    name = uri.partition(":///")[2].partition("?")[0]
    return Path(name).resolve() if name else None


@contextmanager
def single_writer(uri: str) -> Iterator[None]:
    """Make concurrent syncs wait for each other.

    Without it, processes that start at once on an absent SQLite file break each other's table
    creation, and anywhere each records the same runs. The lock lies beside an SQLite file, else in
    the folder for temporary files: a tracking server must have one writing machine a preset. The
    lock file stays: if it were removed, two processes could lock two files of the same name. A dead
    process's lock is free.
    """
    if database := database_file(uri):
        path = f"{database}.lock"
    else:
        name = f"dstcl-{os.getuid()}-{hashlib.sha256(uri.encode()).hexdigest()[:16]}.lock"
        path = os.path.join(tempfile.gettempdir(), name)
    with FileLock(path, fallback_to_soft=False):  # not a lock that outlives its process
        yield
