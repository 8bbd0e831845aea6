"""All commands with their options.

The module of a command has three things: a docstring whose first line is the command's help,
`add_arguments(parser)`, and `run(options)`. It imports at its top only what parsing needs, because
parsing any command imports all of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import cache, wraps
from importlib import import_module
from types import ModuleType
from typing import Any

from dstcl import __version__

COMMANDS = (
    "config show",
    "config runs",
    "config plan",
    "config check",
    "config schema",
    "config cost",
    "data list",
    "data add",
    "data prepare",
    "data check",
    "data sheet",
    "data split",
    "snakefile",
    "train",
    "train-study",
    "vouch",
    "collect",
    "claims",
    "confirm",
    "record",
    "figure",
    "overview",
    "summary",
    "report",
    "results-page",
    "manuscript",
    "archive",
    "partial",
    "merge",
    "track",
    "register",
    "reference read",
    "reference forensics",
)
"""In the order of `dstcl --help`; a word before another one is a group, a package of its own."""


OF_STUDY = (
    *("jinja2", "matplotlib", "mlflow", "mlxtend", "pandas", "PIL", "pydantic", "rocrate", "scipy"),
    *("snakemake", "yaml"),
)
"""Modules that the extra `study` installs, and the library does without."""


@cache
def build_parser() -> argparse.ArgumentParser:
    """The parser; parsed options have the command's function as ``options.command``."""
    parser = argparse.ArgumentParser(prog="dstcl", description=_help(import_module("dstcl.cli")))
    parser.add_argument("--version", action="version", version=__version__)
    groups: dict[str, Any] = {"": parser.add_subparsers(required=True, metavar="COMMAND")}
    for command in COMMANDS:
        group, _, name = command.rpartition(" ")
        if group not in groups:
            around = _add(groups[""], group, import_module(module_of(group)))
            groups[group] = around.add_subparsers(required=True, metavar="WHAT")
        module = import_module(module_of(command))
        own = _add(groups[group], name, module)
        module.add_arguments(own)
        own.set_defaults(command=_naming_the_extra(module.run))
    return parser


def _naming_the_extra(run: Callable[[Any], None]) -> Callable[[Any], None]:
    """The function of a command; where the extra is not installed, it ends with one line."""

    @wraps(run)
    def ran(options: argparse.Namespace) -> None:
        try:
            run(options)
        except ModuleNotFoundError as error:
            module = (error.name or "").partition(".")[0]
            if module not in OF_STUDY:
                raise
            raise ValueError(
                f"{module} is not installed: the library and training need torch alone, this "
                "command the extra study: pip install '.[study]' in a checkout, or make setup"
            ) from None

    return ran


def module_of(command: str) -> str:
    """The full name of a command's module, from the words of the command."""
    return ".".join(["dstcl.cli", *command.replace("-", "_").split()])


def _add(commands: Any, name: str, module: ModuleType) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=_help(module), description=_help(module))


def _help(module: ModuleType) -> str:
    return (module.__doc__ or "").partition("\n")[0]
