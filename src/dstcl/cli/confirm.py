"""Compare the verdicts, effects, accuracies and machines of a study with a recorded one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dstcl.cli.options import add_study

CONTRADICTS = 3
"""Exit code where a claim is supported in one study and contradicted in the other."""
INCOMPARABLE = 4
"""Exit code where the two are not the same study."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The two studies."""
    add_study(parser)
    parser.add_argument(
        "reference", type=Path, help="folder of the recorded study: reference/<preset>"
    )
    what = "print only the last three lines"
    parser.add_argument("--brief", action="store_true", help=what)


def run(options: argparse.Namespace) -> None:
    """Print a line a claim and three lines of summary.

    Exits with 3 if verdicts contradict each other, and with 4 if preset, settings or data differ.
    """
    from dstcl.evaluation.confirm import confirm
    from dstcl.evaluation.same_study import Incomparable
    from dstcl.reports.confirmation import rows, three_lines

    try:
        found = confirm(options.study, options.reference)
    except Incomparable as differs:
        print(f"dstcl: {differs}", file=sys.stderr)
        sys.exit(INCOMPARABLE)
    if not options.brief:
        for row in rows(found):
            paired = f" [{row['paired']}]" if row["paired"] else ""
            print(
                f"{row['outcome']:<11} {row['claim']} ({row['protocol']}): {row['here']}, "
                f"recorded {row['recorded']}; difference {row['difference'] or '-'}{paired}"
            )
    print("\n".join(three_lines(found)))
    if found.contradicts:
        sys.stdout.flush()
        sys.exit(CONTRADICTS)
