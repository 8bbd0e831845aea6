"""Readers: from what is on disk to arrays, one module per layout.

A reader is told a folder or archive and gives labels, split and class names at once, and pixels
piece by piece.
"""

from __future__ import annotations

from importlib import import_module

from dstcl.data.catalog import DatasetInfo
from dstcl.data.raw import DataError, find_raw, known
from dstcl.data.readers.source import Request, Source

# As in params.yaml; the smallest is for tests.
SMALLEST, LARGEST = 2, 256


def reader_module(info: DatasetInfo) -> str:
    """The module of dstcl that reads a data set, for `dstcl.codedigest`. It is imported where it is
    used, so that a change of one reader makes no data anew that another one reads."""
    return "data.readers.mnist5k" if info.embedded else "data.readers.layouts"


def open_source(
    dataset: str, image_size: int, own: DatasetInfo | None = None, workers: int = 1
) -> Source:
    """Find a data set and read all but its pixels.

    Args:
        own: facts of a set of the user's own, which then need not be in the catalogue.
        workers: processes that decode image files.

    Raises:
        DataError: the data are not there or cannot be used.
    """
    info = known(dataset, own)
    if not SMALLEST <= image_size <= LARGEST:
        raise DataError(f"{dataset}: image_size {image_size}; allowed: {SMALLEST} to {LARGEST}")
    if info.fixed_size and image_size != info.image_size:
        raise DataError(f"{dataset}: image_size {image_size}; only {info.image_size} is available")
    reader = import_module(f"dstcl.{reader_module(info)}")
    if info.embedded:
        source: Source = reader.read_mnist5k().source()
    else:
        request = Request(find_raw(dataset, own), dataset, info, image_size, workers)
        source = reader.read_files(request)
    return source
