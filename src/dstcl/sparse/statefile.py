"""The state of a training as one safetensors file: tensors as they are, all else as JSON.

Nothing is unpickled. Masks have one bit per weight. A digest covers names, numbers and bytes, so
that a file that was cut short or changed is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dstcl.nested import put_together, take_apart
from dstcl.storage import read_tensors, write_tensors

if TYPE_CHECKING:
    from dstcl.sparse.training import SparseTraining

KIND = "state of a sparse training"


def save_state(path: Path | str, sparse: SparseTraining) -> None:
    """Write what `SparseTraining.state_dict` returns; the file is whole or absent.

    Raises:
        TypeError: a subclass's state holds what is neither a tensor nor JSON.
    """
    tensors: dict[str, Tensor] = {}
    told = {
        "kind": KIND,
        "training": type(sparse).__name__,
        "shapes": {name: list(shape) for name, shape in sparse.shapes.items()},
        "state": take_apart(sparse.state_dict(), tensors),
    }
    write_tensors(Path(path), tensors, told | {"digest": _digest(told, tensors)})


def load_state(path: Path | str, sparse: SparseTraining) -> None:
    """Restore a training from a file of `save_state`; model and optimiser are loaded before.

    Raises:
        ValueError: naming the file, if it is missing, damaged, or of another model or method;
            nothing is changed then.
    """
    tensors, told = read_tensors(Path(path))
    digest = told.pop("digest", None)
    if told.get("kind") != KIND:
        raise ValueError(f"{path}: holds no state of a sparse training")
    if digest != _digest(told, tensors):
        raise ValueError(f"{path}: damaged (its digest is not that of its content)")
    here = type(sparse).__name__
    if told["training"] != here:
        raise ValueError(f"{path}: is of {told['training']}, not of {here}")
    for name, shape in sparse.shapes.items():
        theirs = tuple(told["shapes"].get(name, shape))
        if theirs != shape:
            raise ValueError(
                f"{path}: not of this model; {name!r} has shape {theirs} there, {shape} here"
            )
    try:
        sparse.load_state_dict(put_together(told["state"], tensors))
    except KeyError as error:
        raise ValueError(f"{path}: has no {error.args[0]!r}, which {here} needs") from None
    except ValueError as error:
        raise ValueError(f"{path}: not of this training; {error}") from None


def _digest(told: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Of everything in the file but itself, in an order that does not depend on the file."""
    found = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()
