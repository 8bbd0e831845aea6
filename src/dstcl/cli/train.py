"""Train one run from its description."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

from dstcl.cli.training_options import add_training_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run, its data, and where to train and write."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", help="run description as JSON (dstcl config runs --json)")
    source.add_argument("--run-file", type=Path, help="file with that JSON")
    parser.add_argument("--data", type=Path, required=True, help="prepared file")
    parser.add_argument("--tasks", type=Path, required=True, help="task split of that data")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--test-batch-size", type=int, help="instead of the description's")
    parser.add_argument("--gpus", type=int, help="GPUs given to this job: 0 or 1, not --device")
    add_training_options(parser)


def run(options: argparse.Namespace) -> None:
    """Train on the card that this job was given."""
    from dstcl.jobs.devices import granted_device

    with granted_device(options.device, options.gpus, options.gpu_slots) as device:
        _train_on(device, options)


def _train_on(device: str, options: argparse.Namespace) -> None:
    from dstcl.jobs.epochs import DONE
    from dstcl.jobs.progress import EpochProgress
    from dstcl.jobs.train import train_run
    from dstcl.storage import read_json
    from dstcl.study.run import Run

    try:
        given = options.run is not None
        values = json.loads(options.run) if given else read_json(options.run_file)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"--run: not JSON ({error})") from None
    described = Run.from_dict(values)
    if options.test_batch_size is not None:
        described = described.changed({"training.test_batch_size": options.test_batch_size})
    with EpochProgress(described) as progress:
        metrics = train_run(
            described,
            options.data,
            options.tasks,
            options.out,
            device=device,
            threads=options.threads,
            progress=progress,
            checkpoint_every=options.checkpoint_every,
        )
    print(
        f"{DONE}accuracy {metrics['acc']:.4f} in {metrics['seconds']:.1f} s; of this process "
        f"{time.process_time():.1f} s of processor time, {_peak_memory():.0f} MiB at most",
        file=sys.stderr,
    )


def _peak_memory() -> float:
    """Of this process, in MiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)
