"""Which code stands behind a command, as a digest: what Snakemake cannot see by itself.

Snakemake knows the command of a rule, not the modules that it imports. Rules therefore carry the
digest of that code among their parameters, and a change of the code re-runs them. Syntax trees are
digested, so that comments, docstrings, formatting and type-checking imports cost nobody a training;
no module is imported to find out, so that planning loads neither torch nor pandas.

Standard library only. The digest is the same for every Python version that parses the code to the
same tree, on every machine and in every checkout.
"""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path

from dstcl.data.contents import remembered

UNUSED_FIELDS = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
"""Parts of a syntax tree that follow from the rest or change nothing."""
METADATA = frozenset({"__version__", "__all__"})
"""Module variables that do not decide what code does: a release must not re-run anything."""


def code_digest(*entries: str, extra: Sequence[str] = ()) -> str:
    """Sixteen hexadecimal digits over all code of this package that the entries can reach.

    Args:
        entries: modules within this package, each with all that it imports: ``cli.train``.
        extra: texts that count too, in this order, such as digests of code from elsewhere.

    Raises:
        ValueError: there is no such module.
    """
    return _digest(entries, tuple(extra))


def code_files(*entries: str) -> list[Path]:
    """The files behind `code_digest`, sorted.

    Raises:
        ValueError: there is no such module.
    """
    return _this_package().files(entries)


@cache
def _digest(entries: tuple[str, ...], extra: tuple[str, ...]) -> str:
    package, files = _this_package(), _files_here()
    what = f"code {package.folder} {entries!a} {extra!a}"
    return remembered(what, files, lambda: package.digest(entries, extra))


@cache
def _files_here() -> list[tuple[str, os.stat_result]]:
    """All files of this package, which decide what imports lead to, with their status."""
    found = sorted(map(str, Path(__file__).parent.rglob("*.py")))
    return [(file, os.stat(file)) for file in found]


@cache
def _this_package() -> Package:
    return Package(Path(__file__).parent)


