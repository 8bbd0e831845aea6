"""How a command is added to the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def add_command(commands: Any, name: str, command: Callable[..., None], text: str) -> Any:
    """Add a command that calls a function with the parsed options; returns its parser."""
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=command)
    return parser
