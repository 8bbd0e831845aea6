"""The seal of a finished run: metrics.json has a digest of every other file, and one of itself.

It is against accidents: half a copy, an edit by hand, files of two runs in one folder. Whoever
wants to deceive can write a seal too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dstcl.study.run import ALL_FILES, RESULT_FILES

FILES, CHECKSUM = "files", "checksum"
LARGE = ("masks", "weights")
SMALL = tuple(kind for kind in ALL_FILES if kind not in LARGE)
"""Files that cost nothing to verify, by their key in ALL_FILES."""


def sealed(
    metrics: Mapping[str, Any], folder: Path, names: Mapping[str, str] = RESULT_FILES
) -> dict[str, Any]:
    """The content of metrics.json with digests of the other files, which are in the folder.

    Args:
        names: of the run's files, by key: `Run.result_files`.
    """
    files = {name: file_digest(folder / name) for kind, name in names.items() if kind != "metrics"}
    content = {**metrics, FILES: files}
    return content | {CHECKSUM: _checksum(content)}


def check_seal(folder: Path, metrics: Mapping[str, Any], kinds: Iterable[str] = SMALL) -> bool:
    """Compare files with what their run wrote.

    Args:
        metrics: the content of metrics.json.
        kinds: of files, by their key in ALL_FILES; those that only some runs leave are compared
            where the run says that it left them.

    Returns:
        False if the run was made by code that left no seal: nothing was verified.

    Raises:
        ValueError: naming the file that is missing or was changed since; one line.
    """
    files = metrics.get(FILES)
    if not isinstance(files, dict):
        return False
    for kind in kinds:
        path = folder / ALL_FILES[kind]
        if kind not in RESULT_FILES and path.name not in files:
            continue
        if kind == "metrics":
            same = metrics.get(CHECKSUM) == _checksum(metrics)
        else:
            same = files.get(path.name) == file_digest(path)
        if not same:
            raise ValueError(
                f"{path}: changed since the run wrote it; delete the folder and run again"
            )
    return True


def file_digest(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        ValueError: naming the file, if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None


def _checksum(content: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in content.items() if name != CHECKSUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
