"""One file per data set, decoded once: uint8 images, labels and the split, with a digest."""

from __future__ import annotations

import errno
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from dstcl.data.catalog import DatasetInfo
from dstcl.data.made_by import write_made_by
from dstcl.data.raw import DataError, deciding_facts, known, source_state
from dstcl.data.readers import open_source, reader_module
from dstcl.data.readers.source import Notes, Pixels, Source
from dstcl.data.stored import described
from dstcl.storage import METADATA, replacing

# Space in a file's header for what is only known when all images are decoded.
RESERVED = 4096


def prepare(
    dataset: str,
    image_size: int,
    out: Path,
    own: DatasetInfo | None = None,
    workers: int = 1,
) -> str:
    """Read a data set and write its prepared file and, beside it, which code made it; returns the
    digest.

    Images are written as they are decoded, so that a set larger than the memory can be prepared.

    Args:
        own: facts of a set of the user's own.
        workers: processes that decode image files.

    Raises:
        DataError: see `dstcl.data.readers.open_source`; or no space is left for the file.
    """
    info = known(dataset, own)
    source = open_source(dataset, image_size, own, workers)
    facts = {
        "dataset": dataset,
        "class_names": source.class_names,
        "fingerprint": source_state(dataset, out, own),
    }
    try:
        with replacing(out) as file:
            digest = _write(file, source, facts, info)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        needed = math.ceil(len(source.labels) * math.prod(source.shape) / 2**20)
        raise DataError(f"{out}: no space left; {needed} MiB needed") from None
    modules = ("data.prepare", reader_module(info))
    write_made_by(out, digest, modules, facts=deciding_facts(dataset, own))
    return digest


def _write(file: IO[bytes], source: Source, facts: Mapping[str, Any], info: DatasetInfo) -> str:
    """A safetensors file in one pass: the header is written last, into space left for it."""
    count = len(source.labels)
    tensors = {
        "labels": ("I64", [count], 8 * count),
        "images": ("U8", [count, *source.shape], count * math.prod(source.shape)),
        "is_test": ("BOOL", [count], count),
    }
    room = 8 * ((len(_header(tensors, facts)) + RESERVED) // 8)
    file.write(bytes(8 + room))
    file.write(source.labels.astype("<i8").tobytes())
    notes = Notes()
    digest = hashlib.sha256()
    statistics = ChannelStatistics(source.shape[0])
    written = 0
    for piece in source.pieces(notes):
        pixels = np.ascontiguousarray(piece)
        file.write(pixels.data)
        digest.update(pixels.data)
        statistics.add(pixels[~source.is_test[written : written + len(piece)]])
        written += len(piece)
    if written != count:
        raise DataError(f"{facts['dataset']}: {written} images for {count} labels")
    file.write(source.is_test.tobytes())
    digest.update(source.labels.astype("<i8").tobytes())
    digest.update(source.is_test.tobytes())
    mean, std = statistics.mean_and_std()
    used = list(info.mean) or mean, list(info.std) or [value or 1.0 for value in std]
    names = facts["class_names"]
    digest.update(described(facts["dataset"], names, *used, (count, *source.shape)))
    found = {
        "mean": used[0],
        "std": used[1],
        "measured_mean": mean,
        "measured_std": std,
        "source_digest": notes.digest[:16],
        "converted": dict(sorted(notes.converted.items())),
        "digest": digest.hexdigest()[:16],
    }
    header = _header(tensors, {**facts, **found})
    assert len(header) <= room
    file.seek(0)
    file.write(room.to_bytes(8, "little") + header.ljust(room))
    return str(found["digest"])


def _header(tensors: Mapping[str, tuple[str, list[int], int]], facts: Mapping[str, Any]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {METADATA: json.dumps(facts)}}
    start = 0
    for name, (kind, shape, size) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, start + size]}
        start += size
    return json.dumps(header).encode()


class ChannelStatistics:
    """Mean and standard deviation a channel over training images, on the scale 0 to 1."""

    def __init__(self, channels: int) -> None:
        self._counts = np.zeros((channels, 256), np.int64)

    def add(self, pixels: Pixels) -> None:
        """Count values of uint8 images, (n, C, S, S)."""
        for channel, counts in enumerate(self._counts):
            counts += np.bincount(pixels[:, channel].ravel(), minlength=256)

    def mean_and_std(self) -> tuple[list[float], list[float]]:
        """One value per channel, to 4 digits."""
        values = np.arange(256) / 255
        share = self._counts / np.maximum(self._counts.sum(axis=1, keepdims=True), 1)
        mean = share @ values
        std = np.sqrt(np.maximum(share @ values**2 - mean**2, 0))
        return [round(float(v), 4) for v in mean], [round(float(v), 4) for v in std]
