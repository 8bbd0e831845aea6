"""Folders and archives as a list of files with their content; nothing is ever extracted."""

from __future__ import annotations

import gzip
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from dstcl.data.raw import DataError, walk

# Damaged, cut off, encrypted (RuntimeError), compressed in an unknown way (NotImplementedError).
ARCHIVE_ERRORS = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, RuntimeError),
)
# The largest member of a known data set is CIFAR-100's training file, 155 MB.
LARGEST = 2**29
# deflate packs at most 1,032 to 1; data that reach half of that are no images.
HIGHEST_RATIO = 500
LINK = 0o120000


class Files(Protocol):
    """Files below one root, by relative path."""

    path: Path

    def names(self) -> list[PurePosixPath]:
        """Every file, by folder and name; not what macOS puts beside them (``._name``)."""

    def read(self, name: PurePosixPath) -> bytes:
        """The content of a file."""

    def stream(self, name: PurePosixPath) -> IO[bytes]:
        """A file to be read from front to end."""


class Folder:
    """A folder on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[PurePosixPath]:
        """See `Files`."""
        return _visible(self.path, (name for name, _ in walk(self.path)))

    def read(self, name: PurePosixPath) -> bytes:
        """See `Files`."""
        with self.stream(name) as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise DataError(f"{self.path / name}: more than {LARGEST} bytes; refused")
        return content

    def stream(self, name: PurePosixPath) -> IO[bytes]:
        """See `Files`."""
        return open_file(self.path / name)


class Zip:
    """A zip file, whose directory is checked before anything in it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with archive_errors(path):
            self._archive = zipfile.ZipFile(path)
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in self._archive.infolist():
            refuse_unsafe(path, entry.filename, link=entry.external_attr >> 16 & 0o170000 == LINK)
            if entry.filename in self._entries:
                raise DataError(f"{path}: {entry.filename!r} is in it twice")
            self._entries[entry.filename] = entry

    def names(self) -> list[PurePosixPath]:
        """See `Files`."""
        return _visible(self.path, (n for n, entry in self._entries.items() if not entry.is_dir()))

    def read(self, name: PurePosixPath) -> bytes:
        """See `Files`."""
        entry = self._checked(name)
        with archive_errors(self.path):
            return self._archive.read(entry)

    def stream(self, name: PurePosixPath) -> IO[bytes]:
        """See `Files`."""
        return self._archive.open(self._checked(name))

    def _checked(self, name: PurePosixPath) -> zipfile.ZipInfo:
        entry = self._entries[str(name)]
        packed, size = entry.compress_size, entry.file_size
        if size > LARGEST or (size > 2**20 and size > HIGHEST_RATIO * max(packed, 1)):
            raise DataError(f"{self.path}:{name}: {packed} bytes that grow to {size}; refused")
        return entry


def open_file(path: Path) -> IO[bytes]:
    """A file to be read; a pipe or a device, which could be read for ever, is not even opened.

    Raises:
        DataError: there is none, it cannot be read, or it is no plain file.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path}: is no plain file, or links to none; only files are read")
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def open_files(path: Path) -> Files:
    """A folder or a zip.

    Raises:
        DataError: not a zip, a damaged one, or one with unsafe paths in it.
    """
    return Folder(path) if path.is_dir() else Zip(path)


def tar_members(path: Path, wanted: set[str]) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    """Name and content of the wanted files of a tar, packed or not, read once and in order.

    To be used inside `archive_errors`.

    Raises:
        DataError: with unsafe paths, or members that together are too large to be right.
    """
    plain = path.suffix == ".tar"
    # tarfile's own way of reading packed streams passes over gzip's checksum.
    with path.open("rb") if plain else gzip.open(path) as file:
        total = 0
        with tarfile.open(fileobj=file, mode="r|") as archive:
            for member in archive:
                refuse_unsafe(path, member.name, link=member.issym() or member.islnk())
                total += member.size
                if total > LARGEST:
                    raise DataError(f"{path}:{member.name}: more than {LARGEST} bytes; refused")
                name = PurePosixPath(member.name)
                if member.isfile() and name.name in wanted:
                    stream = archive.extractfile(member)
                    assert stream is not None
                    yield name, stream
        while file.read(2**20) and total <= LARGEST:  # to the checksum
            total += 2**20


@contextmanager
def archive_errors(path: Path) -> Iterator[None]:
    """Whatever goes wrong in an archive, as one line that names it."""
    try:
        yield
    except DataError:
        raise
    except PermissionError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except ARCHIVE_ERRORS as error:
        raise DataError(f"{path}: damaged archive ({error})") from None


def refuse_unsafe(path: Path, name: str, *, link: bool) -> None:
    """Refuse what an archive of images has no reason to hold, although nothing is extracted."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or name[1:2] == ":":
        raise DataError(f"{path}: unsafe path {name!r} in it")
    if link:
        raise DataError(f"{path}: {name!r} in it is a link; only files are read")


def _visible(path: Path, names: Iterable[str]) -> list[PurePosixPath]:
    """All but what macOS puts beside files.

    Raises:
        DataError: a name that no text file can hold, while class names come from names.
    """
    found = []
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(f"{path}:{name!a}: this name is not UTF-8; rename it") from None
        place = PurePosixPath(name)
        if not place.name.startswith("._") and "__MACOSX" not in place.parts:
            found.append(place)
    return sorted(found)
