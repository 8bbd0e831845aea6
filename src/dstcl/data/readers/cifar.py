"""The original Python archives of CIFAR-10 and CIFAR-100, packed or extracted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any

import numpy as np

from dstcl.data.raw import DataError
from dstcl.data.readers.decode import resized
from dstcl.data.readers.files import Files, archive_errors, tar_members
from dstcl.data.readers.records import RecordError, read_record
from dstcl.data.readers.source import PIECE, Notes, Pixels, Request, Source

EDGE = 32


@dataclass(frozen=True)
class Layout:
    """File names of an archive, and its words for labels and their names."""

    train: tuple[str, ...]
    test: str
    meta: str
    labels: str
    names: str

    def files(self) -> set[str]:
        """All file names."""
        return {*self.train, self.test, self.meta}


LAYOUTS = (
    Layout(("train",), "test", "meta", "fine_labels", "fine_label_names"),
    Layout(
        tuple(f"data_batch_{k}" for k in range(1, 6)),
        *("test_batch", "batches.meta", "labels", "label_names"),
    ),
)
EVERY_FILE = set[str]().union(*(layout.files() for layout in LAYOUTS))
Records = dict[str, dict[str, Any]]
Members = Iterable[tuple[PurePosixPath, IO[bytes]]]


def is_cifar(names: Sequence[PurePosixPath]) -> bool:
    """Whether files are those of one of the two archives."""
    found = {name.name for name in names}
    return any(layout.files() <= found for layout in LAYOUTS)


def read_tar(request: Request) -> Source:
    """An archive as it was downloaded, read once from front to end."""
    return _source(request, tar_members(request.path, EVERY_FILE))


def read_extracted(request: Request, files: Files, names: Sequence[PurePosixPath]) -> Source:
    """The files of an archive in a folder or zip."""
    wanted = (name for name in names if name.name in EVERY_FILE)
    return _source(request, ((name, files.stream(name)) for name in wanted))


def _records(request: Request, members: Members) -> Records:
    records: Records = {}
    with archive_errors(request.path):
        for name, stream in members:
            try:
                with stream:
                    records[name.name] = read_record(stream)
            except RecordError as error:
                raise DataError(
                    f"{request.path}:{name}: not a file of the CIFAR archives: {error}"
                ) from None
    return records


def _source(request: Request, members: Members) -> Source:
    records = _records(request, members)
    layout = next((layout for layout in LAYOUTS if layout.files() <= records.keys()), None)
    if layout is None:
        wanted = " or ".join(sorted(layout.meta for layout in LAYOUTS))
        raise DataError(f"{request.path}: not a CIFAR archive ({wanted} and the images beside it)")
    class_names = _texts(request, records, layout.meta, layout.names)
    if len(class_names) != request.info.classes:
        raise DataError(
            f"{request.path}: {len(class_names)} classes; {request.dataset} has "
            f"{request.info.classes}"
        )
    if twice := [name for name in class_names if class_names.count(name) > 1]:
        raise DataError(f"{request.path}:{layout.meta}: class {twice[0]!r} is there twice")
    images, labels, file_names, is_test = [], [], [], []
    for name in (*layout.train, layout.test):
        pixels = _pixels(request, records, name)
        images.append(pixels)
        labels.append(_labels(request, records, name, layout.labels, len(pixels)))
        file_names += _texts(request, records, name, "filenames", len(pixels))
        is_test.append(np.full(len(pixels), name == layout.test))
    by_name = _ordered(file_names, np.concatenate(labels), np.concatenate(is_test))
    return Source(
        np.concatenate(labels)[by_name],
        np.concatenate(is_test)[by_name],
        class_names,
        request.shape,
        lambda notes: _pieces(images, by_name, request.size, notes),
    )


def _ordered(names: list[str], labels: np.ndarray, is_test: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """Test before training images, then by class and file name: the order of a folder of them."""
    return np.lexsort((np.array(names), labels, ~is_test))


def _pieces(images: list[Pixels], order: Any, size: int, notes: Notes) -> Iterator[Pixels]:
    digest = hashlib.sha256()
    for pixels in images:
        digest.update(np.ascontiguousarray(pixels).data)
    notes.digest = digest.hexdigest()
    start = np.cumsum([0] + [len(pixels) for pixels in images])
    for part in (order[k : k + PIECE] for k in range(0, len(order), PIECE)):
        piece = np.empty((len(part), 3, EDGE, EDGE), np.uint8)
        for pixels, first, end in zip(images, start[:-1], start[1:], strict=True):
            here = (part >= first) & (part < end)
            piece[here] = pixels[part[here] - first]
        yield resized(piece, size)


def _pixels(request: Request, records: Records, name: str) -> Pixels:
    pixels = records[name].get("data")
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != 3 * EDGE * EDGE:
        raise DataError(f"{request.path}:{name}: no images of 3 x {EDGE} x {EDGE} under 'data'")
    return pixels.reshape(-1, 3, EDGE, EDGE)


def _labels(request: Request, records: Records, name: str, key: str, count: int) -> Any:
    labels: Any = records[name].get(key)
    classes = request.info.classes
    good = isinstance(labels, list) and all(isinstance(k, int) and 0 <= k < classes for k in labels)
    if not good or len(labels) != count:
        raise DataError(f"{request.path}:{name}: {key!r} are not {count} numbers below {classes}")
    return np.array(labels, np.int64)


def _texts(
    request: Request, records: Records, name: str, key: str, count: int | None = None
) -> list[str]:
    texts: Any = records[name].get(key)
    good = isinstance(texts, list) and all(isinstance(text, str) for text in texts)
    if not good or count not in (None, len(texts)):
        raise DataError(f"{request.path}:{name}: {key!r} is no list of names, one for each image")
    return texts
