"""The data in Python 2's object files, as the CIFAR archives hold them, without making objects.

The format is a list of instructions to a stack machine that can call any function, which is why
such files must not be unpickled. This reader knows the instructions for dictionaries, lists,
numbers, text and one kind of array; every other instruction, and every other name, is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

ARRAY = ("numpy.core.multiarray", "_reconstruct")
ARRAY_TYPE = ("numpy", "ndarray")
KIND = ("numpy", "dtype")
NAMES = {ARRAY, ARRAY_TYPE, KIND}
READ_AT_A_TIME = 2**20


class RecordError(ValueError):
    """Not such a file, or one that asks for more than data."""


@dataclass
class _Array:
    values: Any = None


@dataclass(frozen=True)
class _Name:
    path: tuple[str, str]


@dataclass
class _Kind:
    code: str


_MARK = object()


def read_record(stream: IO[bytes]) -> dict[str, Any]:
    """The dictionary in a stream; arrays are uint8, text is str (ASCII where it is a key).

    Raises:
        RecordError: damaged, cut off, not a dictionary, or anything but plain data.
    """
    try:
        value = _Machine(stream).run()
    except RecordError:
        raise
    except (IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        raise RecordError(f"damaged ({type(error).__name__})") from None
    if not isinstance(value, dict):
        raise RecordError("not a dictionary")
    return {str(_scalar(key)): _plain(item) for key, item in value.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_scalar(item) for item in value]
    return value.values if isinstance(value, _Array) else _scalar(value)


def _scalar(value: Any) -> Any:
    """A list within a list is no part of these files, and could be larger than any memory."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if value is None or isinstance(value, int):
        return value
    raise RecordError("damaged (values within values)")


class _Machine:
    """The stack, the numbered values, and one method or lambda an instruction."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        while (code := self.take(1)) != b".":
            if code not in _INSTRUCTIONS:
                raise RecordError(f"instruction {code!r} is not one of plain data")
            _INSTRUCTIONS[code](self)
        return self.stack.pop()

    def take(self, count: int) -> bytearray | bytes:
        """Exactly so many bytes; large ones in steps, so that a wrong count costs no memory."""
        if count <= READ_AT_A_TIME:
            content: bytearray | bytes = self.stream.read(count)
        else:
            content = bytearray()
            while len(content) < count:
                step = self.stream.read(min(READ_AT_A_TIME, count - len(content)))
                if not step:
                    break
                content += step
        if len(content) < count:
            raise RecordError("cut off")
        return content

    def number(self, layout: str) -> int:
        return int(struct.unpack(layout, self.take(struct.calcsize(layout)))[0])

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def since_mark(self) -> list[Any]:
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise RecordError("damaged (no mark)")
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def last(self, count: int) -> tuple[Any, ...]:
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        return items

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise RecordError("damaged (no list)")
        target.extend(items)

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise RecordError("damaged (no dictionary)")
        target.update(zip(items[::2], items[1::2], strict=True))

    def name(self) -> None:
        path = (self.line(), self.line())
        if path not in NAMES:
            raise RecordError(f"asks for {'.'.join(path)}, which is not plain data")
        self.push(_Name(path))

    def line(self) -> str:
        text = self.stream.readline(200)
        return text.rstrip(b"\n").decode("latin-1")

    def call(self) -> None:
        function, arguments = self.last(2)
        if function == _Name(ARRAY) and arguments[0] == _Name(ARRAY_TYPE):
            self.push(_Array())
        elif function == _Name(KIND):
            self.push(_Kind(_scalar(arguments[0])))
        else:
            raise RecordError("calls something that is no array")

    def build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, _Array):
            _, shape, kind, by_column, raw = state
            if not isinstance(kind, _Kind) or kind.code not in ("u1", "|u1"):
                raise RecordError("an array of something else than bytes")
            values = np.frombuffer(raw, np.uint8)
            target.values = values.reshape(shape, order="F" if by_column else "C")
        elif not isinstance(target, _Kind):
            raise RecordError("builds something that is no array")


_INSTRUCTIONS: dict[bytes | bytearray, Callable[[_Machine], Any]] = {
    b"\x80": lambda m: m.take(1),  # version of the format
    b"(": lambda m: m.push(_MARK),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"J": lambda m: m.push(m.number("<i")),
    b"U": lambda m: m.push(m.take(m.number("<B"))),
    b"T": lambda m: m.push(m.take(m.number("<I"))),
    b")": lambda m: m.push(()),
    b"\x85": lambda m: m.push(m.last(1)),
    b"\x86": lambda m: m.push(m.last(2)),
    b"\x87": lambda m: m.push(m.last(3)),
    b"t": lambda m: m.push(tuple(m.since_mark())),
    b"]": lambda m: m.push([]),
    b"a": lambda m: m.extend([m.stack.pop()]),
    b"e": lambda m: m.extend(m.since_mark()),
    b"}": lambda m: m.push({}),
    b"s": lambda m: m.update(list(m.last(2))),
    b"u": lambda m: m.update(m.since_mark()),
    b"q": lambda m: m.memo.__setitem__(m.number("<B"), m.stack[-1]),
    b"r": lambda m: m.memo.__setitem__(m.number("<I"), m.stack[-1]),
    b"h": lambda m: m.push(m.memo[m.number("<B")]),
    b"j": lambda m: m.push(m.memo[m.number("<I")]),
    b"c": _Machine.name,
    b"R": _Machine.call,
    b"b": _Machine.build,
}
