"""Parquet files as dataset hubs have them: a column of images and one of labels."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import PurePosixPath
from typing import Any

from dstcl.data.raw import DataError
from dstcl.data.readers.decode import Piece, decode_piece
from dstcl.data.readers.files import Files
from dstcl.data.readers.source import PIECE, Notes, Pixels, Request, Source, assign
from dstcl.data.superclasses import FINE_NAMES

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("fine_label", "label", "labels")
PART = re.compile(r"(?<![a-z])(train|test|validation|valid|val)(?![a-z])")


def is_parquet(names: Sequence[PurePosixPath]) -> bool:
    """Whether there are Parquet files."""
    return any(name.suffix == ".parquet" for name in names)


def read_parquet(request: Request, files: Files, names: Sequence[PurePosixPath]) -> Source:
    """Files ``train*.parquet`` and ``test*.parquet``, or one part alone to be split by class.

    Images are in the order of the files' rows: two hubs may order them differently, so the digest
    of the prepared set may differ from that of a folder with the same images.
    """
    tables = [(name, _opened(request, files, name)) for name in names if name.suffix == ".parquet"]
    labels: list[str] = []
    parts: list[str] = []
    for name, table in tables:
        found = _labels(request, name, table)
        labels += found
        parts += [_part(name)] * len(found)
    if not labels:
        raise DataError(f"{request.path}: no images in it")
    numbers, is_test, class_names = assign(request, labels, parts)

    def pieces(notes: Notes) -> Iterator[Pixels]:
        digest = hashlib.sha256()
        for name, table in tables:
            for piece in _batches(request, name, table):
                notes.converted.update(piece.converted)
                digest.update(piece.digests)
                yield piece.pixels
        notes.digest = digest.hexdigest()

    return Source(numbers, is_test, class_names, request.shape, pieces)


def _opened(request: Request, files: Files, name: PurePosixPath) -> Any:
    try:
        from pyarrow import parquet
    except ImportError:
        raise DataError(
            f"{request.path}:{name}: Parquet needs the package pyarrow: pip install pyarrow"
        ) from None
    path = request.path / name
    with _named_errors(request, name):
        return parquet.ParquetFile(path if path.is_file() else io.BytesIO(files.read(name)))


@contextmanager
def _named_errors(request: Request, name: PurePosixPath) -> Iterator[None]:
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{request.path}:{name}: damaged ({first_line})") from None


def _labels(request: Request, name: PurePosixPath, table: Any) -> list[str]:
    """Class names of all rows; numbers become names where the file, or the catalogue, has them."""
    column = _column(request, name, table, LABEL_COLUMNS)
    with _named_errors(request, name):
        values = table.read([column]).column(0).to_pylist()
    if all(isinstance(value, str) for value in values):
        return values
    if not all(isinstance(value, int) and value >= 0 for value in values):
        raise DataError(f"{request.path}:{name}: column {column} holds no labels")
    known = _stored_names(table, column) or list(request.info.class_names)
    if not known and request.dataset == "cifar100":
        known = list(FINE_NAMES)
    if not known:
        width = len(str(max(values, default=0)))
        return [f"{value:0{width}}" for value in values]
    if max(values, default=0) >= len(known):
        raise DataError(f"{request.path}:{name}: label {max(values)}, there are {len(known)} names")
    return [known[value] for value in values]


def _stored_names(table: Any, column: str) -> list[str]:
    """Names of classes as the library `datasets` keeps them in a file's metadata."""
    try:
        metadata = json.loads((table.schema_arrow.metadata or {})[b"huggingface"])
        names = metadata["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return []
    return [str(name) for name in names]


def _batches(request: Request, name: PurePosixPath, table: Any) -> Iterator[Piece]:
    column = _column(request, name, table, IMAGE_COLUMNS)
    rows = count()

    def images(values: Sequence[Any]) -> Iterator[tuple[str, bytes]]:
        for value in values:
            where = f"{request.path}:{name} row {next(rows)}"
            content = value.get("bytes") if isinstance(value, dict) else value
            if not isinstance(content, bytes):
                raise DataError(f"{where}: no bytes in column {column}")
            yield where, content

    with _named_errors(request, name):
        for batch in table.iter_batches(PIECE, columns=[column]):
            yield decode_piece(images(batch.column(0).to_pylist()), len(batch), request.shape)


def _column(request: Request, name: PurePosixPath, table: Any, allowed: Sequence[str]) -> str:
    there = table.schema_arrow.names
    column = next((column for column in allowed if column in there), None)
    if column is None:
        raise DataError(
            f"{request.path}:{name}: no column {' or '.join(allowed)}; there are {', '.join(there)}"
        )
    return column


def _part(name: PurePosixPath) -> str:
    """From ``train-00000-of-00001.parquet`` or ``train/0000.parquet``."""
    for text in (name.name, name.parent.name):
        if match := PART.search(text):
            return match[1] if match[1] in ("train", "test") else "val"
    return ""
