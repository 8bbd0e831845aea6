"""Which planned runs a study lacks, as its summary and page say; a whole study lacks none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dstcl.storage import read_json, write_json

FILE = "missing.json"


def write_missing(study: Path, planned: int, missing: Sequence[str]) -> None:
    """Write how many runs were planned, and a line about each that is missing."""
    write_json(study / FILE, {"planned": planned, "missing": list(missing)})


def read_missing(study: Path) -> dict[str, Any] | None:
    """The content of that file; None for a whole study."""
    if not (study / FILE).is_file():
        return None
    found = read_json(study / FILE)
    if not isinstance(found, dict) or found.keys() != {"planned", "missing"}:
        raise ValueError(f"{study / FILE}: not what `dstcl partial` writes")
    return found
