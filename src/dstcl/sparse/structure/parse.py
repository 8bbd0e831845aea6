"""What ``structure=`` takes, and which layer gets which structure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import prod
from typing import TypeAlias

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from dstcl.sparse.densities import Shapes
from dstcl.sparse.layers import fits, is_huggingface_conv1d
from dstcl.sparse.structure.ablation import SALIENT, AblatingFanIn
from dstcl.sparse.structure.base import Structure
from dstcl.sparse.structure.blocks import Blocks
from dstcl.sparse.structure.groups import FanIn, NofM

Given: TypeAlias = str | Structure | Mapping[str, str | Structure]
"""One structure for all layers, or one for each pattern of layer names."""

NONE = "none"
TOLERANCE = 1e-6
INPUTS_FIRST = (_ConvTransposeNd, nn.Embedding, nn.EmbeddingBag)
FORMS = "none, n:m (as 2:4), block:RxC (as block:4x4), fan-in, fan-in:ablate, fan-in:ablate=SHARE"

_PATTERNS: tuple[tuple[str, Callable[[re.Match[str]], Structure]], ...] = (
    (r"(\d+):(\d+)", lambda found: NofM(int(found[1]), int(found[2]))),
    (r"block:(\d+)x(\d+)", lambda found: Blocks(int(found[1]), int(found[2]))),
    (r"fan-in", lambda _: FanIn()),
    (
        r"fan-in:ablate(?:=(\d*\.?\d+))?",
        lambda found: AblatingFanIn(float(found[1]) if found[1] else SALIENT),
    ),
)


def structure_named(given: str | Structure) -> Structure | None:
    """The structure that a name stands for; None for "none".

    Raises:
        ValueError: no such structure, or numbers that make no sense.
    """
    if isinstance(given, Structure):
        return given
    if given == NONE:
        return None
    for pattern, make in _PATTERNS:
        if isinstance(given, str) and (found := re.fullmatch(pattern, given)):
            return make(found)
    raise ValueError(f"structure: unknown {given!r}; known: {FORMS}")


def layer_structures(given: Given, shapes: Shapes) -> dict[str, Structure]:
    """The structure of every layer that has one.

    Args:
        given: a structure for all layers; or by pattern (``*``, ``?``) of the names of parameters
            or of their modules, where the first pattern that fits a layer decides, and a layer that
            none fits has no structure.
        shapes: of all layers.

    Raises:
        ValueError: an unknown structure, a pattern without a layer, or a layer whose shape cannot
            have its structure.
    """
    table = given if isinstance(given, Mapping) else {"*": given}
    named = {pattern: structure_named(value) for pattern, value in table.items()}
    if lost := [pattern for pattern in named if not any(fits(pattern, name) for name in shapes)]:
        raise ValueError(f"structure: no layer is named {lost[0]!r}; known: {', '.join(shapes)}")
    found = {}
    for name, shape in shapes.items():
        structure = next((named[pattern] for pattern in named if fits(pattern, name)), None)
        if structure is None:
            continue
        if problem := structure.problem_of_shape(shape):
            raise ValueError(
                f"structure {structure.name}: layer {name!r} has {problem}; "
                f"give it none: structure={{{name!r}: 'none', '*': {structure.name!r}}}"
            )
        found[name] = structure
    return found


def refuse_other_order(structures: Mapping[str, Structure], model: nn.Module) -> None:
    """Refuse layers whose weights do not have outputs first, which a structure goes by.

    Raises:
        ValueError: naming the layer.
    """
    for name, structure in structures.items():
        if not rows_are_outputs(model, name):
            kind = type(_layer_of(model, name)).__name__
            raise ValueError(
                f"structure {structure.name}: layer {name!r} ({kind}) does not "
                f"have outputs first; give it none: structure={{{name!r}: 'none', "
                f"'*': {structure.name!r}}}"
            )


def rows_are_outputs(model: nn.Module, name: str) -> bool:
    """Whether the first axis of a weight, given by its name, is that of its layer's outputs."""
    layer = _layer_of(model, name)
    return not (isinstance(layer, INPUTS_FIRST) or is_huggingface_conv1d(layer))


def _layer_of(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


def structured_overrides(
    structures: Mapping[str, Structure],
    shapes: Shapes,
    density: float | None,
    overrides: Mapping[str, float],
    grouped: Mapping[str, float],
) -> dict[str, float]:
    """``overrides``, and the densities that follow from a structure alone.

    Args:
        structures: by layer.
        shapes: of all layers.
        density: of all together; None where masks decide.
        overrides: densities of single layers.
        grouped: densities of the groups that layers belong to.

    Raises:
        ValueError: a structure that fixes the density of a layer for which another is given; or of
            all layers, which then have another density together.
    """
    given = {**grouped, **overrides}
    fixed = {n: d for n, s in structures.items() if (d := s.density()) is not None}
    for name in fixed.keys() & given.keys():
        if given[name] != fixed[name]:
            raise ValueError(
                f"density of layer {name!r}: structure {structures[name].name} has "
                f"{fixed[name]:g}, got {given[name]}"
            )
    if fixed and density is not None and len(fixed) == len(shapes):
        together = sum(d * prod(shapes[n]) for n, d in fixed.items())
        together /= sum(prod(shape) for shape in shapes.values())
        if abs(together - density) > TOLERANCE:
            names = ", ".join(sorted({structures[name].name for name in fixed}))
            raise ValueError(
                f"density {density}: structure {names} has {together:g}; "
                f"give density={together:g} or another n:m"
            )
    return {**overrides, **fixed}


def nearest_counts(
    structures: Mapping[str, Structure], shapes: Shapes, counts: Mapping[str, int]
) -> dict[str, int]:
    """``counts``, in layers that have a structure the nearest number that it can have."""
    return {
        name: structures[name].nearest(shapes[name], count) if name in structures else count
        for name, count in counts.items()
    }


def refuse_broken(
    key: str, structures: Mapping[str, Structure], masks: Mapping[str, Tensor]
) -> None:
    """Refuse masks without the structure of their layer.

    Raises:
        ValueError: naming the layer and what breaks the structure.
    """
    for name, structure in structures.items():
        if problem := structure.problem_of_mask(masks[name]):
            raise ValueError(f"{key}: layer {name!r} is not {structure.name}: {problem}")


def refuse_settings(
    structures: Mapping[str, Structure], candidates: str, redistribute: str
) -> None:
    """Refuse settings of the update that do not go with a structure.

    Raises:
        ValueError: counts of layers that compete, or ablation that may not grow everywhere.
    """
    if structures and redistribute != "none":
        raise ValueError(
            f"redistribute {redistribute!r}: with a structure every layer keeps its number of "
            "weights; it must be 'none'"
        )
    ablating = [s.name for s in structures.values() if isinstance(s, AblatingFanIn)]
    if ablating and candidates == "free":
        raise ValueError(
            f"candidates 'free': outputs that are left take over weights with structure "
            f"{ablating[0]}, for which free ones may not suffice; it must be 'all'"
        )