class Module:
    """One file of the package, parsed when it is needed."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self._imports: dict[bool, list[tuple[str, tuple[str, ...]]]] = {}

    @cached_property
    def nodes(self) -> tuple[ast.stmt, ...]:
        """The statements that do something."""
        return tuple(_effective(ast.parse(self.path.read_bytes()).body))

    @cached_property
    def text(self) -> str:
        """These statements as text that every Python version writes alike."""
        return _as_text(self.nodes)

    def imports(self, in_functions: bool) -> list[tuple[str, tuple[str, ...]]]:
        """Full names of modules that the module may import, each with what it takes from it.

        Args:
            in_functions: whether imports inside functions count. They do not for a package that is
                only imported on the way to one of its modules: nobody calls its functions.
        """
        # Asked for once a digest, of which a study has dozens.
        if in_functions not in self._imports:
            self._imports[in_functions] = list(self._find_imports(in_functions))
        return self._imports[in_functions]

    def _find_imports(self, in_functions: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
        for node in _statements(self.nodes, in_functions):
            if isinstance(node, ast.Import):
                yield from ((alias.name, ()) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                taken = tuple(alias.name for alias in node.names)
                if not METADATA.issuperset(taken):
                    yield self.absolute(node), taken

    def absolute(self, node: ast.ImportFrom) -> str:
        """The module that ``from ... import`` names, relative ones resolved."""
        if not node.level:
            return node.module or ""
        package = self.name.split(".")
        up = node.level - (self.path.name == "__init__.py")
        base = package[: len(package) - up]
        return ".".join([*base, node.module] if node.module else base)


class Package:
    """A package on disk and the imports within it.

    Args:
        folder: of the package.
        prefix: full name of the package; "" for a folder of loose modules.
    """

    def __init__(self, folder: Path, prefix: str | None = None) -> None:
        self.folder = folder
        self.prefix = folder.name if prefix is None else prefix
        self._modules: dict[str, Module | None] = {}

    def digest(self, entries: Iterable[str], extra: Iterable[str] = ()) -> str:
        """See `code_digest`."""
        whole = hashlib.sha256()
        for name, module in sorted(self._reach(entries).items()):
            whole.update(f"{name}\n{module.text}\n".encode())
        for text in extra:
            whole.update(f"extra {text!a}\n".encode())
        return whole.hexdigest()[:16]

    def files(self, entries: Iterable[str]) -> list[Path]:
        """See `code_files`."""
        return sorted({module.path for module in self._reach(entries).values()})

    def _reach(self, entries: Iterable[str]) -> dict[str, Module]:
        """Every module that can be reached through imports, by name."""
        found: dict[str, Module] = {}
        called: set[str] = set()
        waiting = [(self._entry(entry), True) for entry in entries]
        while waiting:
            module, calls = waiting.pop()
            if module.name in called or (module.name in found and not calls):
                continue
            found[module.name] = module
            if calls:
                called.add(module.name)
            waiting += [(other, True) for other in self._imported(module, calls)]
            waiting += [(package, False) for package in self._packages(module)]
        return found

    def _imported(self, module: Module, calls: bool) -> Iterator[Module]:
        """Modules that a module uses; a package of which it takes modules alone is on the way."""
        for source, taken in module.imports(in_functions=calls):
            modules = [self._module(f"{source}.{name}") for name in taken]
            yield from filter(None, modules)
            package = self._module(source)
            if package and not (taken and all(modules)):
                yield package

    def _entry(self, name: str) -> Module:
        module = self._module(f"{self.prefix}.{name}" if self.prefix else name)
        if module is None:
            raise ValueError(f"{self.folder}: no module {name!r}")
        return module

    def _packages(self, module: Module) -> Iterator[Module]:
        """The packages around a module: Python runs their ``__init__`` on the way to it."""
        parts = module.name.split(".")
        around = (self._module(".".join(parts[:length])) for length in range(1, len(parts)))
        return filter(None, around)

    def _module(self, name: str) -> Module | None:
        """The module of that full name, or None if it is not one of this package."""
        if name not in self._modules:
            self._modules[name] = self._find(name)
        return self._modules[name]

    def _find(self, name: str) -> Module | None:
        parts = name.split(".")
        if self.prefix:
            top, *parts = parts
            if top != self.prefix:
                return None
        path = self.folder.joinpath(*parts)
        files = [path.with_name(f"{path.name}.py"), path / "__init__.py"] if name else []
        known = [file for file in files if file.is_file()]
        return Module(name, known[-1]) if known else None


def _effective(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements without those that do nothing: docstrings, type-checking imports, metadata."""
    for node in body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.If) and not node.orelse and _checks_types(node.test):
            continue
        if isinstance(node, ast.Assign) and all(
            isinstance(target, ast.Name) and target.id in METADATA for target in node.targets
        ):
            continue
        yield node


def _checks_types(test: ast.expr) -> bool:
    """Whether a condition speaks of TYPE_CHECKING, by itself or as ``typing.TYPE_CHECKING``."""
    return any(
        "TYPE_CHECKING" in getattr(part, "id", getattr(part, "attr", "")) for part in ast.walk(test)
    )


def _statements(nodes: Iterable[ast.stmt], in_functions: bool) -> Iterator[ast.stmt]:
    """Statements at every depth, those in function bodies only if asked for."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not in_functions:
            continue
        for field in ("body", "orelse", "finalbody"):
            waiting += _effective(getattr(node, field, ()))
        for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            waiting += _effective(part.body)


def bound_names(node: ast.stmt) -> list[str]:
    """Names that a top-level statement gives a value."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).split(".")[0] for alias in node.names]
    return [
        part.id
        for part in ast.walk(node)
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    ]


def _as_text(nodes: Iterable[ast.AST]) -> str:
    """Syntax trees as text: types, fields and values, without places and empty fields.

    Unlike ``ast.dump`` the text does not change when a Python version adds a field.
    """
    written: list[str] = []
    for node in nodes:
        _write(node, written.append)
    return "".join(written)


def _write(node: ast.AST, write: Callable[[str], None]) -> None:
    write(f"({type(node).__name__}")
    for field in node._fields:
        value = getattr(node, field, None)
        if value is None and not (field == "value" and isinstance(node, ast.Constant)):
            continue
        if field in UNUSED_FIELDS:
            continue
        if isinstance(value, ast.AST):
            write(f" {field}=")
            _write(value, write)
        elif isinstance(value, list):
            if value and isinstance(value[0], ast.stmt):
                value = list(_effective(value))
            if value:
                write(f" {field}=[")
                for item in value:
                    if isinstance(item, ast.AST):
                        _write(item, write)
                    else:
                        write(f" {item!a}")
                write("]")
        else:
            write(f" {field}={value!a}")
    write(")")
