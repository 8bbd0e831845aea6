"""`dstcl train` and `dstcl train-study`: train runs from their descriptions."""

from __future__ import annotations

import argparse
import json
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from dstcl.cli.command import add_command
from dstcl.jobs.interruption import CHECKPOINT_EVERY


def add_train(commands: Any) -> None:
    """Add the commands of this module."""
    train = add_command(commands, "train", train_one, "train one run from its description")
    source = train.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", help="run description as JSON (dstcl config runs --json)")
    source.add_argument("--run-file", type=Path, help="file with that JSON")
    train.add_argument("--data", type=Path, required=True, help="prepared file")
    train.add_argument("--tasks", type=Path, required=True, help="task split of that data")
    train.add_argument("--out", type=Path, required=True, help="folder of the run")
    train.add_argument("--test-batch-size", type=int, help="instead of the description's")
    train.add_argument("--gpus", type=int, help="GPUs given to this job: 0 or 1, not --device")

    study = add_command(
        commands, "train-study", train_study, "train what is left of a study, without Snakemake"
    )
    study.add_argument("study", type=Path, help="folder with plan.json; runs/ is written in it")
    study.add_argument("--data", type=Path, default=Path("data"), help="holds prepared/ and tasks/")
    study.add_argument("--logs", type=Path, help="a log a run (default logs/<preset>/train)")
    study.add_argument("--only", default="*", help="runs whose folder matches, as '*/erk/*'")
    study.add_argument("--at-once", type=int, default=1, help="runs at a time (default 1)")
    for command in (train, study):
        _add_where_and_when(command)


def _add_where_and_when(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", help="auto, cpu or cuda")
    command.add_argument("--gpu-slots", default="", help="cards x runs a card of this machine: 4x2")
    command.add_argument("--threads", type=int, help="CPU threads of a run")
    command.add_argument(
        "--checkpoint-every",
        type=_seconds,
        default=CHECKPOINT_EVERY,
        metavar="SECONDS",
        help="between checkpoints, from which an interrupted run goes on (default %(default)g)",
    )


def _seconds(text: str) -> float:
    if not (value := float(text)) >= 0:
        raise argparse.ArgumentTypeError(f"{text!r}; 0 or more seconds")
    return value


def train_one(options: argparse.Namespace) -> None:
    """Train one run from its description, on the card that this job was given."""
    from dstcl.jobs.devices import granted_device

    with granted_device(options.device, options.gpus, options.gpu_slots) as device:
        _train_on(device, options)


def _train_on(device: str, options: argparse.Namespace) -> None:
    from dstcl.jobs.progress import EpochProgress
    from dstcl.jobs.train import train_run
    from dstcl.storage import read_json
    from dstcl.study.run import Run

    try:
        values = json.loads(options.run) if options.run else read_json(options.run_file)
    except json.JSONDecodeError as error:
        raise ValueError(f"--run: not JSON ({error})") from None
    run = Run.from_dict(values)
    if options.test_batch_size is not None:
        run = run.changed({"training.test_batch_size": options.test_batch_size})
    with EpochProgress(run) as progress:
        metrics = train_run(
            run,
            options.data,
            options.tasks,
            options.out,
            device=device,
            threads=options.threads,
            progress=progress,
            checkpoint_every=options.checkpoint_every,
        )
    print(f"done: accuracy {metrics['acc']:.4f} in {metrics['seconds']:.1f} s", file=sys.stderr)


def train_study(options: argparse.Namespace) -> None:
    """Train the runs of a plan that are not finished, several at a time where asked for."""
    from dstcl.jobs.many import Place, train_many
    from dstcl.study.plan import read_plan

    if options.at_once < 1:
        raise ValueError(f"--at-once: {options.at_once}; at least 1")
    preset, planned = read_plan(options.study)
    chosen = [run for run in planned if fnmatch(run.folder, options.only)]
    if not chosen:
        raise ValueError(f"--only: {options.only!r} matches none of {len(planned)} runs")
    place = Place(
        options.data,
        options.study / "runs",
        options.logs or Path("logs", preset, "train"),
        options.device,
        options.gpu_slots,
        options.threads,
        options.checkpoint_every,
    )
    train_many(
        chosen, place, options.at_once, lambda line: print(line, file=sys.stderr, flush=True)
    )
