"""IDX files, packed or not: MNIST, Fashion-MNIST and others that look like them."""

from __future__ import annotations

import gzip
import io
import math
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from dstcl.data.raw import DataError
from dstcl.data.readers.files import LARGEST, Files, archive_errors
from dstcl.data.readers.source import Images, Pixels, Request, Source

NAME = re.compile(r"(train|t10k)-(images|labels)[-.]idx[13]-ubyte(\.gz)?")
UNSIGNED_BYTES = 8


def is_idx(names: Sequence[PurePosixPath]) -> bool:
    """Whether there are files with the names of MNIST's."""
    return any(NAME.fullmatch(name.name) for name in names)


def read_idx(request: Request, files: Files, names: Sequence[PurePosixPath]) -> Source:
    """Training images, then test images, in the order of the files."""
    arrays: dict[tuple[str, str], Pixels] = {}
    for name in names:
        if match := NAME.fullmatch(name.name):
            part, kind, packed = match.groups()
            # A packed file beside its unpacked self is the same.
            arrays[part, kind] = _array(request, name, files.read(name), packed is not None)
    lacking = [
        f"{part}-{kind}"
        for part in ("train", "t10k")
        for kind in ("images", "labels")
        if (part, kind) not in arrays
    ]
    if lacking:
        raise DataError(f"{request.path}: no file {' and no file '.join(lacking)}-...-ubyte in it")
    images, labels, is_test = [], [], []
    for part in ("train", "t10k"):
        images.append(_images(request, part, arrays))
        labels.append(_labels(request, part, arrays))
        is_test.append(np.full(len(labels[-1]), part == "t10k"))
    names_ = list(request.info.class_names) or [str(k) for k in range(request.info.classes)]
    return Images(
        np.concatenate(images), np.concatenate(labels), np.concatenate(is_test), names_
    ).source()


def _array(request: Request, name: PurePosixPath, content: bytes, packed: bool) -> Pixels:
    """One file: two zeros, the kind of number, the number of axes, their lengths, the values."""
    where = f"{request.path}:{name}"
    with archive_errors(request.path / name if request.path.is_dir() else request.path):
        stream = gzip.GzipFile(fileobj=io.BytesIO(content)) if packed else io.BytesIO(content)
        start = stream.read(4)
        if len(start) < 4 or start[:2] != b"\0\0" or start[2] != UNSIGNED_BYTES or start[3] > 3:
            raise DataError(f"{where}: not an IDX file of bytes")
        lengths = np.frombuffer(stream.read(4 * start[3]), ">u4").tolist()
        size = math.prod(lengths)
        if len(lengths) < start[3] or size > LARGEST:
            raise DataError(f"{where}: not an IDX file of a known size")
        values = stream.read(size + 1)
    if len(values) != size:
        raise DataError(f"{where}: {size} values are announced, {len(values)} are there or more")
    return np.frombuffer(values, np.uint8).reshape(lengths)


def _images(request: Request, part: str, arrays: dict[tuple[str, str], Pixels]) -> Pixels:
    pixels = arrays[part, "images"]
    if pixels.shape[1:] != (request.size, request.size):
        raise DataError(f"{request.path}: {part}-images are not of {request.size} x {request.size}")
    return pixels.reshape(-1, *request.shape)


def _labels(request: Request, part: str, arrays: dict[tuple[str, str], Pixels]) -> Pixels:
    labels, count = arrays[part, "labels"], len(arrays[part, "images"])
    present = set(np.unique(labels).tolist())
    if labels.shape != (count,) or present != set(range(request.info.classes)):
        raise DataError(
            f"{request.path}: {part}-labels are not {count} labels of all {request.info.classes} "
            "classes"
        )
    return labels.astype(np.int64)
