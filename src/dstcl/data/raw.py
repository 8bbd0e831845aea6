"""What users hold on disk: where it is looked for, and a fingerprint that a change changes.

Standard library only: Snakemake asks for fingerprints while it plans.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dstcl.data.catalog import DATASETS, DatasetInfo

# Holds a zip's directory or a gzip's trailer, and with it checksums of all that is inside.
TAIL = 8 * 2**20


class DataError(ValueError):
    """Data that cannot be used; the message is one line that names the file or folder."""


def raw_folder() -> Path:
    """Where archives are looked for: ``$DSTCL_DATA``, else data/raw."""
    return Path(os.environ.get("DSTCL_DATA") or "data/raw")


def known(dataset: str, own: DatasetInfo | None = None) -> DatasetInfo:
    """The facts of a data set.

    Raises:
        DataError: neither in the catalogue nor the user's own.
    """
    if own is not None:
        return own
    if dataset not in DATASETS:
        raise DataError(f"{dataset}: no such data set; known: {', '.join(DATASETS)}")
    return DATASETS[dataset]


def find_raw(dataset: str, own: DatasetInfo | None = None) -> Path:
    """The one folder or archive of a data set.

    Raises:
        DataError: there is none, or more than one.
    """
    info = known(dataset, own)
    if info.path:
        path = Path(info.path).expanduser()
        if not path.exists():
            raise DataError(f"{dataset}: {path} is not there; datasets.{dataset}.path names it")
        return path
    found = candidates(dataset)
    if len(found) == 1:
        return found[0]
    folder = raw_folder()
    others = f" (or {', '.join(info.archives)})" if info.archives else ""
    needed = f"{dataset}: one of {folder / dataset}/ or {folder / dataset}*.zip is needed{others}, "
    if found:
        both = ", ".join(map(str, found))
        raise DataError(f"{needed}found both of {both}; set DSTCL_DATA to look elsewhere")
    how = f"dstcl data add {dataset}" + ("" if info.download else " PATH")
    raise DataError(
        f"{needed}found nothing; set DSTCL_DATA to look elsewhere, or get it with: {how}"
    )


def candidates(dataset: str) -> list[Path]:
    """What could be the data set, in the folder of archives."""
    folder = raw_folder()
    found = [folder / dataset] if (folder / dataset).is_dir() else []
    # Not cifar100.zip for cifar10: a digit goes on with the name.
    pattern = re.compile(rf"{re.escape(dataset)}(?!\d)")
    found += sorted(path for path in folder.glob(f"{dataset}*.zip") if pattern.match(path.name))
    # The first of them: downloaders leave an archive and what they extracted side by side.
    others = [folder / name for name in DATASETS[dataset].archives if (folder / name).exists()]
    return found + others[:1]


def walk(folder: Path) -> Iterator[Path]:
    """All files below a folder, in no order; links to folders are not followed.

    Raises:
        DataError: a folder that cannot be read, which is never passed over in silence.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from None

    for place, _, names in os.walk(folder, onerror=refuse):
        for name in names:
            yield Path(place, name)


def fingerprint(path: Path) -> str:
    """A short text that changes with the content, in constant time for archives.

    Of a file its size and its last 8 MiB, which in a zip or gzip hold the checksums of everything
    inside; of a folder the names and sizes of its files. Time stamps do not count.
    """
    digest = hashlib.sha256()
    if path.is_dir():
        files = sorted((p.relative_to(path).as_posix(), p.stat().st_size) for p in walk(path))
        digest.update(json.dumps(files).encode())
        return f"{path.name}:{len(files)}:{digest.hexdigest()[:16]}"
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - TAIL))
        digest.update(file.read())
    return f"{path.name}:{size}:{digest.hexdigest()[:16]}"


def source_state(dataset: str, prepared: Path, own: DatasetInfo | None = None) -> str:
    """What a prepared file was, or would be, made from: the fingerprint of the archive.

    Where the archive is not there any more (a clone that pulled prepared data alone), what the
    prepared file says of it: nothing has changed that could be seen.
    """
    if known(dataset, own).embedded:
        return "embedded"
    try:
        return fingerprint(find_raw(dataset, own))
    except (DataError, OSError):
        return str(read_header(prepared).get("fingerprint", ""))


def read_header(prepared: Path) -> dict[str, Any]:
    """The metadata of a prepared file, or nothing if it is missing or of another kind."""
    try:
        with prepared.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, 2**26)))
        return dict(json.loads(header["__metadata__"]["dstcl"]))
    except (OSError, ValueError, KeyError, TypeError):
        return {}
