"""Nested states taken apart into tensors and what JSON can hold, and put together again.

So that a state can be kept in a safetensors file, from which nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, each with memory of its own and without its history."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


# Functions of the module, not nested ones: a function that calls itself through its closure is a
# cycle, which would keep all tensors of a state until the garbage collector comes by.
def take_apart(value: Any, tensors: dict[str, Tensor], path: str = "") -> Any:
    """What JSON can hold of a structure of dictionaries, lists, tuples, numbers, text and tensors.

    Args:
        value: the structure.
        tensors: copies of its tensors are added, on the CPU and each with memory of its own, named
            by their place: ``masks/0.weight``.
        path: the place of ``value`` in a larger structure.

    Raises:
        TypeError: a value that is neither a tensor nor JSON.
    """
    if isinstance(value, Tensor):
        name = path or "tensor"
        while name in tensors:  # of {"a/b": ...} beside {"a": {"b": ...}}
            name += "#"
        tensors[name] = value.detach().cpu().clone().contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        pairs = [
            [take_apart(k, tensors), take_apart(v, tensors, _below(path, k))]
            for k, v in value.items()
        ]
        return {"dict": pairs}
    if isinstance(value, list | tuple):
        items = [take_apart(v, tensors, _below(path, i)) for i, v in enumerate(value)]
        return {type(value).__name__: items}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint cannot hold {value!r}")


def put_together(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `take_apart`.

    Raises:
        KeyError, TypeError, ValueError: it is not of that form.
    """
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "tensor":
        return tensors[inner]
    if kind == "dict":
        return {put_together(k, tensors): put_together(v, tensors) for k, v in inner}
    items = [put_together(item, tensors) for item in inner]
    return tuple(items) if kind == "tuple" else items


def _below(path: str, key: Any) -> str:
    return f"{path}/{key}" if path else str(key)
