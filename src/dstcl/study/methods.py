"""What a method says of itself, read from its file without importing it.

Listing the runs of a study must load neither torch nor a user's training code, but it has to know
whether a method has a growth, and which settings it reads. So these facts are literals in the body
of the method's class (`dstcl.continual.methods.Method` explains each), and its settings are a class
that needs nothing but the standard library and `dstcl.study.fields`. A test holds that what is read
here is what the imported classes say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from dstcl import plugins
from dstcl.plugins import PluginError
from dstcl.study.class_facts import facts_of_file, settings_of_class
from dstcl.study.fields import Settings

BUILT_IN = {
    "dst": "dstcl.continual.methods.dst:DynamicSparse",
    "static": "dstcl.continual.methods.static:Static",
    "gradual": "dstcl.continual.methods.gradual:Gradual",
    "packnet": "dstcl.continual.methods.packnet:PackNet",
    "wsn": "dstcl.continual.methods.wsn:WinningSubnetworks",
    "supsup": "dstcl.continual.methods.supsup:Supermasks",
    "hat": "dstcl.continual.methods.hat:HardAttention",
    "nispa": "dstcl.continual.methods.nispa:Nispa",
    "disjoint": "dstcl.continual.methods.disjoint:Disjoint",
    "unisolated": "dstcl.continual.methods.unisolated:Unisolated",
    "finetune": "dstcl.continual.methods.finetune:FineTuning",
    "ewc": "dstcl.continual.methods.ewc:Ewc",
    "separate": "dstcl.continual.methods.separate:Separate",
    "joint": "dstcl.continual.methods.joint:Joint",
}
"""The package's methods by name, each in a file of its own."""


@dataclass(frozen=True)
class MethodFacts:
    """What the planning of a study has to know of a method.

    Attributes:
        source: the name in the form module:attribute.
        dense: every weight is active, so density, init and growth mean nothing.
        grows: it has a growth criterion.
        joint: all tasks are learned at once.
        keeps_tasks: later tasks never change what a finished one computes.
        own_networks: each task keeps a whole network of its own.
        one_budget: the density is that of the whole sequence.
        nested: a task uses all that earlier ones use, and adds to it what density says.
        one_mask: all tasks have the mask that the last one left.
        reads: keys of the topology and of the switches that change what it does; ``topology``
            stands for the whole section.
        keeps, trains: what is stored between tasks, and what an optimiser moves; see
            `dstcl.study.kept`.
        settings: class of its own settings; None without any.
    """

    source: str
    dense: bool = False
    grows: bool = False
    joint: bool = False
    keeps_tasks: bool = True
    own_networks: bool = False
    nested: bool = False
    one_budget: bool = False
    one_mask: bool = False
    reads: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ("weights", "masks")
    trains: tuple[str, ...] = ("weights",)
    settings: type[Settings] | None = None

    @property
    def module(self) -> str:
        """Full name of the module with its class."""
        return self.source.partition(":")[0]


LITERALS: dict[str, type] = {
    **dict.fromkeys(("dense", "grows", "joint", "keeps_tasks", "own_networks"), bool),
    **dict.fromkeys(("nested", "one_budget", "one_mask"), bool),
    **dict.fromkeys(("reads", "keeps", "trains"), tuple),
}


def method_facts(name: str) -> MethodFacts:
    """The facts of a built-in method, or of ``module:attribute``.

    A class that a program gave a name (`plugins.name_of`) is asked itself.

    Raises:
        PluginError: there is no such method, or its facts cannot be read; one line.
    """
    source = BUILT_IN.get(name, name)
    if not plugins.is_plugin(source):
        raise PluginError(f"{name!r}; allowed: {', '.join(BUILT_IN)}, or module:attribute")
    if (kind := plugins.given(source)) is not None:
        return _facts_of_class(source, kind)
    return _facts_of_file(source)


@cache
def _facts_of_file(source: str) -> MethodFacts:
    return MethodFacts(source, **facts_of_file(source, LITERALS))


def _facts_of_class(source: str, kind: type[Any]) -> MethodFacts:
    own = {name: getattr(kind, name) for name in LITERALS}
    return MethodFacts(source, settings=settings_of_class(source, kind), **own)


def method_settings(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A method's own settings, complete and checked, as plain values.

    Raises:
        ValueError: one line that names the key and what is allowed.
    """
    from dstcl.study.fields import plain_settings, read_settings

    kind = method_facts(name).settings
    if kind is None:
        if values:
            raise ValueError(f"methods.{name}.{next(iter(values))}: {name} has no settings")
        return {}
    return plain_settings(read_settings(kind, values, f"methods.{name}"))
