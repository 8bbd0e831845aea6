"""Names of controllers in params.yaml, and what they stand for; standard library only.

``saturation``: a built-in one with its default settings. ``{name: saturation, threshold: 0.3}``:
with others. ``{name: early, from: saturation, threshold: 0.8}``: under a label of its own, which
folders and tables show. ``module:attribute``: one of the user's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from dstcl import plugins
from dstcl.plugins import PluginError
from dstcl.study.class_facts import facts_of_file, settings_of_class
from dstcl.study.fields import Settings, defaults, plain_settings, read_settings

FIXED = "fixed"
"""No controller: every task is trained as the axes and the topology say. (Not "none", which stands
for what a method does not read.)"""
CONTROLLER = "topology.controller"
"""The key of the setting."""
SHARE = "share of "
"""What a row of decisions.csv decides that gives a criterion its share, before its name."""
_PLACE = "dstcl.continual.controllers"
BUILT_IN = {
    "saturation": f"{_PLACE}.saturation:Saturation",
    "saturation_mix": f"{_PLACE}.saturation:SaturationMix",
    "free_capacity": f"{_PLACE}.free_capacity:FreeCapacity",
    "density_by_gain": f"{_PLACE}.density_by_gain:DensityByGain",
    "settling": f"{_PLACE}.settling:Settling",
    "random_switch": f"{_PLACE}.random_switch:RandomSwitch",
    "survival_bandit": f"{_PLACE}.survival_bandit:SurvivalBandit",
    "plasticity_guard": f"{_PLACE}.plasticity_guard:PlasticityGuard",
}
"""The package's controllers by name."""
LITERALS: dict[str, type] = {"needs_validation": bool, "decides_counts": bool}
LABEL = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""What a person may call a controller: the name of a folder, and a word in tables."""


@dataclass(frozen=True)
class ControllerFacts:
    """What the planning of a study has to know of a controller.

    Attributes:
        source: the name in the form module:attribute.
        needs_validation: it decides by the accuracy on held-out images.
        decides_counts: it decides how many weights each layer of a first mask has.
        settings: class of its own settings; None without any.
    """

    source: str
    needs_validation: bool = False
    decides_counts: bool = False
    settings: type[Settings] | None = None

    @property
    def module(self) -> str:
        """Full name of the module with its class."""
        return self.source.partition(":")[0]


@dataclass(frozen=True)
class ControllerSource:
    """Where a controller comes from: what tables call it, a built-in name or module:attribute, and
    its own settings, complete."""

    label: str
    source: str
    settings: dict[str, Any] = field(default_factory=dict)


def controller_facts(name: str) -> ControllerFacts:
    """The facts of a built-in controller, or of ``module:attribute``.

    Raises:
        PluginError: there is no such controller, or its facts cannot be read; one line.
    """
    source = BUILT_IN.get(name, name)
    if not plugins.is_plugin(source):
        raise PluginError(f"allowed: {FIXED}, {', '.join(BUILT_IN)}, or module:attribute")
    if (kind := plugins.given(source)) is not None:
        own = {literal: getattr(kind, literal) for literal in LITERALS}
        return ControllerFacts(source, settings=settings_of_class(source, kind), **own)
    return _facts_of_file(source)


@cache
def _facts_of_file(source: str) -> ControllerFacts:
    return ControllerFacts(source, **facts_of_file(source, LITERALS))


def controller_source(value: str | Mapping[str, Any]) -> ControllerSource | None:
    """What a value of ``topology.controller`` stands for; None for no controller.

    Raises:
        ValueError: one line that says what is allowed.
    """
    more = {} if isinstance(value, str) else dict(value)
    label = value if isinstance(value, str) else more.pop("name", None)
    source = more.pop("from", label)
    if not isinstance(label, str) or not isinstance(source, str):
        raise ValueError("a name, or a mapping with name, from and the controller's settings")
    if source == FIXED:
        if more or label != FIXED:
            raise ValueError(f"{FIXED!r} has no settings and no other name")
        return None
    if label in (FIXED, "none"):
        raise ValueError(f"name: {label!r} is not free; choose another")
    if label != source and (label in BUILT_IN or not re.fullmatch(LABEL, label)):
        raise ValueError(
            f"name: {label!r}; a name of its own of at most 100 letters, digits, '.', '_' and '-', "
            f"none of {', '.join(BUILT_IN)}"
        )
    kind = controller_facts(source).settings
    if kind is None:
        if more:
            raise ValueError(f"{next(iter(more))}: {source} has no settings")
        return ControllerSource(label, source)
    settings = plain_settings(read_settings(kind, more, label))
    return ControllerSource(label, source, settings)


def check_controller(value: str | dict[str, Any]) -> str | dict[str, Any]:
    """The shortest form of a controller: no setting at its default, and a name alone if that is
    all, so that whoever spells out a default means the same run.

    Raises:
        ValueError: one line that says what is allowed.
    """
    found = controller_source(value)
    if found is None:
        return FIXED
    kind = controller_facts(found.source).settings
    born = defaults(kind) if kind else {}
    more = {name: v for name, v in found.settings.items() if born.get(name, ...) != v}
    origin = {} if found.source == found.label else {"from": found.source}
    return {"name": found.label} | origin | more if origin or more else found.label


def controller_label(value: str | Mapping[str, Any]) -> str:
    """What folders and tables call a value of ``topology.controller``."""
    return value if isinstance(value, str) else str(value["name"])


def controller_problem(
    value: str | Mapping[str, Any], mask_counts: str, validation: float, one_mask: bool = False
) -> str:
    """Why a controller cannot work with other settings; "" if it can.

    Args:
        value: of ``topology.controller``.
        mask_counts, validation: the settings of these names.
        one_mask: every task goes on with the mask that the last one left.
    """
    source = controller_source(value)
    if source is None:
        return ""
    label = source.label
    if mask_counts != "exact":
        return f"{CONTROLLER}: {label!r}; needs mask_counts: exact, not {mask_counts}"
    if not validation and controller_facts(source.source).needs_validation:
        return f"{CONTROLLER}: {label!r}; needs training.validation above 0, as 0.1"
    if one_mask and controller_facts(source.source).decides_counts:
        return (
            f"{CONTROLLER}: {label!r}; decides the counts of first masks, while tasks of this "
            "method go on with the mask that is there"
        )
    return ""
