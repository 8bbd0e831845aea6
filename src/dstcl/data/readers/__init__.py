"""Readers: from what is on disk to arrays, one module per layout.

A reader is told a folder or archive and gives labels, split and class names at once, and pixels
piece by piece. Which reader fits is seen from the file names, not asked.
"""

from __future__ import annotations

from dstcl.data.catalog import DatasetInfo
from dstcl.data.raw import DataError, find_raw, known
from dstcl.data.readers import cifar, idx, parquet, tree
from dstcl.data.readers.files import open_files
from dstcl.data.readers.mnist5k import read_mnist5k
from dstcl.data.readers.source import Request, Source

# As in params.yaml; the smallest is for tests.
SMALLEST, LARGEST = 2, 256
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")


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
    if info.embedded:
        return read_mnist5k().source()
    return read_files(Request(find_raw(dataset, own), dataset, info, image_size, workers))


def read_files(request: Request) -> Source:
    """Read a folder, zip or tar by the layout that its file names show.

    Raises:
        DataError: naming the file that cannot be used.
    """
    if not request.path.is_dir() and not request.path.is_file():
        raise DataError(f"{request.path}: neither a folder nor a file")
    if request.path.name.endswith(TAR_SUFFIXES):
        return cifar.read_tar(request)
    if not request.path.is_dir() and request.path.suffix != ".zip":
        raise DataError(f"{request.path}: a folder, a .zip or a CIFAR archive (.tar.gz) is needed")
    files = open_files(request.path)
    names = files.names()
    if parquet.is_parquet(names):
        return parquet.read_parquet(request, files, names)
    if cifar.is_cifar(names):
        return cifar.read_extracted(request, files, names)
    if idx.is_idx(names):
        return idx.read_idx(request, files, names)
    if any(name.name == tree.ANNOTATIONS for name in names):
        return tree.read_tiny(request, files, names)
    if any(tree.is_list(name) for name in names) and not tree.has_parts(names):
        return tree.read_lists(request, files, names)
    return tree.read_tree(request, files, names)
