"""What a settings class is made of: ranges that params.yaml, its schema and a run's JSON share.

A settings class is a frozen dataclass of the standard library, so that a machine with nothing but
torch can read a run description. pydantic understands the same classes (`Settings` and `Between`
tell it what it needs), and makes the schema of params.yaml from them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from math import inf, isfinite
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from dstcl import plugins

S = TypeVar("S", bound="Settings")


@dataclass(frozen=True)
class Between:
    """The range of a number: ``ge``, ``gt`` from below, ``le``, ``lt`` from above."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    # pydantic's form of an annotation that stands for several.
    __is_annotated_types_grouped_metadata__ = True

    def __iter__(self) -> Iterator[Any]:
        import annotated_types as limits

        kinds = {"ge": limits.Ge, "gt": limits.Gt, "le": limits.Le, "lt": limits.Lt}
        for name, kind in kinds.items():
            if (value := getattr(self, name)) is not None:
                yield kind(value)

    def problem(self, value: float) -> str:
        """What is wrong with a number, in pydantic's words; "" if nothing is."""
        checks: dict[str, tuple[Callable[[float, float], bool], str]] = {
            "ge": (lambda v, limit: v >= limit, "greater than or equal to"),
            "gt": (lambda v, limit: v > limit, "greater than"),
            "le": (lambda v, limit: v <= limit, "less than or equal to"),
            "lt": (lambda v, limit: v < limit, "less than"),
        }
        for name, (holds, words) in checks.items():
            limit = getattr(self, name)
            if limit is not None and not holds(value, limit):
                return f"should be {words} {limit:g}"
        return ""


@dataclass(frozen=True)
class Check:
    """A rule for one value: the function raises ValueError, saying what is allowed.

    Attributes:
        rule: takes the value and gives it back.
        pattern: what an editor can see of the rule, as a regular expression; "" for nothing.
    """

    rule: Callable[[Any], Any]
    pattern: str = ""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self.rule, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return handler(schema) | ({"pattern": self.pattern} if self.pattern else {})


@dataclass(frozen=True)
class BuiltInOr:
    """One of these names, or ``module:attribute`` of something of the user's own."""

    names: tuple[str, ...]

    def rule(self, value: str) -> str:
        """The value, if it has one of the two forms.

        Raises:
            ValueError: saying what is allowed.
        """
        if value not in self.names and not re.fullmatch(plugins.PATTERN, value):
            raise ValueError(f"allowed: {', '.join(self.names)}, or module:attribute")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self.rule, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        own = {"type": "string", "pattern": f"^{plugins.PATTERN}$"}
        return {"anyOf": [{"enum": list(self.names)}, own]}


class FromList:
    """A tuple that is written as a list."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return handler(source) | {"strict": False}


Fraction = Annotated[float, Between(ge=0, le=1)]


class Settings:
    """Base of settings classes, which are also ``dataclass(frozen=True, kw_only=True)``.

    Fields are numbers, text, truth values, literals, tuples (written as lists) or free mappings,
    with their range as an annotation and their meaning as the docstring below them. A rule over
    several fields goes into ``__post_init__`` and raises ValueError with a message that begins
    with the name of the field.
    """

    __pydantic_config__ = {  # noqa: RUF012
        "extra": "forbid",
        "strict": True,
        "allow_inf_nan": False,
    }

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Values stay strict, but a mapping will do for an object of the class."""
        schema = inner = handler(source)
        while inner["type"] != "dataclass":
            inner = inner["schema"]
        inner["strict"] = False
        return schema


def setting_names(kind: type[Settings]) -> tuple[str, ...]:
    """Names of the settings of a class, in order."""
    return tuple(setting_types(kind))


def defaults(kind: type[Settings]) -> dict[str, Any]:
    """The settings of a class that have a default, as `plain` values."""
    found = {}
    for one in fields(kind):  # type: ignore[arg-type]
        if one.default is not MISSING:
            found[one.name] = plain(one.default)
        elif one.default_factory is not MISSING:
            found[one.name] = plain(one.default_factory())
    return found


def plain(value: Any) -> Any:
    """A value as JSON has it: tuples are lists."""
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    return value


def plain_settings(settings: Settings) -> dict[str, Any]:
    """All settings of an object as `plain` values."""
    return {name: plain(getattr(settings, name)) for name in setting_names(type(settings))}


def read_settings(kind: type[S], values: Mapping[str, Any], where: str) -> S:
    """An object of a settings class from plain values, checked without pydantic.

    Args:
        kind: the class.
        values: by name; a name that is left out has its default.
        where: what the message of an error begins with: "training".

    Raises:
        ValueError: one line that names the key, its value and what is allowed.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}: a mapping is needed, not {values!r}")
    hints = setting_types(kind)
    if unknown := [name for name in values if name not in hints]:
        raise ValueError(f"{where}.{unknown[0]}: unknown key; allowed: {', '.join(hints)}")
    if missing := [name for name in hints if name not in values.keys() | defaults(kind).keys()]:
        raise ValueError(f"{where}.{missing[0]}: missing")
    checked = {}
    for name, value in values.items():
        try:
            checked[name] = _checked(hints[name], value)
        except ValueError as error:
            raise ValueError(f"{where}.{name}: {value!r}; {error}") from None
    try:
        return kind(**checked)
    except ValueError as error:
        raise ValueError(f"{where}.{error}") from None


def check_setting(kind: type[Settings], name: str, value: Any) -> Any:
    """One value of a setting by itself, as the class would hold it.

    Raises:
        ValueError: saying what is allowed.
    """
    return _checked(setting_types(kind)[name], value)


def setting_types(kind: type[Settings]) -> dict[str, Any]:
    """The type of each setting of a class, with its annotations."""
    return _types(cast("Any", kind))


@cache
def _types(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {one.name: hints[one.name] for one in fields(kind)}


def _checked(hint: Any, value: Any) -> Any:
    """The value as the type says it is: lists as tuples, whole numbers as floats where asked.

    Raises:
        ValueError: saying what is allowed.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _annotated(arguments[0], arguments[1:], value)
    if origin is Literal:
        if not any(value == known and type(value) is type(known) for known in arguments):
            raise ValueError(f"allowed: {', '.join(map(repr, arguments))}")
        return value
    if origin in (Union, UnionType):
        return _one_of(arguments, value)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError("should be a list")
        return tuple(_checked(arguments[0], item) for item in value)
    if hint in (dict, Any) or origin is dict:
        if origin is dict and not isinstance(value, Mapping):
            raise ValueError("should be a mapping")
        return dict(value) if origin is dict else value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:  # an integer of hundreds of digits
            number = inf
        if not isfinite(number):
            raise ValueError("should be a finite number")
        return number
    if type(value) is not hint:
        raise ValueError(f"should be of type {hint.__name__}")
    return value


def _annotated(hint: Any, annotations: tuple[Any, ...], value: Any) -> Any:
    checked = _checked(hint, value)
    for annotation in annotations:
        if isinstance(annotation, Between) and (problem := annotation.problem(checked)):
            raise ValueError(problem)
        if isinstance(annotation, Check | BuiltInOr):
            checked = annotation.rule(checked)
    return checked


def _one_of(kinds: tuple[Any, ...], value: Any) -> Any:
    reasons = []
    for kind in kinds:
        if kind is NoneType:
            if value is None:
                return None
            continue
        try:
            return _checked(kind, value)
        except ValueError as error:
            reasons.append(str(error))
    raise ValueError(" or ".join(reasons))
