"""What a CUDA graph does, on a CPU: operations are recorded with the very tensors that they were
called with, and replayed on these without any Python in between."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITS_FOR_THE_DEVICE = {
    "aten::_local_scalar_dense",
    "aten::equal",
    "aten::is_nonzero",
    "aten::masked_select",
    "aten::nonzero",
}


class Tape(TorchDispatchMode):
    """Records in a ``with`` block. Like a graph it keeps results where they are, takes numbers for
    constants, and refuses what would wait for the device or draw from a CPU's generator."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        if name in WAITS_FOR_THE_DEVICE or kwargs.get("generator") is not None:
            raise RuntimeError(f"{name}: not permitted while recording")
        result = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, result))
        return result

    @torch.no_grad()
    def replay(self) -> None:
        """Every operation again; results go where they went."""
        for func, args, kwargs, held in self.calls:
            there = {_storage(t) for t in tensors((args, kwargs))}
            result = func(*args, **kwargs)
            for place, value in zip(tensors(held), tensors(result), strict=True):
                if _storage(value) not in there:  # else a view, or already in place
                    place.copy_(value)


class TapeRecorder:
    """A recorder of `dstcl.continual.step`, which also counts.

    The first replay is skipped: a CUDA graph does no work while it is recorded, a tape does.
    """

    made: ClassVar[list["TapeRecorder"]] = []

    def __init__(self, device: torch.device) -> None:
        self.aside_calls = self.replays = self.tapes = 0
        self.made.append(self)

    def aside(self, work: Callable[[], Any]) -> Any:
        self.aside_calls += 1
        return work()

    def record(self, work: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        self.tapes += 1
        before = self.replays
        with Tape() as tape:
            result = work()

        def replay() -> None:
            if self.replays > before:
                tape.replay()
            self.replays += 1

        return replay, result


def tensors(tree: Any) -> list[Tensor]:
    """All of them in nested arguments or results."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
