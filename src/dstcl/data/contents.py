"""What files hold, as digests that are computed once and remembered while the files stay the same.

A file counts as the same while its inode, size, and times of change (in nanoseconds) are. What is
remembered lies in ``$XDG_CACHE_HOME/dstcl`` or ``~/.cache/dstcl``, one small file a digest; the
folder can be deleted at any time. Standard library only: Snakemake asks while it plans.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from dstcl.storage import read_json, write_json

SETTLED = 2.0
"""Seconds. Some file systems count time in steps this long: what changed later could change once
more and look the same, so it is not remembered yet."""
STEP = 2**20


def file_digest(path: Path | str) -> str:
    """SHA-256 of a file's content, as hexadecimal digits."""
    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered(
    what: str, files: Iterable[tuple[str, os.stat_result]], compute: Callable[[], str]
) -> str:
    """The result of ``compute``, or what it was when the files were last seen as they are now.

    Args:
        what: names the result: another computation or another path is another name.
        files: all that the result depends on, by name, with its status from before the computation.
        compute: reads the files.
    """
    now, newest, seen = time.time(), 0.0, hashlib.sha256()
    for name, status in files:
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        seen.update(f"{name!a} {stamp}\n".encode())
        newest = max(newest, status.st_ctime)
    state, place = seen.hexdigest(), _place(what)
    if place and (value := _recall(place, what, state)):
        return value
    value = compute()
    if place and newest < now - SETTLED:
        with suppress(OSError):  # full or read-only: computed again next time
            write_json(place, {"what": what, "state": state, "value": value})
    return value


def cache_folder() -> Path | None:
    """Where results are remembered; None for a user without a home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dstcl"
    except RuntimeError:
        return None


def _place(what: str) -> Path | None:
    folder = cache_folder()
    name = hashlib.sha256(what.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return folder / f"{name}.json" if folder else None


def _recall(place: Path, what: str, state: str) -> str | None:
    try:
        entry = read_json(place)
    except (OSError, ValueError):
        return None
    if not isinstance(entry, dict) or (entry.get("what"), entry.get("state")) != (what, state):
        return None
    value = entry.get("value")
    return value if isinstance(value, str) else None
