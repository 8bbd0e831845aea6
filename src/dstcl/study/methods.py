"""What a method says of itself, read from its file without importing it.

Listing the runs of a study must load neither torch nor a user's training code, but it has to know
whether a method has a growth, and which settings it reads. So these facts are literals in the body
of the method's class (`dstcl.continual.methods.Method` explains each), and its settings are a class
that needs nothing but the standard library and `dstcl.study.fields`. A test holds that what is read
here is what the imported classes say.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from dstcl import plugins
from dstcl.codedigest import bound_names
from dstcl.plugins import PluginError
from dstcl.study.fields import Settings

BUILT_IN = {
    "dst": "dstcl.continual.methods.dst:DynamicSparse",
    "static": "dstcl.continual.methods.static:Static",
    "gradual": "dstcl.continual.methods.gradual:Gradual",
    "packnet": "dstcl.continual.methods.packnet:PackNet",
    "wsn": "dstcl.continual.methods.wsn:WinningSubnetworks",
    "supsup": "dstcl.continual.methods.supsup:Supermasks",
    "hat": "dstcl.continual.methods.hat:HardAttention",
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
    reads: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ("weights", "masks")
    trains: tuple[str, ...] = ("weights",)
    settings: type[Settings] | None = None

    @property
    def module(self) -> str:
        """Full name of the module with its class."""
        return self.source.partition(":")[0]


FLAGS = ("dense", "grows", "joint", "keeps_tasks", "own_networks")
LISTS = ("reads", "keeps", "trains")
LITERALS = (*FLAGS, *LISTS)


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
    return replace(_facts(source), source=source)


def _facts_of_class(source: str, kind: type[Any]) -> MethodFacts:
    settings = getattr(kind, "settings", None)
    if settings is not None and not (isinstance(settings, type) and issubclass(settings, Settings)):
        raise PluginError(
            f"{source!r}: settings is no subclass of dstcl.study.fields.Settings: {settings!r}"
        )
    return MethodFacts(
        source, settings=settings, **{name: getattr(kind, name) for name in LITERALS}
    )


def _facts(source: str) -> MethodFacts:
    """The facts of a class: its own over those of its bases."""
    plugin = plugins.find(source)
    file = _SourceFile(plugin.file, plugin.module)
    node = file.classes.get(plugin.attribute)
    if node is None:
        if plugin.attribute in file.imported:
            return _facts(file.imported[plugin.attribute])
        raise PluginError(f"{source!r}: {plugin.file} has no class {plugin.attribute!r}")
    facts = MethodFacts(source)
    for base in reversed(node.bases):
        if isinstance(base, ast.Name) and (found := file.where(base.id)):
            facts = _facts(found)
    own: dict[str, Any] = {}
    for name, value in _assignments(node):
        if name in LITERALS:
            own[name] = _literal(value, f"{source!r} ({file.path})", name)
        elif name == "settings":
            own[name] = _settings(file, value, source)
    return replace(facts, **own)


class _SourceFile:
    """The syntax tree of a file, its classes, and where imported names come from."""

    def __init__(self, path: Path, module: str) -> None:
        self.path, self.module = path, module
        self.body = ast.parse(path.read_bytes()).body
        self.classes = {node.name: node for node in self.body if isinstance(node, ast.ClassDef)}
        self.imported = {
            alias.asname or alias.name: f"{node.module}:{alias.name}"
            for node in self.body
            if isinstance(node, ast.ImportFrom) and node.module and not node.level
            for alias in node.names
        }

    def where(self, name: str) -> str | None:
        """A class of the file, or of an imported module, as module:attribute."""
        return f"{self.module}:{name}" if name in self.classes else self.imported.get(name)

    def needed_for(self, name: str) -> list[ast.stmt]:
        """A top-level name with every top-level statement that it uses, in their order."""
        defined: dict[str, list[ast.stmt]] = {}
        for node in self.body:
            for bound in bound_names(node):
                defined.setdefault(bound, []).append(node)
        used: set[int] = set()
        waiting = [name]
        while waiting:
            for node in defined.get(waiting.pop(), ()):
                if id(node) not in used:
                    used.add(id(node))
                    waiting += [n.id for n in ast.walk(node) if isinstance(n, ast.Name)]
        return [node for node in self.body if id(node) in used or _is_future(node)]


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _assignments(node: ast.ClassDef) -> list[tuple[str, ast.expr]]:
    """Names that the body of a class gives a value, with the value."""
    found = []
    for statement in node.body:
        targets: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets = [statement.target]
        value = getattr(statement, "value", None)
        found += [(t.id, value) for t in targets if isinstance(t, ast.Name) and value is not None]
    return found


def _literal(value: ast.expr, where: str, name: str) -> Any:
    try:
        found = ast.literal_eval(value)
    except ValueError:
        raise PluginError(f"{where}: {name} must be a literal in the body of the class") from None
    kind: type = tuple if name in LISTS else bool
    if not isinstance(found, kind):
        raise PluginError(f"{where}: {name} is {found!r}, not a {kind.__name__}")
    return found


def _settings(file: _SourceFile, value: ast.expr, source: str) -> type[Settings] | None:
    """The settings class that the body of a method's class names, made without the rest."""
    if isinstance(value, ast.Constant) and value.value is None:
        return None
    place = file.where(value.id) if isinstance(value, ast.Name) else None
    if place is None:
        raise PluginError(f"{source!r}: settings must be the name of a class of {file.path}")
    plugin = plugins.find(place)
    if plugin.file != file.path:
        file = _SourceFile(plugin.file, plugin.module)
    name = f"{plugin.module}.{plugin.attribute} of a plan"
    module = sys.modules[name] = ModuleType(name)
    tree = ast.Module(file.needed_for(plugin.attribute), [])
    try:
        exec(compile(tree, str(file.path), "exec"), module.__dict__)
    except Exception as error:  # whatever a user's file raises is told in one line
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise PluginError(f"{source!r}: its settings cannot be read ({reason})") from error
    found: Any = module.__dict__.get(plugin.attribute)
    if not (isinstance(found, type) and issubclass(found, Settings)):
        raise PluginError(f"{place!r} is no subclass of dstcl.study.fields.Settings")
    return found


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
