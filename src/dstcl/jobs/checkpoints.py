"""Checkpoints of a run in progress: atomic, verified by digest, the last two kept.

A checkpoint is a nested structure of dictionaries, lists, numbers, text and tensors in one
safetensors file: nothing is pickled. Its name carries a digest of its bytes, so a file that was
cut short or damaged is noticed, and the one before it is used.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from dstcl.storage import write_bytes

FOLDER = "checkpoints"
KEPT = 2
STRUCTURE = "structure"


def encode(state: Any) -> bytes:
    """A nested structure as the bytes of a safetensors file.

    Raises:
        TypeError: a value that is neither a tensor nor JSON.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_plain(state, tensors)).encode()
    return save({STRUCTURE: torch.frombuffer(bytearray(text), dtype=torch.uint8), **tensors})


def decode(content: bytes) -> Any:
    """The inverse of `encode`; all tensors on the CPU."""
    tensors = load(content)
    return _restored(json.loads(tensors[STRUCTURE].numpy().tobytes()), tensors)


# Not nested in the two above: a function that calls itself through its closure is a cycle, which
# would keep all tensors of a checkpoint until the garbage collector comes by.
def _plain(value: Any, tensors: dict[str, Tensor]) -> Any:
    """What JSON can hold of a structure; its tensors are added to the others."""
    if isinstance(value, Tensor):
        # A copy: safetensors refuses tensors that share memory.
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().clone().contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[_plain(k, tensors), _plain(v, tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_plain(item, tensors) for item in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint cannot hold {value!r}")


def _restored(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `_plain`."""
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "tensor":
        return tensors[inner]
    if kind == "dict":
        return {_restored(k, tensors): _restored(v, tensors) for k, v in inner}
    items = [_restored(item, tensors) for item in inner]
    return tuple(items) if kind == "tuple" else items


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: of the run.
        every: seconds between two checkpoints.
        clock: seconds that only grow.
    """

    def __init__(
        self, folder: Path, every: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.folder = folder / FOLDER
        self._every, self._clock = every, clock
        self._last = clock()

    def due(self, task_end: bool = False) -> bool:
        """Whether the last checkpoint is older than ``every``, at the end of a task than a tenth of
        it: there a checkpoint saves most, but tasks of a second need none."""
        return self._clock() - self._last >= self._every / (10 if task_end else 1)

    def save(self, state: Any) -> Path:
        """Write a checkpoint, then remove all but the last two."""
        content = encode(state)
        number = max((_number(path) for path in self._files()), default=0) + 1
        path = self.folder / f"{number:06d}-{_digest(content)}.safetensors"
        write_bytes(path, content)
        for old in self._files()[:-KEPT]:
            old.unlink(missing_ok=True)
        self._last = self._clock()
        return path

    def newest(self) -> Any | None:
        """The newest checkpoint that is whole; None where there is none."""
        for path in reversed(self._files()):
            content = path.read_bytes()
            if path.stem.rpartition("-")[2] == _digest(content):
                return decode(content)
            print(f"{path}: damaged, using the one before it", file=sys.stderr)
        return None

    def clear(self) -> None:
        """Remove every checkpoint: the run is finished."""
        for path in self.folder.glob("*"):
            path.unlink(missing_ok=True)
        if self.folder.exists():
            self.folder.rmdir()

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*-*.safetensors"), key=_number)


def _number(path: Path) -> int:
    return int(path.name.partition("-")[0])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
