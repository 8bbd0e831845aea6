"""Which tensors of a model get a mask, which do not and why; and masks that fit them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dstcl.sparse.masks import Masks

SHOWN = 5
"""Names in a message of one line, at most."""

LAYER_TYPES = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
"""Layers whose ``weight`` is masked; attention, recurrent layers and their cells are, too."""

Names = str | Iterable[str]
"""Names of parameters or of modules, which stand for all below; ``*``, ``?`` and ``[...]`` as in
file names. A string is one name."""


@dataclass
class Selection:
    """What is masked and what is not.

    Attributes:
        weights: to be masked, by parameter name, in module order; each tensor once.
        dense: why another matrix or kernel is not masked, by parameter name.
        shared: other names of a masked weight, with the name that it goes by.
    """

    weights: dict[str, nn.Parameter] = field(default_factory=dict)
    dense: dict[str, str] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)


UNKNOWN = "no weight of a known layer; include= masks it"
COMPUTED = "computed from other parameters, as under weight norm; include= may name one of those"


def select_weights(model: nn.Module, exclude: Names = (), include: Names = ()) -> Selection:
    """The weights to mask: of linear and convolutional layers (transposed ones included), of
    attention and of recurrent layers, and whatever ``include`` names.

    A tensor with several names (tied weights) is one weight. It goes by the first of them that is
    the weight of a layer, or else by the first, and is left out if any of them is excluded.
    ``named_parameters()`` has the first of all; with ``remove_duplicate=False`` it has every name.

    Args:
        model: any module.
        exclude: what stays dense.
        include: matrices and kernels that are masked besides, such as embeddings; also where
            ``exclude`` names them.

    Raises:
        ValueError: a name that is not in the model, or an included one without a matrix.
    """
    exclude, include = as_names(exclude), as_names(include)
    every = list(_parameters(model))
    _refuse_unknown("exclude", exclude, model)
    _refuse_unknown("include", include, model)
    found, names = Selection(), _names_by_tensor(every)
    layers = {name for name, _, of_layer in every if of_layer}
    for own_names, parameter in names.values():
        first = next((name for name in own_names if name in layers), own_names[0])
        wanted = any(fits(p, name) for p in include for name in own_names)
        reason = _why_not(parameter, own_names, layers, exclude, wanted)
        if reason is None:
            found.weights[first] = parameter
            found.shared |= {name: first for name in own_names if name != first}
        elif reason:
            found.dense[first] = reason
    found.dense |= {n: COMPUTED for n in _computed_weights(model) if not _any(exclude, n)}
    for pattern in include:
        if not any(fits(pattern, n) for n in [*found.weights, *found.shared]):
            raise ValueError(f"include: {pattern!r} has no matrix or kernel that could be masked")
    return found


PART = (
    "the largest entries of a weight cannot be chosen from a part of them. Use "
    "DistributedDataParallel"
)


def refuse_sharded(model: nn.Module) -> None:
    """Refuse what FSDP has wrapped: layers then have no weights of their own, or parts of them.

    Raises:
        ValueError: there is such a module.
    """
    for module in model.modules():
        kinds = ((kind.__module__, kind.__name__) for kind in type(module).__mro__)
        if any(
            place.startswith("torch.distributed.fsdp.") and name == "FullyShardedDataParallel"
            for place, name in kinds
        ):
            raise ValueError(f"model: sharded over processes (FullyShardedDataParallel); {PART}")


def refuse_shared_memory(model: nn.Module, weights: Mapping[str, nn.Parameter]) -> None:
    """Refuse a masked weight whose memory is also that of another trained parameter, which would
    fill the zeros of its mask.

    Raises:
        ValueError: there are two such parameters; one line with their names.
    """
    trained = {id(p): (n, p) for n, p in model.named_parameters() if p.requires_grad}
    trained |= {id(weight): (name, weight) for name, weight in weights.items()}
    owners: dict[tuple[torch.device, int], str] = {}
    # Masked ones first; only plain parameters are sure to have memory.
    for name, parameter in sorted(trained.values(), key=lambda item: item[0] not in weights):
        if type(parameter) is not nn.Parameter or parameter.is_meta or not parameter.numel():
            continue
        other = owners.setdefault((parameter.device, parameter.data_ptr()), name)
        if other != name and other in weights:
            raise ValueError(
                f"model: {other!r} and {name!r} are two parameters in one memory, of which each "
                "would undo the other's mask; make them one, as in b.weight = a.weight"
            )


def trained_weights(selection: Selection) -> dict[str, nn.Parameter]:
    """The selected weights that are trained; those that are not go to `Selection.dense`.

    Raises:
        ValueError: there are none, or one has no values yet or holds only a part of them.
    """
    for name, weight in selection.weights.items():
        if is_lazy(weight) or weight.is_meta:
            raise ValueError(f"{name!r} has no values yet; run the model once, or load its weights")
        if hasattr(weight, "device_mesh"):
            raise ValueError(
                f"{name!r} is sharded over processes (DTensor, as under FSDP2); {PART}"
            )
    still = [name for name, weight in selection.weights.items() if not weight.requires_grad]
    for name in still:
        selection.weights.pop(name)
        selection.dense[name] = "requires no gradient"
    if not selection.weights:
        why = "".join(
            f"; {name!r} is {reason}" for name, reason in list(selection.dense.items())[:3]
        )
        raise ValueError(f"the model has no linear or convolutional layer to make sparse{why}")
    unasked = still + [name for name, why in selection.dense.items() if why == COMPUTED]
    if unasked:
        told = [f"{name} ({selection.dense[name]})" for name in unasked]
        warnings.warn(f"stays dense: {first_few(told)}", stacklevel=5)
    return selection.weights


def maskable_weights(
    model: nn.Module, exclude: Names = (), include: Names = ()
) -> dict[str, nn.Parameter]:
    """The weights of `select_weights` alone."""
    return select_weights(model, exclude, include).weights


def as_names(names: Names) -> tuple[str, ...]:
    """A string is one name, not its letters."""
    return (names,) if isinstance(names, str) else tuple(names)


def fits(pattern: str, name: str) -> bool:
    """Whether a name, with or without wildcards, stands for a parameter or a module above it."""
    return any(_names(pattern, place) for place in _places(name))


def _names(pattern: str, place: str) -> bool:
    """Exact names first, as they may have brackets in them."""
    return place == pattern or fnmatchcase(place, pattern)


def converted(weights: Mapping[str, Tensor], types: Iterable[torch.dtype]) -> ValueError:
    """What to raise where weights have other types than they had when a training was made."""
    pairs = zip(weights.items(), types)
    name, now, then = next((n, w.dtype, was) for (n, w), was in pairs if w.dtype != was)
    return ValueError(
        f"model: {name!r} was {then} when this training was made, and is {now} now; convert the "
        "model first"
    )


def sparse_gradient(weights: Mapping[str, Tensor]) -> ValueError:
    """What to raise where the gradient of a weight is a sparse tensor, which no mask fits."""
    grads = ((name, weight.grad) for name, weight in weights.items())
    name = next(name for name, grad in grads if grad is not None and grad.is_sparse)
    return ValueError(
        f"{name!r} is masked, but its gradient is a sparse tensor; make the layer with "
        "sparse=False, or leave it dense: not in include=, or in exclude="
    )


def first_few(names: list[str]) -> str:
    """Names for a message of one line."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more


