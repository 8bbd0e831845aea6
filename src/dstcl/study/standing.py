"""Whether finished runs are what the code and the data of now would make.

A run says in provenance.json which code and which data made it. That alone is compared, never time
stamps or what an earlier command remembers, so that runs can be copied, merged, checked out and
pulled. Standard library and safetensors' header only: planning asks this of thousands of runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from dstcl.plugins import PluginError
from dstcl.storage import METADATA, read_json, write_json
from dstcl.study.code import training_code
from dstcl.study.run import RESULT_FILES, Run

VOUCHED = "vouched.json"
"""Beside a run's results: code digests that somebody says would make the same."""


@dataclass(frozen=True)
class Doubt:
    """Why a finished run may not be what would be made now.

    Attributes:
        about: "code" or "data".
        text: one line without the folder.
        certain: False where the run, or this machine, does not say.
    """

    about: str
    text: str
    certain: bool = True


def doubt_of(run: Run, folder: Path, data: Path | None) -> Doubt | None:
    """The first doubt about a finished run; None if there is none.

    Args:
        folder: of the run.
        data: folder with prepared/ and tasks/. Files that are not there are not compared; None
            compares none.

    Raises:
        ValueError: provenance.json is damaged; names the file.
    """
    return next(_doubts(run, folder, data), None)


def why_again(run: Run, folder: Path, data: Path | None) -> str | None:
    """Why a finished run must be trained again: one line, or None. None also where there is no
    metrics.json, since that run has not finished.

    A run that does not say what made it must be: nothing vouches for it.
    """
    try:
        present = set(os.listdir(folder))
    except OSError:
        return None
    if RESULT_FILES["metrics"] not in present:
        return None
    if lacking := sorted(set(run.result_files.values()) - present):
        return f"{folder / lacking[0]}: no such file"
    try:
        doubt = doubt_of(run, folder, data)
    except ValueError as error:
        return str(error)
    return f"{folder}: {doubt.text}" if doubt else None


def vouch(run: Run, folder: Path, reason: str) -> bool:
    """Write down that the code of now would make the same of this run.

    Returns:
        Whether that was needed: the run was made by other code, or does not say by which.
    """
    made_by = _provenance(folder).get("code")
    if _code_doubt(run, folder, made_by) is None:
        return False
    entry = {
        "code": training_code(run),
        "made_by": made_by,
        "reason": reason,
        "on": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_json(folder / VOUCHED, [*_vouched(folder), entry])
    return True


def vouched_for(run: Run, folder: Path) -> str | None:
    """The reason why a run of other code counts as one of today's; None if it is one, or not."""
    made_by, now = _provenance(folder).get("code"), _code_now(run)
    if made_by == now:  # the usual case: no other file is opened
        return None
    found = [e for e in _vouched(folder) if e["code"] == now and e["made_by"] == made_by]
    return str(found[-1].get("reason", "")) if found else None


def _doubts(run: Run, folder: Path, data: Path | None) -> Iterator[Doubt]:
    made = _provenance(folder)
    if doubt := _code_doubt(run, folder, made.get("code")):
        yield doubt
    if data is not None:
        for key, file, digest_of in (
            ("data_digest", run.data_file, prepared_digest),
            ("tasks_digest", run.tasks_file, split_digest),
        ):
            path = f"{data}/{file}"  # of thousands of runs, pathlib would take most of the time
            then, now = made.get(key), digest_of(path)
            if now is not None and then is None:
                yield Doubt("data", f"does not say its {key}", False)
            elif now is not None and then != now:
                yield Doubt("data", f"trained on another {path} than the one there now")


def _code_doubt(run: Run, folder: Path, made_by: Any) -> Doubt | None:
    now = _code_now(run)
    if now is None:
        return Doubt("code", "a plug-in's file is not here to be compared", False)
    if made_by == now or any(
        entry["code"] == now and entry["made_by"] == made_by for entry in _vouched(folder)
    ):
        return None
    if made_by is None:
        return Doubt("code", "does not say which code made it", False)
    return Doubt("code", f"made by other code ({made_by}) than today's ({now})")


def _code_now(run: Run) -> str | None:
    try:
        return training_code(run)
    except PluginError:
        return None


def _provenance(folder: Path) -> dict[str, Any]:
    path = folder / RESULT_FILES["provenance"]
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not a mapping")
    return content


def _vouched(folder: Path) -> list[dict[str, Any]]:
    path = folder / VOUCHED
    if not path.exists():
        return []
    content = read_json(path)
    whole = isinstance(content, list) and all(
        isinstance(entry, dict) and {"code", "made_by"} <= entry.keys() for entry in content
    )
    if not whole:
        raise ValueError(f"{path}: not a list of entries with code and made_by")
    return list(content)


def prepared_digest(path: str) -> str | None:
    """The digest that a prepared file says of its content; None if there is no such file."""
    return _of_state(path, _header_digest)


def split_digest(path: str) -> str | None:
    """The digest of a task split; None if there is no such file."""
    return _of_state(path, _json_digest)


def _of_state(path: str, read: Callable[..., str | None]) -> str | None:
    """What was read of a file before, unless it was changed since."""
    try:
        state = os.stat(path)
    except OSError:
        return None
    return read(path, state.st_mtime_ns, state.st_size, state.st_ino)


@cache
def _header_digest(path: str, *state: int) -> str | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {}).get(METADATA, "{}"))
    except (SafetensorError, OSError, ValueError):  # who trains on it is told
        return None
    return header.get("digest") if isinstance(header, dict) else None


@cache
def _json_digest(path: str, *state: int) -> str | None:
    try:
        content = read_json(Path(path))
    except (OSError, ValueError):
        return None
    return content.get("digest") if isinstance(content, dict) else None
