"""The command line: what the rules call, and what a person can call too.

One module per command, found by the command's words: `dstcl claims` is `cli.claims`, `dstcl data
prepare` is `cli.data.prepare`. The rule that calls it has the same name. See `parser`.

Imports happen inside `run`: reading a configuration must not load torch, and training must not load
pandas, pydantic or mlflow.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from dstcl.jobs.interruption import EXIT_CODE, Interrupted


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; a mistake of the user ends with one line on stderr and exit code 1."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        if given[:1] == ["train"]:
            from dstcl.jobs.handover import hand_over

            hand_over(given)
        # Not above: a new command must not change the digest of the code behind the others.
        from dstcl.cli.parser import build_parser

        options = build_parser().parse_args(given)
        options.command(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of a list has seen enough, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError) as error:
        sys.exit(f"dstcl: {error}")
    except Interrupted as stop:
        with suppress(OSError):  # the terminal may be gone
            print(f"dstcl: {stop}", file=sys.stderr)
        sys.exit(EXIT_CODE)
    except KeyboardInterrupt:
        sys.exit("dstcl: interrupted; nothing half-written is left")