def _any(patterns: tuple[str, ...], name: str) -> bool:
    return any(fits(pattern, name) for pattern in patterns)


def _places(name: str) -> Iterator[str]:
    yield name
    while name:
        name = name.rpartition(".")[0]
        yield name


def is_lazy(parameter: Tensor) -> bool:
    """Whether it gets its shape from the first batch."""
    return torch.nn.parameter.is_lazy(parameter)


def unknown_name(
    key: str, given: str, known: Iterable[str], what: str = "masked weight of the model"
) -> ValueError:
    """For a name that is not there: one line with those that look like it, or with all."""
    known = [name for name in known if name]
    near = get_close_matches(given, known, n=3) or [
        name for name in known if name.endswith(f".{given}")
    ]
    said = f"did you mean {', '.join(near[:3])}?" if near else f"known: {', '.join(known[:20])}"
    return ValueError(f"{key}: {given!r} is no {what}; {said}")


def _refuse_unknown(key: str, patterns: tuple[str, ...], model: nn.Module) -> None:
    if not patterns:
        return
    modules = [name for name, _ in model.named_modules(remove_duplicate=False)]
    known = [*modules, *(name for name, *_ in _parameters(model)), *_computed_weights(model)]
    for pattern in patterns:
        if not any(_names(pattern, name) for name in known):
            raise unknown_name(key, pattern, known, "module or parameter of the model")


