"""Image files to pixels: one image, or many at once in several processes."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import threading
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from multiprocessing import connection, get_context, parent_process
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from dstcl.data.raw import DataError
from dstcl.data.readers.files import HIGHEST_RATIO, Files, open_files
from dstcl.data.readers.source import PIECE, Notes, Pixels

if TYPE_CHECKING:
    from PIL.Image import Image as Opened

# Four times the largest photograph in ImageNet; more is a mistake or a decompression bomb.
MOST_PIXELS = 50_000_000
# Smaller images are decoded in a moment, however well they are packed.
MANY_PIXELS = 10_000_000
# Not what else Pillow can open: some of it is given to other programs, as EPS to Ghostscript.
FORMATS = ("PNG", "JPEG")
Shape = tuple[int, int, int]
"""(C, S, S) of an image."""
Task = tuple[Path, Sequence[PurePosixPath], Shape]
# Fewer images than this are decoded before another process has started.
WORTH_A_PROCESS = 4 * PIECE


def decode(content: bytes, size: int, channels: int, where: str) -> tuple[Pixels, str]:
    """One image: the short side is resized, the centre kept.

    Args:
        size: edge of the result in pixels.
        channels: 1 for grey, 3 for RGB.
        where: names the image in messages.

    Returns:
        uint8 (channels, size, size), and what the image was if it had to be converted, else "".

    Raises:
        DataError: neither PNG nor JPEG whatever its name says, damaged, absurdly large, or packed
            as only a decompression bomb is.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    mode = "L" if channels == 1 else "RGB"
    try:
        with warnings.catch_warnings(), _open(content) as image:
            count = image.width * image.height
            if count > MOST_PIXELS:
                raise DataError(f"{where}: {image.width} x {image.height} pixels; refused")
            if count > MANY_PIXELS and count > HIGHEST_RATIO * len(content):
                raise DataError(
                    f"{where}: {image.width} x {image.height} pixels in {len(content)} bytes; "
                    "refused"
                )
            converted = "" if image.mode == mode else _kind(image.mode)
            square = _eight_bit(image) if image.mode[:1] in "IF" else image
            square = square if square.mode == mode else square.convert(mode)
            if square.size != (size, size):
                square = ImageOps.fit(square, (size, size), Image.Resampling.BILINEAR)
            pixels = np.asarray(square)
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"{where}: not an image (neither {' nor '.join(FORMATS)})") from None
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise DataError(f"{where}: not an image ({error})") from None
    return pixels.reshape(size, size, channels).transpose(2, 0, 1), converted


def _open(content: bytes) -> Opened:
    from PIL import Image

    warnings.simplefilter("error", Image.DecompressionBombWarning)
    return Image.open(io.BytesIO(content), formats=FORMATS)


def resized(pixels: Pixels, size: int) -> Pixels:
    """Square images, uint8 (n, C, S, S), at another size; as `decode` does it."""
    if pixels.shape[-1] == size:
        return pixels
    from PIL import Image

    result = np.empty((*pixels.shape[:2], size, size), np.uint8)
    for image, target in zip(pixels, result, strict=True):
        whole = Image.fromarray(image.transpose(1, 2, 0).squeeze())
        small = np.asarray(whole.resize((size, size), Image.Resampling.BILINEAR))
        target[:] = small.reshape(size, size, -1).transpose(2, 0, 1)
    return result


def _kind(mode: str) -> str:
    words = {"L": "grey", "1": "black and white", "P": "palette", "CMYK": "CMYK", "RGB": "RGB"}
    return "16-bit" if mode[:1] in "IF" else words.get(mode, "with alpha" if "A" in mode else mode)


def _eight_bit(image: Opened) -> Opened:
    """16-bit grey to 8 bits; Pillow's own conversion would cut off all above 255."""
    from PIL import Image

    values = np.asarray(image)
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        raise ValueError(f"values from {values.min()} to {values.max()}, not of 8 or 16 bits")
    return Image.fromarray((values >> 8).astype(np.uint8))


@dataclass(frozen=True)
class Piece:
    """Decoded images, what they were before, and a digest of each file's content."""

    pixels: Pixels
    converted: Counter[str]
    digests: bytes


def decode_files(
    path: Path, names: Sequence[PurePosixPath], shape: Shape, workers: int
) -> Callable[[Notes], Iterator[Pixels]]:
    """The pixels of files of a folder or zip, for `Source.pieces`."""

    def pieces(notes: Notes) -> Iterator[Pixels]:
        parts = [names[k : k + PIECE] for k in range(0, len(names), PIECE)]
        tasks = ((path, part, shape) for part in parts)
        several = workers > 1 and len(names) >= WORTH_A_PROCESS
        done = _in_processes(path, tasks, workers) if several else map(_decode_part, tasks)
        digest = hashlib.sha256()
        for part, piece in zip(parts, done, strict=True):
            digest.update("\n".join(map(str, part)).encode() + piece.digests)
            notes.converted.update(piece.converted)
            yield piece.pixels
        notes.digest = digest.hexdigest()

    return pieces


def _decode_part(task: Task) -> Piece:
    path, names, shape = task
    files = _opened(path)
    images = ((f"{path}:{name}", files.read(name)) for name in names)
    return decode_piece(images, len(names), shape)


def decode_piece(images: Iterable[tuple[str, bytes]], count: int, shape: Shape) -> Piece:
    """Decode some images, each with what names it in messages."""
    channels, size, _ = shape
    pixels = np.empty((count, *shape), np.uint8)
    converted: Counter[str] = Counter()
    digests = b""
    for index, (where, content) in enumerate(images):
        pixels[index], kind = decode(content, size, channels, where)
        if kind:
            converted[kind] += 1
        digests += hashlib.sha256(content).digest()
    return Piece(pixels, converted, digests)


@lru_cache(maxsize=1)
def _opened_as(path: Path, changed: int) -> Files:
    return open_files(path)


def _opened(path: Path) -> Files:
    """A zip with its directory read once a process, not once a piece."""
    return _opened_as(path, path.stat().st_mtime_ns)


def _in_processes(path: Path, tasks: Iterator[Task], workers: int) -> Iterator[Piece]:
    """Pieces in order, with few of them under way so that memory stays small."""
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _prepare_worker)
    waiting: deque[Future[Piece]] = deque()
    try:
        waiting.extend(pool.submit(_decode_part, task) for task in islice(tasks, 2 * workers))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(_decode_part, task) for task in islice(tasks, 1))
    except BrokenProcessPool:
        raise DataError(f"{path}: a decoding process was killed; try --workers 1") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare_worker() -> None:
    """Ctrl-C is the parent's to handle, and a worker does not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
