"""Parts of a run: its axes, the keys of its settings, where its network and method come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dstcl.study.fields import plain, setting_names
from dstcl.study.settings import SECTIONS

AXES = (
    "dataset",
    "tasks",
    "protocol",
    "network",
    "method",
    "density",
    "init",
    "growth",
    "seed",
)
SECTIONED = {
    name: f"{section}.{name}" for section, kind in SECTIONS.items() for name in setting_names(kind)
}
"""The key of every setting of a section by its bare name; no two sections share one."""
NOT_READ = "none"
"""Value of an axis or a varied setting that the run's method does not read."""


@dataclass(frozen=True)
class NetworkSource:
    """Where a network comes from.

    Attributes:
        source: a built-in name, or module:attribute of something that returns a torch module.
        head: name of its last linear layer; None to find it.
        arguments: keyword arguments for what is called.
    """

    source: str
    head: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, without what is left at its default."""
        given = {"head": self.head, "arguments": plain(self.arguments)}
        return {"from": self.source} | {name: value for name, value in given.items() if value}


@dataclass(frozen=True)
class MethodSource:
    """Where a method comes from: a built-in name or module:attribute, and its own settings."""

    source: str
    settings: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"from": self.source, **plain(self.settings)}
