"""Which code made a prepared file or a task split, in a small file beside it.

Not within the file: Snakemake compares whole files, and a change of code that makes the same images
must train nothing again. The record holds for the content whose digest it names, whatever happened
to the file since. Standard library only: Snakemake asks while it plans.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dstcl.codedigest import code_digest
from dstcl.storage import read_json, write_json

SPLIT_MODULES = ("data.tasks",)
"""The code behind a task split."""
SUFFIX = ".made_by.json"


def record_file(path: Path) -> Path:
    """Where the record of a prepared file or a split is."""
    return path.with_suffix(SUFFIX)


def write_made_by(path: Path, digest: str, modules: Sequence[str], **facts: Any) -> None:
    """Write down that the code of now made a file.

    Args:
        path: of the file.
        digest: of its content, as it says itself.
        modules: of dstcl, with all that they import: see `code_digest`.
        facts: what else it was made from.
    """
    made = {"digest": digest, "code": code_digest(*modules), "modules": list(modules)}
    write_json(record_file(path), made | facts)


def read_made_by(path: Path, digest: str) -> dict[str, Any] | None:
    """The record of a file's content; None if there is none, or it is of another content.

    Raises:
        ValueError: the record is damaged; names it.
    """
    place = record_file(path)
    if not place.exists():
        return None
    made = read_json(place)
    if not _is_record(made):
        raise ValueError(f"{place}: says no digest, code and modules; delete it")
    return dict(made) if made["digest"] == digest else None


def check_made_by(path: Path, digest: str) -> bool:
    """Whether the code of now is known to make a file's content; False where nobody says by which
    code it was made.

    Raises:
        ValueError: it was made by other code, or the record is damaged; one line that names it.
    """
    made = read_made_by(path, digest)
    if made is None:
        return False
    try:
        now = code_digest(*made["modules"])
    except ValueError:  # a module of the code that made it is not there any more
        now = "without one of its modules"
    if made["code"] != now:
        raise ValueError(
            f"{path}: made by other code ({made['code']}) than today's ({now}); make it again: "
            "snakemake data tasks, or dstcl data prepare and dstcl data split"
        )
    return True


def _is_record(made: Any) -> bool:
    return (
        isinstance(made, Mapping)
        and all(isinstance(made.get(key), str) for key in ("digest", "code"))
        and isinstance(made.get("modules"), list)
        and all(isinstance(module, str) for module in made["modules"])
    )
