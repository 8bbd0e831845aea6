"""Entries of params.yaml that are a name or a mapping: networks, methods, growths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from dstcl import plugins
from dstcl.networks import NETWORKS
from dstcl.study.fields import Check
from dstcl.study.growths import AND, GROWTH_CRITERIA, THEN, parts_of
from dstcl.study.methods import BUILT_IN, method_facts, method_settings
from dstcl.study.parts import MethodSource, NetworkSource

LABEL = r"[A-Za-z0-9][A-Za-z0-9._-]*"


def is_growth(name: str) -> bool:
    """Whether a name is of the form that a growth has."""
    try:
        parts = [part for _, part in parts_of(name)] or [name]
    except ValueError:
        return False
    return all(_is_one_growth(part) for part in parts)


def _is_one_growth(name: str) -> bool:
    """Whether this is the name of a criterion, or of a switch between two."""
    names = name.split(THEN)
    known = all(one in GROWTH_CRITERIA or plugins.is_plugin(one) for one in names)
    return known and len(set(names)) == len(names) <= 2


def check_growth(name: str) -> str:
    """A growth: a criterion or a switch between two, each built in or module:attribute; or a plan
    over the tasks, made of such growths.

    Raises:
        ValueError: saying what is allowed.
    """
    if not is_growth(name):
        simple = ", ".join(GROWTH_CRITERIA)
        raise ValueError(
            f"allowed: {simple}, module:attribute, a switch between two, as random{THEN}gradient, "
            "or a plan over tasks, as 5xrandom+5xgradient"
        )
    return name


_ONE = f"(?:{'|'.join(GROWTH_CRITERIA)}|{plugins.PATTERN})"
_IN_TASK = f"{_ONE}(?:{THEN}{_ONE})?"
_PART = rf"(?:\d+|\d+\.\d+)x{_IN_TASK}"
GrowthName = Annotated[str, Check(check_growth, rf"^(?:{_IN_TASK}|{_PART}(?:\{AND}{_PART})*)$")]


@dataclass(frozen=True)
class Entry:
    """A name, or a mapping with ``name``, ``from`` and more.

    Attributes:
        label: what folders and tables call it.
        source: a built-in name or module:attribute.
        more: the other keys of the mapping.
    """

    label: str
    source: str
    more: dict[str, Any] = field(default_factory=dict)

    known: ClassVar[tuple[str, ...]] = ()

    def __str__(self) -> str:
        return self.label

    def to_params(self) -> str | dict[str, Any]:
        """As params.yaml has it."""
        if self.label == self.source and not self.more:
            return self.label
        source = {} if self.label == self.source else {"from": self.source}
        return {"name": self.label} | source | self.more

    @classmethod
    def read(cls, value: Any) -> Entry:
        """From a name or a mapping.

        Raises:
            ValueError: one line that says what is allowed.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            label, source, more = value, value, {}
        elif isinstance(value, Mapping):
            more = dict(value)
            label = more.pop("name", None)
            source = more.pop("from", label)
            if not isinstance(label, str) or not isinstance(source, str):
                raise ValueError(f"{dict(value)!r}: needs name, a text, and may have from")
        else:
            raise ValueError("a name, or a mapping with name and from")
        if source not in cls.known and not plugins.is_plugin(source):
            raise ValueError(f"allowed: {', '.join(cls.known)}, or module:attribute")
        if label != source and label in cls.known:
            raise ValueError(f"name: {label!r} is a built-in one; choose another")
        entry = cls(label, source, more)
        entry.check()
        return entry

    def check(self) -> None:
        """Refuse what else cannot be meant.

        Raises:
            ValueError: one line that says what is allowed.
        """

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            cls.read,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda entry: entry.to_params()
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        mapping = {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string"}, "from": {"type": "string"}},
        }
        own = {"type": "string", "pattern": f"^{plugins.PATTERN}$"}
        return {"anyOf": [{"enum": list(cls.known)}, own, mapping]}


@dataclass(frozen=True)
class NetworkEntry(Entry):
    """A network: from, head, arguments."""

    known: ClassVar[tuple[str, ...]] = tuple(NETWORKS)

    def check(self) -> None:
        """Head is a name, arguments a mapping."""
        if unknown := self.more.keys() - {"head", "arguments"}:
            raise ValueError(f"{sorted(unknown)[0]}: unknown key; allowed: from, head, arguments")
        if not isinstance(self.more.get("head", ""), str | None):
            raise ValueError(f"head: {self.more['head']!r}; the name of a module")
        if not isinstance(self.more.get("arguments", {}), Mapping):
            raise ValueError(f"arguments: {self.more['arguments']!r}; a mapping")

    def network_source(self) -> NetworkSource:
        """What a run holds."""
        return NetworkSource(
            self.source, self.more.get("head"), dict(self.more.get("arguments", {}))
        )


@dataclass(frozen=True)
class MethodEntry(Entry):
    """A method: from, and its own settings."""

    known: ClassVar[tuple[str, ...]] = tuple(BUILT_IN)

    def check(self) -> None:
        """The method exists and has these settings."""
        method_facts(self.source)
        method_settings(self.source, self.more)

    def method_source(self) -> MethodSource:
        """What a run holds."""
        return MethodSource(self.source, method_settings(self.source, self.more))
