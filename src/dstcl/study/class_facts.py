"""What a class says of itself, read from its file without importing it.

Listing the runs of a study must load neither torch nor a user's training code. So facts are
literals in the body of a class, and its settings are a class that needs nothing but the standard
library and `dstcl.study.fields`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from dstcl import plugins
from dstcl.codedigest import bound_names
from dstcl.plugins import PluginError
from dstcl.study.fields import Settings


def facts_of_file(source: str, literals: Mapping[str, type]) -> dict[str, Any]:
    """The facts of a class, ``module:attribute``: its own over those of its bases.

    Args:
        source: the class.
        literals: names of facts, each with its type; ``settings`` besides, the name of a class.

    Raises:
        PluginError: there is no such class, or its facts cannot be read; one line.
    """
    plugin = plugins.find(source)
    file = _SourceFile(plugin.file, plugin.module)
    node = file.classes.get(plugin.attribute)
    if node is None:
        if plugin.attribute in file.imported:
            return facts_of_file(file.imported[plugin.attribute], literals)
        raise PluginError(f"{source!r}: {plugin.file} has no class {plugin.attribute!r}")
    facts: dict[str, Any] = {}
    for base in reversed(node.bases):
        if isinstance(base, ast.Name) and (found := file.where(base.id)):
            facts = facts_of_file(found, literals)
    for name, value in _assignments(node):
        if name in literals:
            facts[name] = _literal(value, f"{source!r} ({file.path})", name, literals[name])
        elif name == "settings":
            facts[name] = _settings(file, value, source)
    return facts


def settings_of_class(source: str, kind: type[Any]) -> type[Settings] | None:
    """The settings class of a class that a program has at hand.

    Raises:
        PluginError: it is none; one line.
    """
    settings = getattr(kind, "settings", None)
    if settings is not None and not (isinstance(settings, type) and issubclass(settings, Settings)):
        raise PluginError(
            f"{source!r}: settings is no subclass of dstcl.study.fields.Settings: {settings!r}"
        )
    return settings


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


def _literal(value: ast.expr, where: str, name: str, kind: type) -> Any:
    try:
        found = ast.literal_eval(value)
    except ValueError:
        raise PluginError(f"{where}: {name} must be a literal in the body of the class") from None
    if not isinstance(found, kind):
        raise PluginError(f"{where}: {name} is {found!r}, not a {kind.__name__}")
    return found


def _settings(file: _SourceFile, value: ast.expr, source: str) -> type[Settings] | None:
    """The settings class that the body of a class names, made without the rest."""
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
