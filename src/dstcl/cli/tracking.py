"""`dstcl track` and `dstcl register`: runs in MLflow."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dstcl.cli.command import add_command


def add_tracking(commands: Any) -> None:
    """Add the commands of this module."""
    track = add_command(commands, "track", results_track, "send finished and failed runs to MLflow")
    track.add_argument("study", type=Path, help="folder of the study: results/<preset>")
    mode = track.add_mutually_exclusive_group()
    mode.add_argument(
        "--watch",
        type=float,
        nargs="?",
        const=30.0,
        metavar="SECONDS",
        help="go on while runs train, with their curves so far (default: every 30 s)",
    )
    mode.add_argument(
        "--record",
        type=Path,
        metavar="FILE",
        help="as the pipeline does: write what was sent; without MLflow, that and no error",
    )
    track.add_argument("--failures", type=int, default=0, help="with --record: earlier ones")
    register = add_command(
        commands, "register", register_run, "put a run's model into MLflow's registry"
    )
    register.add_argument("run", type=Path, help="folder of the run: results/<preset>/runs/...")
    register.add_argument("--tasks", type=Path, help="task split; default: the pipeline's")
    register.add_argument("--data", type=Path, help="prepared file; default: the pipeline's")
    register.add_argument("--name", help="of the model; default: from preset and configuration")


def results_track(options: argparse.Namespace) -> None:
    """Send finished and failed runs to MLflow."""
    from dstcl.tracking import study

    if options.watch is not None:
        if options.watch <= 0:
            raise ValueError(f"--watch: {options.watch:g}; more than 0 seconds are needed")
        study.watch(options.study, options.watch, lambda line: print(line, flush=True))
    elif options.record:
        study.track_and_record(options.study, options.record, options.failures, print)
    else:
        print(study.track(options.study))


def register_run(options: argparse.Namespace) -> None:
    """Put a run's model into MLflow's registry."""
    from dstcl.tracking.register import register

    files = {"tasks": options.tasks, "data": options.data}
    print(register(options.run, **files, name=options.name))
