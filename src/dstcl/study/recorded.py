"""Runs as they were recorded: config.json of a run's folder, an entry of a plan.

Standard library only. A file of its own, which training does not import: a change of how records
are read trains nothing again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dstcl.storage import read_json
from dstcl.study.run import RESULT_FILES, Run
from dstcl.study.settings import SECTIONS

ALWAYS = ("axes", *SECTIONS, "network", "method")
"""Keys of every recorded run, whatever its method reads."""
AGAIN = "delete the folder and run again"


def read_config(folder: Path) -> Run:
    """The run that a run folder's config.json describes.

    Raises:
        ValueError: one line that names the file, what is wrong and what to do.
    """
    path = folder / RESULT_FILES["config"]
    values = read_json(path)
    try:
        return recorded_run(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; {AGAIN}") from None


def recorded_run(values: Any) -> Run:
    """A run from what `Run.to_dict` recorded.

    Raises:
        ValueError: one line; also where older code recorded it in another form.
    """
    refuse_older(values, ALWAYS)
    return Run.from_dict(values)


def refuse_older(record: Any, needed: Collection[str]) -> None:
    """Refuse a record without some key that this code always writes; what is no mapping passes.

    Raises:
        ValueError: one line that names the keys.
    """
    missing = [key for key in needed if key not in record] if isinstance(record, Mapping) else []
    if missing:
        raise ValueError(
            f"written by older code, without {', '.join(missing)} "
            "(provenance.json says by which version)"
        )
