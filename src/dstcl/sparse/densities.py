"""How many weights of each layer are active: densities as pure functions of shapes.

Every function takes the shapes of the maskable tensors, ``{name: shape}`` in PyTorch's layout
``(out, in / groups, *kernel)``, and a target density in (0, 1], and returns ``{name: density}``
whose weighted sum is the target: ``sum(d[l] * N[l]) == density * sum(N[l])``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from numbers import Real
from typing import Any, TypeAlias, TypeVar

from dstcl.sparse.registry import Registry

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
Densities: TypeAlias = dict[str, float]
Init: TypeAlias = Callable[[Shapes, float], Densities]
F = TypeVar("F", bound=Init)

ROUNDING = 1e-9
"""Relative error that the arithmetic of densities may have."""

INITS: Registry[Init] = Registry(
    "init",
    "a function from (shapes, density) to the density of each layer",
    lambda _, given: given if callable(given) else None,
)


def register_init(name: str) -> Callable[[F], F]:
    """Decorator: an init that ``init=`` knows by name; `proportional_densities` helps to write one.

    Args:
        name: letters, digits and underscores.

    Raises:
        ValueError: another function has the name.
    """

    def add(init: F) -> F:
        INITS.register(name, init, init)
        return init

    return add


@register_init("uniform")
def uniform_densities(shapes: Shapes, density: float, *, dense_first: bool = False) -> Densities:
    """The same density in every layer; with ``dense_first`` the first layer is kept whole.

    RigL (Evci et al. 2020) keeps the first layer dense and lets the others pay for it.

    Raises:
        ValueError: the density is not in (0, 1], or the first layer alone exceeds the target.
    """
    fixed = {next(iter(shapes)): 1.0} if dense_first else {}
    return proportional_densities(shapes, density, dict.fromkeys(shapes, 1.0), fixed=fixed)


@register_init("uniform_dense_first")
def _uniform_dense_first(shapes: Shapes, density: float) -> Densities:
    return uniform_densities(shapes, density, dense_first=True)


@register_init("er")
def er_densities(shapes: Shapes, density: float, *, power: float = 1.0) -> Densities:
    """Erdos-Renyi: density of a layer proportional to ``(n_in + n_out) / (n_in * n_out)``.

    Mocanu et al. 2018 (SET); for convolutions the kernel size is ignored.
    """
    raw = {name: (shape[0] + shape[1]) / (shape[0] * shape[1]) for name, shape in shapes.items()}
    return proportional_densities(shapes, density, raw, power=power)


@register_init("erk")
def erk_densities(shapes: Shapes, density: float, power: float = 1.0) -> Densities:
    """Erdos-Renyi kernel: density proportional to ``(sum(shape) / prod(shape)) ** power``.

    Evci et al. 2020 (RigL), appendix. Layers whose share would exceed 1 are made dense and the
    rest is solved again.
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
    _check_density(density)
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


def layer_densities(
    shapes: Shapes, density: float, init: str | Init, overrides: Mapping[str, float] | None = None
) -> Densities:
    """Densities by an init; ``overrides`` sets layers apart from the shared budget.

    An overridden layer gets exactly its density; the others meet ``density`` among themselves.

    Args:
        shapes: of all layers.
        density: of the layers that are not overridden, together.
        init: name in `INITS`, ``module:attribute``, or a function.
        overrides: density by layer.

    Raises:
        ValueError: an unknown init, one that does not meet the density, an override of an unknown
            layer or outside (0, 1].
    """
    spread = INITS.find(init)
    _check_density(density)
    overrides = dict(overrides or {})
    for name, value in overrides.items():
        if name not in shapes:
            raise ValueError(f"override of unknown layer {name!r}; known: {', '.join(shapes)}")
        if not 0 < value <= 1:
            raise ValueError(f"density of layer {name!r} must be in (0, 1], got {value}")
    shared = {name: shape for name, shape in shapes.items() if name not in overrides}
    solved = spread(shared, density) if shared else {}
    if problem := _density_problem(solved, shared, density):
        name = init if isinstance(init, str) else getattr(init, "__name__", type(init).__name__)
        raise ValueError(f"init {name!r} returned {problem}")
    return {name: overrides.get(name, solved.get(name, density)) for name in shapes}


def refuse_no_number(what: str, density: object) -> None:
    """Refuse a density that is not a number, as one out of a file may be.

    Raises:
        ValueError: it is none; one line that begins with what it is the density of.
    """
    if not isinstance(density, Real):
        raise ValueError(f"{what} {density!r}; it should be a number in (0, 1]")


def _check_density(density: float) -> None:
    if not 0 < density <= 1:
        raise ValueError(f"density must be in (0, 1], got {density}")


def _density_problem(found: Any, shapes: Shapes, density: float) -> str:
    """What is wrong with densities, and what would be right; "" if nothing is."""
    if not isinstance(found, Mapping) or set(found) != set(shapes):
        got = ", ".join(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
        return f"{got or 'nothing'}; it must return a density for each of {', '.join(shapes)}"
    for name, value in found.items():
        if not isinstance(value, Real) or not 0 <= float(value) <= 1 + ROUNDING:
            return f"{value!r} for layer {name!r}; a density is a number from 0 to 1"
    wanted = density * sum(map(prod, shapes.values()))
    active = sum(found[name] * prod(shape) for name, shape in shapes.items())
    # Whoever rounds to whole weights is off by half of one in each layer.
    if abs(active - wanted) > len(shapes) / 2 + ROUNDING * wanted:
        return f"densities of {active:.0f} active weights in all; density {density} is {wanted:.0f}"
    return ""


def active_counts(shapes: Shapes, densities: Mapping[str, float]) -> dict[str, int]:
    """Number of active weights per layer: the nearest integer, but never an empty layer."""
    return {
        name: max(1, min(prod(shape), int(densities[name] * prod(shape) + 0.5)))
        for name, shape in shapes.items()
    }
