"""Tables of what has a name: what is built in, what a program registers, and ``module:attribute``
for what is in a file of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from dstcl.plugins import PluginError, is_plugin, load

T = TypeVar("T")


class Registry(dict[str, T]):
    """Entries by name.

    Args:
        key: the argument that takes such names; messages begin with it.
        form: what a user's own entry is, in words.
        make: turns a name and what was given into an entry, or into None if it cannot be one.
        also: what the argument takes besides names, in words.
    """

    def __init__(
        self, key: str, form: str, make: Callable[[str, Any], T | None], also: str = ""
    ) -> None:
        self._key, self._form, self._make, self._also = key, form, make, also
        self._functions: dict[str, object] = {}

    def register(self, name: str, entry: T, function: object) -> None:
        """Give an entry a name.

        Args:
            name: letters, digits and underscores.
            entry: what the name stands for.
            function: behind the entry. Only the same one may take a name again, as it does when
                its module is reloaded or a notebook's cell is run twice.

        Raises:
            ValueError: another function has the name, or it is no name.
        """
        if not name.isidentifier():
            raise ValueError(
                f"{self._key}: {name!r} cannot be registered; a name is letters, digits and _"
            )
        if name in self and not _is_same(self._functions[name], function):
            raise ValueError(
                f"{self._key}: {name!r} is registered already, for "
                f"{_origin(self._functions[name])}; choose another name"
            )
        self[name], self._functions[name] = entry, function

    def find(self, given: object) -> T:
        """The entry behind a registered name, behind ``module:attribute``, or given as it is.

        Raises:
            ValueError: one line with the argument, the name and what would be right.
        """
        if not isinstance(given, str):
            return self._made(getattr(given, "__name__", type(given).__name__), given)
        if given in self:
            return self[given]
        if not is_plugin(given):
            known = ", ".join([*self, *filter(None, [self._also])])
            raise ValueError(
                f"unknown {self._key} {given!r}; known: {known}, or module:attribute of your own"
            )
        try:
            found = load(given)
        except PluginError as error:
            raise PluginError(f"{self._key}: {error}") from error
        return self._made(given, found)

    def _made(self, name: str, given: object) -> T:
        entry = self._make(name, given)
        if entry is None:
            kind = type(given).__name__
            raise ValueError(f"{self._key}: {name!r} is a {kind}; it must be {self._form}")
        return entry


def _is_same(one: object, other: object) -> bool:
    """Whether two objects are one function, perhaps defined again."""
    at_top_level = "<" not in getattr(one, "__qualname__", "<")
    return one is other or (at_top_level and _origin(one) == _origin(other))


def _origin(function: object) -> str:
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', '?')}.{name}"
