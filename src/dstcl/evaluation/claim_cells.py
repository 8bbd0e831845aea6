"""Which runs a claim is about: cells and blocks by their axes, and varied settings of both."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from dstcl.data.catalog import DATASETS
from dstcl.evaluation.axes import BLOCK, CONFIGURATION, NOT_READ
from dstcl.plugins import is_plugin
from dstcl.study.entries import is_growth
from dstcl.study.growths import GROWTH_CRITERIA
from dstcl.study.models import INITS, PATTERN, Model
from dstcl.study.run import value_text

SETTING_KEY = r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+"
"""Form of the dotted key of a setting, as ``topology.update_every``."""
COMPARED = ("growth", "init", "density")

T = TypeVar("T")
Listed = Annotated[
    list[T], BeforeValidator(lambda value: value if isinstance(value, list) else [value])
]
Values = Annotated[Listed[T], Field(min_length=1)]
"""One value or a list."""


def _text(value: Any) -> str:
    try:
        return value_text(value)
    except (TypeError, ValueError):
        raise ValueError("is not a value of a setting") from None


SettingValues = Values[Annotated[Any, AfterValidator(_text)]]
"""Values of a varied setting as tables have them; a value that is a list stands in a list."""


def _named(
    what: str, allowed: tuple[str, ...], own: Callable[[str], object] = is_plugin
) -> AfterValidator:
    """Built-in names, and those of the form that names of the user's own have."""

    def check(values: list[str]) -> list[str]:
        for value in values:
            if value not in allowed and not own(value):
                raise ValueError(f"{value!r} is not a known {what}; allowed: {', '.join(allowed)}")
        return values

    return AfterValidator(check)


def _is_own(dataset: str) -> bool:
    """Whether a data set of params.yaml may have this name."""
    return re.fullmatch(PATTERN, dataset) is not None


def _axis(name: str) -> str:
    if name not in COMPARED and not re.fullmatch(SETTING_KEY, name):
        raise ValueError(
            f"{name!r} is not an axis; allowed: {', '.join(COMPARED)}, or a setting as "
            "topology.update_every"
        )
    return name


Axis = Annotated[str, AfterValidator(_axis)]
"""An axis whose values a claim compares: of a configuration, or a setting that the study varies."""


class Selection(Model):
    """Values by axis; beside the fields, any setting that a study varies, by its dotted key."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, SettingValues] = Field(init=False)

    @model_validator(mode="after")
    def _keys_are_axes_or_settings(self) -> Selection:
        for key in self.settings():
            if not re.fullmatch(SETTING_KEY, key):
                known = ", ".join(type(self).model_fields)
                raise ValueError(
                    f"{key}: unknown key; allowed: {known}, or a setting as topology.update_every"
                )
        return self

    def settings(self) -> dict[str, list[str]]:
        """The varied settings that are restricted, with their values as text."""
        return dict(self.__pydantic_extra__ or {})

    def axes(self) -> dict[str, list[Any]]:
        """All that is restricted, with the values that are left."""
        named = {axis: getattr(self, axis) for axis in type(self).model_fields}
        return {axis: values for axis, values in named.items() if values is not None} | (
            self.settings()
        )


class Cells(Selection):
    """Cells of a study by their axes; an axis that is left out is not restricted."""

    method: Values[str] | None = None
    """Built-in ones, those of other modules and labels of params.yaml; the study says which."""
    density: Values[Annotated[float, Field(gt=0, le=1)]] | None = None
    init: Annotated[Values[str], _named("init", (*INITS, NOT_READ))] | None = None
    growth: (
        Annotated[Values[str], _named("growth", (*GROWTH_CRITERIA, NOT_READ), is_growth)] | None
    ) = None


class Blocks(Selection):
    """Blocks of a study in which a claim is tested; an axis that is left out is not restricted.

    A varied setting leaves those runs of a block that have one of the values.
    """

    dataset: Annotated[Values[str], _named("dataset", tuple(DATASETS), _is_own)] | None = None
    tasks: Values[int] | None = None
    protocol: Values[str] | None = None
    network: Values[str] | None = None

    def lacks(self, block: dict[str, Any]) -> str:
        """Why the claim says nothing of this block; empty if it does."""
        for axis in BLOCK:
            values = getattr(self, axis)
            if values is not None and block[axis] not in values:
                return about_only(axis, values)
        return ""

    def holds(self, block: dict[str, Any]) -> str:
        """That the claim leaves out this block, which has all that is named; empty if not."""
        named = {axis: values for axis in BLOCK if (values := getattr(self, axis)) is not None}
        if not named or any(block[axis] not in values for axis, values in named.items()):
            return ""
        words = " and ".join(f"{axis} {block[axis]}" for axis in named)
        return f"the claim is not about {words}"


def about_only(axis: str, values: list[Any]) -> str:
    """Why a claim says nothing of other values of an axis."""
    return f"the claim is about {axis} {', '.join(map(str, values))} only"


def merged(*parts: Cells) -> dict[str, list[Any]]:
    """Axes of several selections; a later one replaces what an earlier one says of an axis.

    Unless it is named, the method is dynamic sparse training.
    """
    found: dict[str, list[Any]] = {"method": ["dst"]}
    for part in parts:
        found |= part.axes()
    return found


def not_named(axes: dict[str, list[Any]]) -> list[str]:
    """Axes of a configuration of which a selection says nothing."""
    return [axis for axis in CONFIGURATION if axis not in axes]
