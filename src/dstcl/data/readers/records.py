"""The data in Python 2's pickles, as the CIFAR archives hold them, without making objects.

A pickle is a list of instructions to a stack machine that can call any function, which is why such
files must never be unpickled freely. Here that is safe for three reasons. Only the instructions of
numbers, texts, lists, a dictionary and an array are known, so nothing reaches an import, an
extension or a persistent object. The three names that arrays need give stand-ins from this module,
and any other name is refused before it is looked up, so not even NumPy is called. And what a file
could ask for without end is limited: its length, its instructions and the dictionary's keys, which
must be texts, as the hash of tuples within tuples can take forever.
"""

from __future__ import annotations

import pickle
import pickletools
from typing import IO, Any

import numpy as np

from dstcl.data.readers.files import ARCHIVE_ERRORS, LARGEST

READ_AT_A_TIME = 2**20
# Longer ones are pixels.
LONGEST_TEXT = 2**12
# CIFAR-100's training file has 200,000: two for a file name, one for each of two labels.
MOST_INSTRUCTIONS = 2**20
MOST_KEYS = 20
INSTRUCTIONS = {
    *("PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2"),
    *("BINSTRING", "SHORT_BINSTRING", "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE"),
    *("TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_DICT", "SETITEM", "SETITEMS"),
    *("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "GLOBAL", "REDUCE", "BUILD"),
}
"""Those that the files need, by their names in the module pickletools."""


class RecordError(ValueError):
    """Not such a file, or one that asks for more than data."""


def read_record(stream: IO[bytes]) -> dict[str, Any]:
    """The dictionary in a stream: of numbers, texts, lists of them, and uint8 arrays.

    Raises:
        RecordError: damaged, cut off, too long, not a dictionary, or anything but plain data.
    """
    try:
        value = _Unpickler(_Steps(stream)).load()
    except (RecordError, *ARCHIVE_ERRORS):
        raise
    except Exception as error:  # unpickling damaged data may raise any, says its documentation
        raise RecordError(f"damaged ({type(error).__name__})") from None
    if not isinstance(value, _Table):
        raise RecordError("not a dictionary")
    return {key: _plain(item) for key, item in value.items()}


def _plain(value: Any) -> Any:
    """A list within a list is no part of these files, nor is anything else but these."""
    plain = (int, str, type(None))
    if isinstance(value, _Array):
        return value.values
    if isinstance(value, plain) or (
        isinstance(value, list) and all(isinstance(item, plain) for item in value)
    ):
        return value
    raise RecordError("damaged (values within values)")


class _Steps:
    """A stream as an unpickler reads it, up to a limit and with a wrong count costing no memory."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = LARGEST

    def read(self, count: int) -> bytes | bytearray:
        """Exactly so many bytes."""
        self._left -= count
        if self._left < 0:
            raise RecordError(f"longer than {LARGEST} bytes")
        if count <= READ_AT_A_TIME:
            content: bytes | bytearray = self._stream.read(count)
        else:
            content = bytearray()
            while step := self._stream.read(min(READ_AT_A_TIME, count - len(content))):
                content += step
        if len(content) < count:
            raise RecordError("cut off")
        return content

    def readline(self) -> bytes:
        """Half of a name, which is short."""
        return self._stream.readline(200)


class _Instructions(dict[int, Any]):
    """What carries out an instruction, by its code."""

    def __init__(self) -> None:
        codes = [ord(one.code) for one in pickletools.opcodes if one.name in INSTRUCTIONS]
        super().__init__({code: pickle._Unpickler.dispatch[code] for code in codes})
        self[ord(pickle.EMPTY_DICT)] = lambda unpickler: unpickler.append(_Table())
        self._left = MOST_INSTRUCTIONS

    def __getitem__(self, code: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise RecordError(f"more than {MOST_INSTRUCTIONS} instructions")
        return super().__getitem__(code)

    def __missing__(self, code: int) -> Any:
        raise RecordError(f"instruction {bytes([code])!r} is not one of plain data")


class _Table(dict[str, Any]):
    """The dictionary of a file."""

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(key, str) or len(self) >= MOST_KEYS:
            raise RecordError("a key that is no text, or too many")
        super().__setitem__(key, value)


class _Unpickler(pickle._Unpickler):
    """The unpickler that the standard library has in Python.

    The one in C has no table of instructions, and takes as much memory as a file's first number
    for the memo asks for.
    """

    def __init__(self, stream: _Steps) -> None:
        super().__init__(stream, encoding="latin-1")  # type: ignore[arg-type]
        self.dispatch = _Instructions()  # type: ignore[misc]

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name; nothing is imported."""
        if (module, name) not in NAMES:
            raise RecordError(f"asks for {f'{module}.{name}'!r}, which is not plain data")
        return NAMES[module, name]

    def _decode_string(self, value: bytes) -> str | bytes:
        """Pixels stay as they are, which takes half of the memory."""
        return value if len(value) > LONGEST_TEXT else value.decode("latin-1")


class _Array:
    """In place of an array; a pickle makes an empty one and then tells what is in it."""

    def __init__(self, *ignored: Any) -> None:
        self.values: Any = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, by_column, raw = state
        if not isinstance(kind, _Kind):
            raise RecordError("an array of something else than bytes")
        values = np.frombuffer(raw.encode("latin-1") if isinstance(raw, str) else raw, np.uint8)
        self.values = values.reshape(shape, order="F" if by_column else "C")


class _Kind:
    """In place of the type of an array's numbers, which is that of bytes."""

    def __init__(self, code: str, *ignored: Any) -> None:
        if code not in ("u1", "|u1"):
            raise RecordError("an array of something else than bytes")

    def __setstate__(self, state: Any) -> None:
        """Bytes have no order."""


NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _Kind,
}
