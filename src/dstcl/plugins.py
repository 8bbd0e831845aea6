"""Names that a user brings: ``module:attribute``, wherever a built-in name is allowed.

The module is looked for in the working folder (where params.yaml is), then among installed
packages and on PYTHONPATH. `find` checks a name without importing anything, so that reading a
configuration stays fast; `load` imports it where it is used.

Standard library only.
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dstcl.codedigest import Package, bound_names

PATTERN = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"


_GIVEN: dict[str, Any] = {}
"""Objects of this process by the name that stands for them: see `name_of`."""


class PluginError(ValueError):
    """A name that leads nowhere, or to something that cannot be used; one line, naming the file."""


@dataclass(frozen=True)
class Plugin:
    """What a name leads to.

    Attributes:
        module: its full name.
        attribute: the name within it.
        file: the module's file.
        local: whether the file is in the working folder, and so the user's own.
    """

    module: str
    attribute: str
    file: Path
    local: bool

    @property
    def name(self) -> str:
        """The name that led here."""
        return f"{self.module}:{self.attribute}"


def is_plugin(name: str) -> bool:
    """Whether a name is of the form ``module:attribute`` rather than a built-in one."""
    return ":" in name


def find(name: str) -> Plugin:
    """The file behind a name, without importing it.

    Raises:
        PluginError: the form is wrong, there is no such module, or the user's own file defines no
            such attribute.
    """
    if not re.fullmatch(PATTERN, name):
        raise PluginError(f"{name!r}: the form is module:attribute, as own_growth:by_age")
    module, _, attribute = name.partition(":")
    if name in _GIVEN:
        source = getattr(sys.modules.get(module), "__file__", None)
        return Plugin(module, attribute, Path(source or "<input>"), local=False)
    parts = module.split(".")
    if (file := _file_below(Path.cwd(), parts)) is not None:
        plugin = Plugin(module, attribute, file, local=True)
        _check_attribute(plugin)
        return plugin
    if (file := _installed(parts)) is not None:
        return Plugin(module, attribute, file, local=False)
    wanted = "/".join(parts)
    raise PluginError(f"{name!r}: no {wanted}.py in the working folder and no installed module")


def load(name: str) -> Any:
    """Import what a name leads to.

    Raises:
        PluginError: as `find`; or the module cannot be imported, or has no such attribute.
    """
    plugin = find(name)
    if name in _GIVEN:
        return _GIVEN[name]
    folder = str(Path.cwd())
    if plugin.local and folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = import_module(plugin.module)
    except Exception as error:  # whatever a user's file raises is told in one line
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise PluginError(f"{name!r}: importing {plugin.file} failed ({reason})") from error
    found = getattr(module, "__file__", None)
    if plugin.local and (found is None or Path(found).resolve() != plugin.file.resolve()):
        raise PluginError(f"{name!r}: {plugin.file} has the name of another module; rename it")
    try:
        return getattr(module, plugin.attribute)
    except AttributeError:
        raise PluginError(f"{name!r}: {plugin.file} has no {plugin.attribute!r}") from None


def name_of(given: object) -> str:
    """A name that `find` and `load` follow to this very object, within this process.

    So that what a program has at hand, a function or a class, can be used where a name is wanted.
    Two objects never have one name, although they may have been defined in the same place.
    """
    module = getattr(given, "__module__", None) or "__main__"
    words = re.sub(r"\W+", "_", getattr(given, "__qualname__", type(given).__name__))
    base = name = f"{module}:{words}"
    count = 1
    while _GIVEN.setdefault(name, given) is not given:
        count += 1
        name = f"{base}_{count}"
    return name


def given(name: str) -> Any:
    """The object that `name_of` named so; None without one."""
    return _GIVEN.get(name)


def local_files(name: str) -> list[Path]:
    """The user's own files behind a name, sorted; none of what is installed."""
    plugin = find(name)
    return Package(Path.cwd(), prefix="").files([plugin.module]) if plugin.local else []


def code_of(name: str) -> str:
    """What the code behind a name is: a digest of the user's own files, a package's version."""
    plugin = find(name)
    if plugin.local:
        return Package(Path.cwd(), prefix="").digest([plugin.module])
    top = plugin.module.partition(".")[0]
    distributions = metadata.packages_distributions().get(top, [])
    versions = sorted(f"{found}=={metadata.version(found)}" for found in set(distributions))
    return ", ".join(versions) or f"{plugin.module}: version not known"


def _check_attribute(plugin: Plugin) -> None:
    try:
        body = ast.parse(plugin.file.read_bytes()).body
    except (OSError, SyntaxError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise PluginError(f"{plugin.name!r}: {plugin.file} is no Python file ({reason})") from None
    defined = {name for node in body for name in bound_names(node)}
    if plugin.attribute not in defined and "*" not in defined:
        known = ", ".join(sorted(name for name in defined if not name.startswith("_")))
        raise PluginError(
            f"{plugin.name!r}: {plugin.file} has no {plugin.attribute!r}; "
            f"it has {known or 'nothing'}"
        )


def _file_below(folder: Path, parts: list[str]) -> Path | None:
    path = folder.joinpath(*parts)
    candidates = (path.with_name(f"{path.name}.py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)


def _installed(parts: list[str]) -> Path | None:
    """Only the top package is asked for: finding a module below it would import it."""
    top, *below = parts
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not below:
        return Path(spec.origin) if spec.origin else None
    for place in spec.submodule_search_locations or []:
        if (file := _file_below(Path(place), below)) is not None:
            return file
    return None
