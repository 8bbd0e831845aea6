"""What users hold on disk: where it is looked for, and a fingerprint that a change changes.

Standard library only: Snakemake asks for fingerprints while it plans.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dstcl.data.catalog import DATASETS, DatasetInfo
from dstcl.data.contents import file_digest, remembered

SMALL = 8 * 2**20
"""Bytes that are read within some hundredths of a second."""
LABELS = re.compile(r".*\.(csv|txt|meta)|(.*/)?meta|.*labels[^/]*")
"""Files of which readers take labels alone: lists, annotations, IDX labels, CIFAR's class names."""


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


def deciding_facts(dataset: str, own: DatasetInfo | None = None) -> dict[str, Any]:
    """The facts that decide what is made of a data set's files."""
    info = known(dataset, own)
    facts = {"classes": info.classes, "channels": info.channels}
    return facts | {"mean": list(info.mean), "std": list(info.std)}


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


def walk(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """All files below a folder by relative path, in no order; links to folders are not followed.

    Raises:
        DataError: a folder that cannot be read, which is never passed over in silence.
    """
    waiting = [("", os.fspath(folder))]
    while waiting:
        above, place = waiting.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((f"{above}{entry.name}/", entry.path))
                    elif not entry.is_dir():
                        yield above + entry.name, entry
        except OSError as error:
            raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from None


def fingerprint(path: Path) -> str:
    """A short text that changes with the content of a file or folder.

    Names and contents of all files count, time stamps do not. What gives labels, and sources that
    are small altogether, are read each time; the rest is read once and then remembered for as long
    as `dstcl.data.contents.remembered` takes it for the same.
    """
    if path.is_dir():
        found = sorted((name, os.path.join(path, name)) for name, _ in walk(path))
    else:
        found = [(path.name, os.fspath(path))]
    statuses = {name: _status(place) for name, place in found}
    sizes = {name: known.st_size for name, known in statuses.items() if known}
    small = sum(sizes.values()) <= SMALL
    often = {name for name, n in sizes.items() if n <= SMALL and (small or LABELS.fullmatch(name))}
    rest = [(name, known) for name, known in statuses.items() if known and name not in often]
    places = dict(found)
    digest = hashlib.sha256()
    for name in statuses:
        digest.update(f"{name!a} {sizes.get(name)}\n".encode())
    digest.update(_contents(places[name] for name in statuses if name in often).encode())
    if rest:
        what = f"contents of {os.path.abspath(path)}"
        held = remembered(what, rest, lambda: _contents(places[name] for name, _ in rest))
        digest.update(held.encode())
    count = len(found) if path.is_dir() else sum(sizes.values())
    return f"{path.name}:{count}:{digest.hexdigest()[:16]}"


def _status(place: str) -> os.stat_result | None:
    """Of a file; None for what is none and must not be opened: a pipe, a device, a dead link."""
    try:
        status = os.stat(place)
    except FileNotFoundError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _contents(places: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for place in places:
        try:
            digest.update(file_digest(place).encode())
        except PermissionError:
            digest.update(b"not to be read\n")
    return digest.hexdigest()


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
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
