"""Which planned runs a study lacks, as its summary and page say; a whole study lacks none.

Its plan has no entry of them where it was merged or is a partial one: their lines are all that is
known then, and go on with the runs into whatever these become part of.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Any

from dstcl.storage import read_json, write_json

FILE = "missing.json"
FOLDER = re.compile(r"/seed\d+-([0-9a-f]{10})\b")
"""In a line about one run: how its folder ends, with its digest."""
SEVERAL = re.compile(r"(\d+) runs ")
"""How a line about several runs begins, in files of earlier versions."""


def write_missing(study: Path, recorded: int, missing: Sequence[str]) -> int:
    """Write a line about each run that is missing, and how many were planned; no file if none is.

    Args:
        study: the folder.
        recorded: how many runs are there.
        missing: lines: the folder of a run and why it is missing; ``3 runs`` and why in those that
            an earlier version wrote.

    Returns:
        How many were planned.
    """
    planned = recorded + sum(map(_runs_in, missing))
    if missing:
        write_json(study / FILE, {"planned": planned, "missing": list(missing)})
    else:
        (study / FILE).unlink(missing_ok=True)
    return planned


def _runs_in(line: str) -> int:
    several = SEVERAL.match(line)
    return int(several[1]) if several else 1


def still_missing(studies: Iterable[Path], known: Container[str]) -> list[str]:
    """Lines of these studies' files about runs that none of them plans any more.

    Args:
        studies: folders.
        known: digests of all runs that they plan.
    """
    found: dict[str, str] = {}
    for missing in filter(None, map(read_missing, studies)):
        for line in missing["missing"]:
            run = FOLDER.search(line)
            if not (run and run[1] in known):
                found.setdefault(run[1] if run else line, line)
    return list(found.values())


def read_missing(study: Path) -> dict[str, Any] | None:
    """The content of that file; None for a whole study."""
    if not (study / FILE).is_file():
        return None
    found = read_json(study / FILE)
    if not isinstance(found, dict) or found.keys() != {"planned", "missing"}:
        raise ValueError(f"{study / FILE}: not what `dstcl partial` writes")
    return found
