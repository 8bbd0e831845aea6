"""Whether bfloat16 changes accuracies: paired seeds, mean difference with its interval.

    python benchmarks/precision.py --data mnist5k-28px.safetensors --network convnet [--seeds 60]

Trains each seed twice, in float32 and in bfloat16, on the first tasks of a split of its own, and
compares ACC after the last task. Harmless if the whole 95 % interval is within half a point.
Writes precision-<network>.json here.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import torch
from machine import REPOSITORY, machine, record

from dstcl.continual.learner import learner_of
from dstcl.continual.metrics import accuracy_matrix, all_metrics
from dstcl.data.stored import load_prepared
from dstcl.data.tasks import split_classes
from dstcl.evaluation.statistics import mean_interval
from dstcl.study.load import load_file, runs
from dstcl.study.run import Run

ALLOWED = 0.005
PRESETS = {"convnet": "quick", "resnet18-slim": "cifar100-cpu"}


def acc(run: Run, file: Path, learned: int) -> float:
    """Accuracy over the first tasks after learning them, with one thread."""
    torch.set_num_threads(1)
    data = load_prepared(file)
    tasks = split_classes(len(data.class_names), run.tasks, run.order_name)[:learned]
    run = run.changed({"tasks": learned})
    outcome = learner_of(run, data, tasks, torch.device("cpu")).fit()
    return float(all_metrics(accuracy_matrix(outcome.accuracy))["acc"])


def main() -> None:
    """Train, compare, record and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="prepared file")
    parser.add_argument("--network", choices=PRESETS, default="convnet")
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--tasks", type=int, default=5, help="learned, of each split")
    options = parser.parse_args()
    told = machine()
    every = runs(load_file(REPOSITORY / "params.yaml", PRESETS[options.network]))
    chosen = next(
        run
        for run in every
        if (run.protocol, run.density, run.init, run.growth)
        == ("corrected", 0.2, "erk", "gradient")
    )
    if not 1 <= options.tasks <= chosen.tasks:
        parser.error(f"--tasks: {options.tasks}; 1 to {chosen.tasks}")
    precisions = ("float32", "bfloat16")
    jobs = list(product(range(options.seeds), precisions))
    planned = [chosen.changed({"seed": seed, "precision": precision}) for seed, precision in jobs]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        files, counts = [options.data] * len(jobs), [options.tasks] * len(jobs)
        found = dict(zip(jobs, pool.map(acc, planned, files, counts), strict=True))
    plain, other = ([found[seed, p] for seed in range(options.seeds)] for p in precisions)
    difference = mean_interval([b - a for a, b in zip(plain, other, strict=True)])
    low, high = difference.low, difference.high
    result = {
        "network": options.network,
        "tasks": options.tasks,
        "epochs": chosen.epochs,
        "seeds": options.seeds,
        "acc_float32": sum(plain) / len(plain),
        "acc_bfloat16": sum(other) / len(other),
        "difference": difference.mean,
        "interval": [low, high],
        "within_half_a_point": low > -ALLOWED and high < ALLOWED,
    }
    record(f"precision-{options.network}", told | result | {"acc": [plain, other]})
    for name, value in result.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
