"""A trained network for use: sparse layers in it, files of it, ONNX."""

from __future__ import annotations

import copy
import importlib.util
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dstcl.sparse.layers import first_few
from dstcl.sparse.linear import CondensedLinear, CSRLinear
from dstcl.sparse.masks import Masks, pack_masks, unpack_masks
from dstcl.sparse.structure import NofM

DENSEST = {"csr": 0.1, "condensed": 0.2, "2:4": 1.0}
"""Density up to which a form is faster than dense for most sizes (docs/benchmarks.md)."""

MASK = "mask of "
"""Before the name of a weight: the name of its mask in a file."""


def export(
    model: nn.Module,
    masks: Mapping[str, Tensor] | None = None,
    to: str = "csr",
    *,
    densest: float | None = None,
) -> nn.Module:
    """A copy of a model in evaluation mode whose sparse linear layers multiply fewer weights.

    - "csr": `CSRLinear`, any mask, on CPUs;
    - "condensed": `CondensedLinear`, constant fan-in, on CPUs;
    - "2:4": torch's semi-structured tensors, on NVIDIA GPUs from Ampere on, float16 or bfloat16;
    - "dense": nothing replaced.

    Convolutions, subclasses of `torch.nn.Linear`, layers without a mask and layers that are denser
    than ``densest`` stay as they are. So do layers with forward hooks, for "csr" and "condensed",
    and a warning names them: a hook may read or change what only the dense layer has.

    Args:
        model: trained; it is not changed.
        masks: by parameter name, as `SparseTraining.masks`; None: what is not zero is active.
        to: the form.
        densest: in (0, 1]; None: as in `DENSEST`.

    Raises:
        ValueError: an unknown form, a mask that does not fit, a layer that cannot have the form, or
            none that could be replaced; one line with the reason.
    """
    if to not in ("dense", *_FORMS):
        raise ValueError(f"to: unknown {to!r}; known: dense, {', '.join(_FORMS)}")
    if densest is not None and not 0 < densest <= 1:
        raise ValueError(f"densest must be in (0, 1], got {densest}")
    made = copy.deepcopy(model).eval()
    _put_zeros(made, masks)
    return made if to == "dense" else _replaced(made, masks, to, densest or DENSEST[to])


