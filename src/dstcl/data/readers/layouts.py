"""Folders and archives of a known layout, which is seen from the file names, not asked."""

from __future__ import annotations

from dstcl.data.raw import DataError
from dstcl.data.readers import cifar, idx, parquet, tree
from dstcl.data.readers.files import open_files
from dstcl.data.readers.source import Request, Source

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")


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
