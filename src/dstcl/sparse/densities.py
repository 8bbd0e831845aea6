"""How many weights of each layer are active: densities as pure functions of shapes.

Every function takes the shapes of the maskable tensors, ``{name: shape}`` in PyTorch's layout
``(out, in / groups, *kernel)``, and a target density in (0, 1], and returns ``{name: density}``
whose weighted sum is the target: ``sum(d[l] * N[l]) == density * sum(N[l])``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

Shapes = Mapping[str, tuple[int, ...]]
Densities = dict[str, float]


def uniform_densities(shapes: Shapes, density: float, *, dense_first: bool = False) -> Densities:
    """The same density in every layer; with ``dense_first`` the first layer is kept whole.

    RigL (Evci et al. 2020) keeps the first layer dense and lets the others pay for it; the
    paper's code does not.

    Raises:
        ValueError: the density is not in (0, 1], or the first layer alone exceeds the target.
    """
    fixed = {next(iter(shapes)): 1.0} if dense_first else {}
    return proportional_densities(shapes, density, dict.fromkeys(shapes, 1.0), fixed=fixed)


def er_densities(shapes: Shapes, density: float, *, power: float = 1.0) -> Densities:
    """Erdos-Renyi: density of a layer proportional to ``(n_in + n_out) / (n_in * n_out)``.

    Mocanu et al. 2018 (SET); for convolutions the kernel size is ignored.
    """
    raw = {name: (shape[0] + shape[1]) / (shape[0] * shape[1]) for name, shape in shapes.items()}
    return proportional_densities(shapes, density, raw, power=power)


def erk_densities(shapes: Shapes, density: float, power: float = 1.0) -> Densities:
    """Erdos-Renyi kernel: density proportional to ``(sum(shape) / prod(shape)) ** power``.

    Evci et al. 2020 (RigL), appendix; section c4 of the paper's code uses ``power=1``. Layers
    whose share would exceed 1 are made dense and the rest is solved again.
    """
    raw = {name: sum(shape) / prod(shape) for name, shape in shapes.items()}
    return proportional_densities(shapes, density, raw, power=power)


def proportional_densities(
    shapes: Shapes,
    density: float,
    raw: Mapping[str, float],
    *,
    power: float = 1.0,
    fixed: Mapping[str, float] | None = None,
) -> Densities:
    """Densities proportional to ``raw ** power``, at most 1, that meet the target together.

    ``fixed`` holds layers whose density is given; the others share what remains. Layers that
    would pass 1 become dense and the factor is solved again without them, as in RigL.

    Raises:
        ValueError: no layers, a density outside (0, 1], or fixed layers that leave no solution.
    """
    if not shapes:
        raise ValueError("no layers to make sparse")
    if not 0 < density <= 1:
        raise ValueError(f"density must be in (0, 1], got {density}")
    sizes = {name: prod(shape) for name, shape in shapes.items()}
    result = dict(fixed or {})
    weights = {name: raw[name] ** power for name in shapes if name not in result}
    if sum(d * sizes[n] for n, d in result.items()) > density * sum(sizes.values()):
        raise ValueError(f"layers kept at a given density exceed the total density {density}")
    while weights:
        budget = density * sum(sizes.values()) - sum(d * sizes[n] for n, d in result.items())
        factor = budget / sum(w * sizes[name] for name, w in weights.items())
        largest = max(weights.values())
        if factor * largest <= 1:
            result |= {name: factor * w for name, w in weights.items()}
            break
        full = [name for name, w in weights.items() if w == largest]
        result |= dict.fromkeys(full, 1.0)
        weights = {name: w for name, w in weights.items() if name not in result}
    return {name: result[name] for name in shapes}


INITS: dict[str, Callable[[Shapes, float], Densities]] = {
    "uniform": uniform_densities,
    "uniform_dense_first": lambda shapes, density: uniform_densities(
        shapes, density, dense_first=True
    ),
    "er": er_densities,
    "erk": erk_densities,
}


def layer_densities(
    shapes: Shapes, density: float, init: str, overrides: Mapping[str, float] | None = None
) -> Densities:
    """Densities by the name of an init; ``overrides`` sets layers apart from the shared budget.

    An overridden layer gets exactly its density; the others meet ``density`` among themselves.

    Raises:
        ValueError: an unknown init, an override of an unknown layer or outside (0, 1].
    """
    if init not in INITS:
        raise ValueError(f"unknown init {init!r}; known: {', '.join(INITS)}")
    overrides = dict(overrides or {})
    for name, value in overrides.items():
        if name not in shapes:
            raise ValueError(f"override of unknown layer {name!r}; known: {', '.join(shapes)}")
        if not 0 < value <= 1:
            raise ValueError(f"density of layer {name!r} must be in (0, 1], got {value}")
    shared = {name: shape for name, shape in shapes.items() if name not in overrides}
    solved = INITS[init](shared, density) if shared else {}
    return {name: overrides.get(name, solved.get(name, density)) for name in shapes}


def active_counts(shapes: Shapes, densities: Mapping[str, float]) -> dict[str, int]:
    """Number of active weights a layer: the nearest integer, but never an empty layer."""
    return {
        name: max(1, min(prod(shape), int(densities[name] * prod(shape) + 0.5)))
        for name, shape in shapes.items()
    }