def save_sparse(path: Path | str, model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """All parameters and buffers, dense, and each mask at one bit per weight; a safetensors file.

    Args:
        path: of the file.
        model: its masked weights are zero wherever the mask is false.
        masks: by parameter name, as `SparseTraining.masks`.

    Raises:
        ValueError: a mask that does not fit.
    """
    from dstcl.storage import write_tensors

    weights = dict(model.named_parameters(remove_duplicate=False))
    _check_masks(weights, masks)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    packed = {MASK + name: packed for name, packed in pack_masks(masks).items()}
    write_tensors(Path(path), state | packed, {"masks": list(masks)})


def load_sparse(path: Path | str, model: nn.Module) -> Masks:
    """Load a file of `save_sparse` into a model of the same architecture; the masks.

    Raises:
        ValueError: naming the file, if it is missing, damaged, or of another model.
    """
    from dstcl.storage import read_tensors

    tensors, told = read_tensors(Path(path))
    try:
        packed = {name: tensors.pop(MASK + name) for name in told.get("masks", ())}
        model.load_state_dict(tensors)
        masks = unpack_masks(packed, {name: tuple(tensors[name].shape) for name in packed})
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: not of this model ({reason})") from None
    weights = dict(model.named_parameters(remove_duplicate=False))
    return {name: mask.to(weights[name].device) for name, mask in masks.items()}


def export_onnx(model: nn.Module, inputs: Tensor, path: Path | str) -> None:
    """The model in evaluation mode as an ONNX file with dense weights; the batch size is free.

    Args:
        model: of one input.
        inputs: an example, (batch, ...), of a batch of 2 or more.
        path: of the file.

    Raises:
        ValueError: onnx is not installed, or the example has a batch of 1.
    """
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"{', '.join(missing)} needed: pip install 'dstcl[onnx]'")
    if len(inputs) < 2:
        raise ValueError(f"inputs: a batch of {len(inputs)}; it must be 2 or more to be free")
    torch.onnx.export(
        copy.deepcopy(model).eval(),
        (inputs,),
        str(path),
        input_names=["inputs"],
        output_names=["outputs"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,
        dynamo=True,
        verbose=False,
    )


def _semi_structured(layer: nn.Linear, mask: Tensor) -> nn.Module:
    if problem := NofM(2, 4).problem_of_shape(tuple(mask.shape)):
        raise ValueError(problem)
    if int(NofM(2, 4).count(mask).max()) > 2:
        raise ValueError("more than 2 active of 4 inputs")
    if layer.weight.device.type != "cuda":
        raise ValueError(f"it is on {layer.weight.device}; 2:4 needs an NVIDIA GPU")
    try:
        weight = torch.sparse.to_sparse_semi_structured(layer.weight.detach())
    except RuntimeError as error:  # torch's own limits of type and shape
        raise ValueError(" ".join(str(error).split())) from error
    layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer


REBUILT = ("csr", "condensed")
"""Forms that are another module, without the hooks of the layer."""

_FORMS: dict[str, Callable[[nn.Linear, Tensor], nn.Module]] = {
    "csr": CSRLinear,
    "condensed": CondensedLinear,
    "2:4": _semi_structured,
}


def _put_zeros(model: nn.Module, masks: Mapping[str, Tensor] | None) -> None:
    """Weights outside their mask, if someone gave them values, do not count."""
    weights = dict(model.named_parameters(remove_duplicate=False))
    _check_masks(weights, masks or {})
    with torch.no_grad():
        for name, mask in (masks or {}).items():
            weights[name].mul_(mask.to(weights[name].device))


def _check_masks(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    for name, mask in masks.items():
        if name not in weights:
            raise ValueError(f"masks: the model has no parameter {name!r}")
        if mask.dtype != torch.bool or mask.shape != weights[name].shape:
            raise ValueError(
                f"masks: {mask.dtype} of shape {tuple(mask.shape)} for {name!r}; it must be "
                f"boolean of shape {tuple(weights[name].shape)}"
            )


def _replaced(
    model: nn.Module, masks: Mapping[str, Tensor] | None, to: str, densest: float
) -> nn.Module:
    """The model with sparse layers in it, or the one that takes its place."""
    made: dict[nn.Module, nn.Module] = {}
    seen, hooked = [], []
    weights = dict(model.named_parameters(remove_duplicate=False))
    # By tensor: a mask has one of the names of a tied weight.
    given = None if masks is None else {id(weights[name]): mask for name, mask in masks.items()}
    for name, layer in list(model.named_modules(remove_duplicate=False)):
        mask = _mask_of(layer, given)
        if mask is None:
            continue
        density = float(mask.float().mean())
        stays = to in REBUILT and _has_forward_hooks(layer)
        hooks = " and forward hooks" if stays else ""
        seen.append(f"{name or 'the model'} has density {density:.2g}{hooks}")
        if density > densest:
            continue
        if stays:
            hooked.append(name)
            continue
        if layer not in made:
            made[layer] = _made(name, layer, mask, to)
        if not name:
            return made[layer]
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, made[layer])
    if not made:
        known = "; ".join(seen) or "no linear layer has a mask"
        raise ValueError(f"to {to!r}: no layer to replace up to density {densest:g} ({known})")
    if hooked:
        warnings.warn(
            f"stays dense: {first_few(hooked)}, as it has forward hooks; remove these to export it",
            stacklevel=3,
        )
    return model


def _has_forward_hooks(layer: nn.Module) -> bool:
    return bool(layer._forward_hooks or layer._forward_pre_hooks)


def _made(name: str, layer: nn.Module, mask: Tensor, to: str) -> nn.Module:
    assert isinstance(layer, nn.Linear)
    try:
        return _FORMS[to](layer, mask)
    except ValueError as error:
        raise ValueError(
            f"to {to!r}: layer {name!r}: {error}; without its mask it stays dense"
        ) from error


def _mask_of(layer: Any, masks: Mapping[int, Tensor] | None) -> Tensor | None:
    """The mask of a layer that can be replaced; None if it cannot. Masks by ``id`` of weights."""
    # Modules read the weights of subclasses without calling them (attention, parametrizations).
    if type(layer) is not nn.Linear:
        return None
    if masks is None:
        mask = layer.weight.detach() != 0
        return None if bool(mask.all()) else mask
    given = masks.get(id(layer.weight))
    return None if given is None else given.to(layer.weight.device)
