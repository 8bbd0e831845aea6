"""Image files whose folder or list says the class: class folders, CSV lists, Tiny-ImageNet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from dstcl.data.raw import DataError
from dstcl.data.readers.decode import decode_files
from dstcl.data.readers.files import Files
from dstcl.data.readers.source import Request, Source, assign

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg"}
PARTS = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}
ANNOTATIONS = "val_annotations.txt"
SHOWN = 100
"""Characters of a wrong row that a message repeats."""


@dataclass(frozen=True)
class Entry:
    """One image file with its class and its part: train, val, test, or "" for no part."""

    file: PurePosixPath
    label: str
    part: str


def read_tree(request: Request, files: Files, names: Sequence[PurePosixPath]) -> Source:
    """``train/<class>/*`` and ``test/<class>/*`` (or ``val``), or ``<class>/*``."""
    images = [name for name in names if name.suffix.lower() in IMAGE_SUFFIXES]
    # Tiny-ImageNet has a folder ``images`` in each class.
    deep = bool(images) and all(name.parent.name == "images" for name in images)
    entries = []
    for name in images:
        folders = name.parts[:-2] if deep else name.parts[:-1]
        if not folders:
            raise DataError(f"{files.path}:{name}: lies in no class folder")
        above = folders[-2] if len(folders) > 1 else ""
        entries.append(Entry(name, folders[-1], PARTS.get(above, "")))
    return labelled(request, entries)


def read_lists(request: Request, files: Files, names: Sequence[PurePosixPath]) -> Source:
    """train.csv, val.csv and test.csv (filename, label) over images in any folder.

    The lists of Ravi and Larochelle (2017) hold other classes each; all are put together.
    """
    place = {name.name: name for name in names if name.suffix.lower() in IMAGE_SUFFIXES}
    labels: dict[str, str] = {}
    entries = []
    for name in names:
        if not is_list(name):
            continue
        for line, row in _rows(files, name):
            where = f"{files.path}:{name} line {line}"
            if len(row) != 2:
                found = ",".join(row)
                raise DataError(f"{where}: filename,label is needed, found {found[:SHOWN]!r}")
            image, label = row
            if image not in place:
                raise DataError(f"{where}: no image {image[:SHOWN]!r} beside the list")
            if labels.setdefault(image, label) != label:
                both = f"{labels[image]!r} and {label!r}"
                raise DataError(f"{where}: {image!r} is listed as {both}")
            entries.append(Entry(place[image], label, PARTS[name.stem]))
    # By class and name, as folders are read: the same images give the same split.
    entries.sort(key=lambda entry: (entry.label, entry.file.name))
    return labelled(request, entries)


def read_tiny(request: Request, files: Files, names: Sequence[PurePosixPath]) -> Source:
    """Tiny-ImageNet: train/<wnid>/images/*.JPEG, and val/images/*.JPEG with a list of wnids.

    Classes are the folders of train; wnids.txt is not used (it is cut short in some copies), and
    test/ has no labels.
    """
    listed = next(name for name in names if name.name == ANNOTATIONS)
    rows = [line.split("\t") for line in _text(files, listed).splitlines() if line.strip()]
    if any(len(row) < 2 for row in rows):
        raise DataError(f"{files.path}:{listed}: a line without file name and class")
    wnid = {row[0]: row[1] for row in rows}
    entries = []
    for name in names:
        if name.suffix.lower() not in IMAGE_SUFFIXES or len(name.parts) < 3:
            continue
        if name.parent == listed.parent / "images":
            if name.name not in wnid:
                raise DataError(f"{files.path}:{name}: is not in {ANNOTATIONS}")
            entries.append(Entry(name, wnid[name.name], "val"))
        elif name.parent.name == "images" and name.parts[-4:-3] == ("train",):
            entries.append(Entry(name, name.parts[-3], "train"))
    return labelled(request, entries)


def _rows(files: Files, name: PurePosixPath) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row of a CSV file but the first."""
    rows = csv.reader(io.StringIO(_text(files, name)))
    try:
        next(rows, None)
        for row in rows:
            yield rows.line_num, row
    except csv.Error as error:
        raise DataError(f"{files.path}:{name} line {rows.line_num}: not CSV ({error})") from None


def is_list(name: PurePosixPath) -> bool:
    """Whether a file is one of the CSV lists of `read_lists`."""
    return name.suffix == ".csv" and name.stem in ("train", "val", "test")


def has_parts(names: Sequence[PurePosixPath]) -> bool:
    """Whether images lie in class folders below train, val or test."""
    images = (name for name in names if name.suffix.lower() in IMAGE_SUFFIXES)
    return any(part in PARTS for name in images for part in name.parts[:-2])


def labelled(request: Request, entries: Sequence[Entry]) -> Source:
    """A source from images whose class and part are known."""
    if not entries:
        raise DataError(f"{request.path}: no images in it")
    labels, is_test, class_names = assign(
        request, [entry.label for entry in entries], [entry.part for entry in entries]
    )
    files = [entry.file for entry in entries]
    pieces = decode_files(request.path, files, request.shape, request.workers)
    return Source(labels, is_test, class_names, request.shape, pieces)


def _text(files: Files, name: PurePosixPath) -> str:
    try:
        return files.read(name).decode()
    except UnicodeDecodeError:
        raise DataError(f"{files.path}:{name}: not a text file") from None