def _parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, bool]]:
    """Every parameter under every name that it has, and whether it is the weight of a layer."""
    for module_name, module in model.named_modules(remove_duplicate=False):
        weights = _weight_names(module)
        for local, parameter in module._parameters.items():
            if parameter is not None:
                yield _joined(module_name, local), parameter, local in weights


def _names_by_tensor(
    every: Iterable[tuple[str, nn.Parameter, bool]],
) -> dict[int, tuple[list[str], nn.Parameter]]:
    names: dict[int, tuple[list[str], nn.Parameter]] = {}
    for name, parameter, _ in every:
        names.setdefault(id(parameter), ([], parameter))[0].append(name)
    return names


def _weight_names(module: nn.Module) -> tuple[str, ...]:
    """How a layer calls what is masked in it; nothing for a module that is no such layer."""
    if isinstance(module, LAYER_TYPES) or is_huggingface_conv1d(module):
        return ("weight",)
    if isinstance(module, nn.MultiheadAttention):
        apart = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
        return ("in_proj_weight",) if module._qkv_same_embed_dim else apart
    if isinstance(module, nn.RNNBase):
        return tuple(name for name in module._flat_weights_names if name.startswith("weight"))
    return ("weight_ih", "weight_hh") if isinstance(module, nn.RNNCellBase) else ()


def is_known_layer(module: nn.Module) -> bool:
    """Whether it is one whose weights are masked, or the parts of a computed one."""
    return bool(_weight_names(module)) or isinstance(module, parametrize.ParametrizationList)


def is_huggingface_conv1d(module: nn.Module) -> bool:
    """A linear layer with a transposed weight, of GPT-2; found without importing the package."""
    kinds = ((kind.__module__, kind.__name__) for kind in type(module).__mro__)
    return any(place.startswith("transformers.") and name == "Conv1D" for place, name in kinds)


def _computed_weights(model: nn.Module) -> Iterator[str]:
    for module_name, module in model.named_modules():
        for local in _weight_names(module):
            if local not in module._parameters:
                yield _joined(module_name, local)


def _joined(module: str, local: str) -> str:
    return f"{module}.{local}" if module else local


def _why_not(
    parameter: nn.Parameter,
    names: list[str],
    layers: set[str],
    exclude: tuple[str, ...],
    wanted: bool,
) -> str | None:
    """Why a parameter stays dense; "" for a vector, of which that goes without saying; None if it
    does not."""
    if is_lazy(parameter):
        return None if wanted or layers.intersection(names) else ""
    if parameter.dim() < 2:
        return ""
    if parameter.numel() == 0:
        return "empty"
    if not parameter.is_floating_point():
        return f"{parameter.dtype}, which has no order"
    if wanted:
        return None
    if any(_any(exclude, name) for name in names):
        return "excluded"
    return None if layers.intersection(names) else UNKNOWN


def fitting_masks(key: str, given: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Masks:
    """A copy of the mask of every weight, where the weight is.

    Raises:
        ValueError: there is none, or it is not boolean and of the weight's shape.
    """
    found = {}
    for name, weight in weights.items():
        try:
            mask = given[name]
        except KeyError:
            raise ValueError(
                f"{key}: nothing for layer {name!r}; it has {', '.join(given)}"
            ) from None
        if mask.dtype != torch.bool or mask.shape != weight.shape:
            raise ValueError(
                f"{key}: {mask.dtype} of shape {tuple(mask.shape)} for layer {name!r}; "
                f"it must be boolean of shape {tuple(weight.shape)}"
            )
        found[name] = mask.to(weight.device).clone()
    return found
