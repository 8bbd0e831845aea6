"""Parts of a model with a density, an init or criteria of their own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from dstcl.sparse.densities import (
    Densities,
    Init,
    Shapes,
    layer_densities,
    refuse_no_number,
)
from dstcl.sparse.layers import fits, unknown_name

Groups = Mapping[str, Mapping[str, Any]]
"""Settings by name; a name is that of a parameter or a module, with or without wildcards."""


def group_members(
    groups: Groups, names: Collection[str], allowed: Collection[str]
) -> dict[str, list[str]]:
    """The weights of every group; one that several groups name belongs to the first.

    Args:
        groups: see `Groups`.
        names: of the masked weights.
        allowed: settings that a group may have.

    Raises:
        ValueError: a group of no weight, or without settings, or a setting that there is none of,
            or a density that is no number.
    """
    _refuse_no_mapping("groups:", groups, "settings by name, {'head': {'density': 0.5}}")
    taken: set[str] = set()
    members: dict[str, list[str]] = {}
    for pattern, settings in groups.items():
        _refuse_no_mapping(f"groups: {pattern!r} is", settings, "settings, {'density': 0.5}")
        if unknown := set(settings) - set(allowed):
            raise ValueError(
                f"groups: {pattern!r} sets {', '.join(sorted(unknown))}; "
                f"known: {', '.join(allowed)}"
            )
        if "density" in settings:
            refuse_no_number(f"groups: {pattern!r} has density", settings["density"])
        found = [name for name in names if fits(pattern, name)]
        if not found:
            raise unknown_name("groups", pattern, names)
        members[pattern] = [name for name in found if name not in taken]
        taken.update(found)
        if not members[pattern]:
            raise ValueError(f"groups: all weights of {pattern!r} belong to groups before it")
    return members


def named_overrides(overrides: Mapping[str, float] | None, names: Collection[str]) -> Densities:
    """The density of every overridden weight; an exact name wins over others, then the first.

    Raises:
        ValueError: a name that stands for no masked weight, or a density that is no number.
    """
    found: Densities = {}
    if overrides is not None:
        _refuse_no_mapping("overrides:", overrides, "densities by name, {'head': 0.5}")
    for pattern, density in sorted(
        (overrides or {}).items(), key=lambda item: item[0] not in names
    ):
        refuse_no_number(f"overrides: {pattern!r} has density", density)
        matching = [name for name in names if fits(pattern, name)]
        if not matching:
            raise unknown_name("overrides", pattern, names)
        found = dict.fromkeys(matching, density) | found
    return found


def _refuse_no_mapping(what: str, given: object, form: str) -> None:
    if not isinstance(given, Mapping):
        raise ValueError(f"{what} {given!r}; it should be {form}")


def spread_density(
    shapes: Shapes,
    density: float,
    init: str | Init,
    single: Densities,
    groups: Groups,
    members: Mapping[str, list[str]],
) -> Densities:
    """The density of every weight.

    A group with a density or an init of its own spreads its density over its weights alone; the
    others share ``density`` among themselves. ``single`` has the densities of single weights.

    Raises:
        ValueError: see `layer_densities`.
    """
    apart = {p: m for p, m in members.items() if {"density", "init"} & set(groups[p])}
    grouped = {name for names in apart.values() for name in names}
    parts = [(set(shapes) - grouped, density, init)]
    for pattern, names in apart.items():
        own = groups[pattern]
        parts.append((set(names), own.get("density", density), own.get("init", init)))
    found: Densities = {}
    for included, part_density, part_init in parts:
        part = {name: shape for name, shape in shapes.items() if name in included}
        if part:
            mine = {name: value for name, value in single.items() if name in part}
            found |= layer_densities(part, part_density, part_init, mine)
    return {name: found[name] for name in shapes}
