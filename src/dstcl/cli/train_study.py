"""Train the unfinished runs of a study, without Snakemake."""

from __future__ import annotations

import argparse
import sys
from fnmatch import fnmatch
from pathlib import Path

from dstcl.cli.training_options import add_training_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, which of its runs, and where to train."""
    parser.add_argument("study", type=Path, help="folder with plan.json; runs/ is written there")
    parser.add_argument(
        "--data", type=Path, default=Path("data"), help="folder with prepared/ and tasks/"
    )
    parser.add_argument("--logs", type=Path, help="one log per run (default logs/<preset>/train)")
    parser.add_argument(
        "--only", default="*", help="only runs whose folder matches, for example '*/erk/*'"
    )
    parser.add_argument("--at-once", type=int, default=1, help="runs at a time (default 1)")
    add_training_options(parser)


def run(options: argparse.Namespace) -> None:
    """Train the runs of a plan that are not finished, seed by seed, several at a time where asked
    for."""
    from dstcl.jobs.many import Place, train_many
    from dstcl.study.plan import read_plan

    if options.at_once < 1:
        raise ValueError(f"--at-once: {options.at_once}; at least 1")
    preset, planned = read_plan(options.study)
    chosen = [run for run in planned if fnmatch(run.folder, options.only)]
    if not chosen:
        raise ValueError(f"--only: {options.only!r} matches none of {len(planned)} runs")
    # Comparisons are paired by seed, so a study that is stopped half-way should have whole seeds.
    chosen.sort(key=lambda run: run.seed)
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
