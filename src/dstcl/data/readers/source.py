"""What every reader gives: labels and split at once, pixels piece by piece."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dstcl.data.catalog import DatasetInfo
from dstcl.data.raw import DataError

# Part of the data's definition, not of the study: every machine and every study has the same split.
SPLIT_SEED = 2024
# Images decoded and written at a time.
PIECE = 512

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Request:
    """What is to be read: a folder or archive, as which data set, at which size.

    Attributes:
        path: folder or archive.
        dataset, info: name and facts of the data set.
        size: edge of the images in pixels.
        workers: processes that decode.
    """

    path: Path
    dataset: str
    info: DatasetInfo
    size: int
    workers: int = 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, S, S) of the images."""
        return self.info.channels, self.size, self.size


@dataclass
class Notes:
    """What a reader finds out while it decodes.

    Attributes:
        digest: over the source's contents, in the order of its images.
        converted: images by what they were (grey, palette, 16-bit, ...) before they were made to
            have the data set's channels.
    """

    digest: str = ""
    converted: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Images:
    """A data set in memory.

    Attributes:
        pixels: uint8, (N, C, S, S).
        labels: int64, (N,), positions in ``class_names``.
        is_test: bool, (N,).
        class_names: sorted.
    """

    pixels: Pixels
    labels: NDArray[np.int64]
    is_test: NDArray[np.bool_]
    class_names: list[str]

    def source(self) -> Source:
        """The same, as what readers of large sets give."""

        def pieces(notes: Notes) -> Iterator[Pixels]:
            notes.digest = hashlib.sha256(self.pixels.tobytes()).hexdigest()
            yield self.pixels

        shape = self.pixels.shape[1:]
        return Source(self.labels, self.is_test, self.class_names, shape, pieces)


@dataclass(frozen=True)
class Source:
    """A data set of which labels and split are known, and pixels not yet decoded.

    Attributes:
        labels, is_test, class_names: see `Images`.
        shape: (C, S, S).
        pieces: decodes the images in the order of the labels, uint8 (n, C, S, S) at a time, and
            fills the notes on the way.
    """

    labels: NDArray[np.int64]
    is_test: NDArray[np.bool_]
    class_names: list[str]
    shape: tuple[int, ...]
    pieces: Callable[[Notes], Iterator[Pixels]]


def split_by_class(labels: NDArray[np.int64], test_per_class: int) -> NDArray[np.bool_]:
    """Mark the same number of test images in each class, drawn with the fixed split seed."""
    is_test = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        order = np.random.default_rng([SPLIT_SEED, int(label)]).permutation(len(members))
        is_test[members[order[:test_per_class]]] = True
    return is_test


def assign(
    request: Request, names: Sequence[str], parts: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], list[str]]:
    """Labels, split and class names from the class and the part (train, val, test) of each image.

    Parts that share classes are a split by image: ``test`` is the test set, or ``val`` where there
    is no ``test``; beside a ``test``, ``val`` is training data. Parts of other classes each (the
    usual miniImageNet) or no parts at all: a sixth of each class (100 of 600, as in the paper's
    code) becomes the test set by `split_by_class`.

    Raises:
        DataError: other classes than expected, or a class that one part lacks.
    """
    where, classes = request.path, request.info.classes
    class_names = sorted(set(names))
    _refuse_twins(where, class_names)
    if len(class_names) != classes:
        raise DataError(f"{where}: {len(class_names)} classes; {request.dataset} has {classes}")
    position = {name: index for index, name in enumerate(class_names)}
    labels = np.array([position[name] for name in names], dtype=np.int64)
    held_out = _test_part(where, names, parts)
    if not held_out:
        smallest = int(np.bincount(labels).min())
        if smallest < 2:
            lone = class_names[int(np.bincount(labels).argmin())]
            raise DataError(f"{where}: class {lone} has 1 image, none would be left to train on")
        return labels, split_by_class(labels, max(1, smallest // 6)), class_names
    is_test = np.array([part == held_out for part in parts])
    for part, members in (("train", ~is_test), (held_out, is_test)):
        lacking = sorted(set(class_names) - {class_names[k] for k in np.unique(labels[members])})
        if lacking:
            raise DataError(f"{where}: {part} has no images of class {', '.join(lacking)}")
    return labels, is_test, class_names


def _test_part(where: Path, names: Sequence[str], parts: Sequence[str]) -> str:
    """The part that is the test set, or "" where the data are not split by image."""
    members: dict[str, set[str]] = {}
    for name, part in zip(names, parts, strict=True):
        members.setdefault(part, set()).add(name)
    if "" in members and len(members) > 1:
        lone = min(members[""])
        raise DataError(
            f"{where}: class {lone} lies outside of {' and '.join(sorted(members)[1:])}"
        )
    if members.keys() == {"train", "test"}:
        return "test"
    if members.keys() not in ({"train", "val"}, {"train", "val", "test"}):
        return ""
    shared = members["train"] & (members["val"] | members.get("test", set()))
    return ("test" if "test" in members else "val") if shared else ""


def _refuse_twins(where: Path, class_names: list[str]) -> None:
    seen: dict[str, str] = {}
    for name in class_names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise DataError(f"{where}: classes {other} and {name} differ in capitals alone")
