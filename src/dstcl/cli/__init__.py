"""The command line: what the rules call, and what a person can call too.

Imports happen inside the commands: reading a configuration must not load torch, and training must
not load pandas, pydantic or mlflow.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from dstcl import __version__
from dstcl.jobs.interruption import EXIT_CODE, Interrupted


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; a mistake of the user ends with one line on stderr and exit code 1."""
    options = build_parser().parse_args(arguments)
    try:
        options.command(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of a list has seen enough, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError) as error:
        sys.exit(f"dstcl: {error}")
    except Interrupted as stop:
        print(f"dstcl: {stop}", file=sys.stderr)
        sys.exit(EXIT_CODE)
    except KeyboardInterrupt:
        sys.exit("dstcl: interrupted; nothing half-written is left")


def build_parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    parser = argparse.ArgumentParser(prog="dstcl", description=__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=__version__)
    # Here and not above: the digest of a command's code must not reach the other commands.
    from dstcl.cli import config, data, results, tracking, train

    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    config.add_config(commands)
    data.add_data(commands)
    train.add_train(commands)
    results.add_results(commands)
    tracking.add_tracking(commands)
    return parser
